package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testGround is memory that grows as a test lets it.
type testGround struct {
	mu    sync.Mutex
	err   error
	grown [][3]int64
	size  int64 // as it was closed
}

func (g *testGround) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *testGround) Extend(from, to, keep int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.grown = append(g.grown, [3]int64{from, to, keep})
	}
	return g.err
}

func (g *testGround) Close(size int64) error {
	g.size = size
	return nil
}

// newTestLog is a mapped log over memory of the heap.
func newTestLog(t *testing.T, limit int, end int64) (*Log, []byte, *testGround) {
	t.Helper()
	g, mem := &testGround{}, make([]byte, limit)
	m, err := newMapped(mem, minChunkBytes, end, g)
	if err != nil {
		t.Fatal(err)
	}
	return &Log{mapped: m}, mem, g
}

// tenthURI makes an entry of a tenth of a chunk, less a little.
func tenthURI(i int) string {
	return fmt.Sprintf("/%d?%s", i, strings.Repeat("x", 3_900)) + strings.Repeat("&sig=", 30)
}

func TestMappedGrowsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, mem, g := newTestLog(t, 20*minChunkBytes, 100)
		if want := [][3]int64{{100, minChunkBytes, -minChunkBytes}, {minChunkBytes, 2 * minChunkBytes, -minChunkBytes},
			{2 * minChunkBytes, 3 * minChunkBytes, -minChunkBytes}}; fmt.Sprint(g.grown) != fmt.Sprint(want) {
			t.Errorf("at the start: %v", g.grown)
		}
		entries := 0
		for ; log.mapped.next.Load() < 10*minChunkBytes; entries++ {
			log.Log(request(tenthURI(entries)))
			synctest.Wait()
			if using, ready := log.mapped.next.Load(), log.mapped.ready.Load(); ready-using < chunksAhead*minChunkBytes {
				t.Fatalf("%d bytes ready beyond %d", ready-using, using)
			}
		}
		if last := g.grown[len(g.grown)-1]; last[2] != 9*minChunkBytes {
			t.Errorf("kept from %d, in use is %d", last[2], log.mapped.next.Load())
		}
		end := log.mapped.next.Load()
		if err := log.Close(); err != nil || log.Dropped() != 0 || g.size != end {
			t.Errorf("%v, %d dropped, closed at %d of %d", err, log.Dropped(), g.size, end)
		}
		uris, _, offset, err := readAll(mem[100:end])
		if strings.Count(uris, "/") != entries || offset != end-100 || err != nil {
			t.Errorf("%d entries of %d read, up to %d, %v", strings.Count(uris, "/"), entries, offset, err)
		}
	})
}

// A disk that is full costs entries, not requests, and every one is counted;
// when it has been emptied, the log goes on without a hole.
func TestMappedDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, mem, g := newTestLog(t, 20*minChunkBytes, 0)
		full := errors.New("no space left on device")
		g.fail(full)
		logged := 0
		for ; log.Dropped() == 0; logged++ {
			log.Log(request(tenthURI(logged)))
			synctest.Wait()
		}
		if ready := log.mapped.ready.Load(); ready != 3*minChunkBytes {
			t.Errorf("%d bytes ready", ready)
		}
		g.fail(nil)
		time.Sleep(extendRetry + 1) // in synctest: no real time passes
		synctest.Wait()
		log.Log(request(tenthURI(logged)))
		if log.Dropped() != 1 {
			t.Errorf("%d dropped", log.Dropped())
		}
		if err := log.Close(); !errors.Is(err, full) {
			t.Errorf("Close: %v", err)
		}
		if uris, skipped, _, err := readAll(mem); strings.Count(uris, "/") != logged || skipped != 0 || err != nil {
			t.Errorf("%d entries of %d read, %d skipped, %v", strings.Count(uris, "/"), logged, skipped, err)
		}
	})
}

// A growth that failed and cost nothing is no error.
func TestMappedDiskFullForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, g := newTestLog(t, 20*minChunkBytes, 0)
		g.fail(errors.New("no space left on device"))
		for i := 0; log.mapped.next.Load() < minChunkBytes; i++ {
			log.Log(request(tenthURI(i)))
		}
		synctest.Wait()
		if err := log.Close(); err != nil || log.Dropped() != 0 {
			t.Errorf("%v, %d dropped", err, log.Dropped())
		}
	})
}

func TestMappedLimit(t *testing.T) {
	log, mem, g := newTestLog(t, 2*minChunkBytes, 0)
	for i := range 100 {
		log.Log(request(tenthURI(i)))
	}
	read := 100 - log.Dropped()
	if err := log.Close(); !errors.Is(err, ErrFull) || log.Dropped() == 0 || g.size > int64(len(mem)) {
		t.Errorf("%v, %d dropped, closed at %d", err, log.Dropped(), g.size)
	}
	if uris, _, _, err := readAll(mem); int64(strings.Count(uris, "/")) != read || err != nil {
		t.Errorf("%d entries of %d read, %v", strings.Count(uris, "/"), read, err)
	}
}

func TestMappedAfterClose(t *testing.T) {
	log, mem, _ := newTestLog(t, 2*minChunkBytes, 0)
	if err := errors.Join(log.Close(), log.Close()); err != nil {
		t.Error(err)
	}
	if log.Log(request("/late")); log.Dropped() != 1 || !bytes.Equal(mem, make([]byte, len(mem))) {
		t.Errorf("%d dropped, or written after Close", log.Dropped())
	}
}

// Many goroutines and a Close in the middle: every entry is whole or counted,
// nobody's order changes.
func TestMappedConcurrent(t *testing.T) {
	const workers, each = 8, 2_000
	log, mem, g := newTestLog(t, 64*minChunkBytes, 0)
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			for i := range each {
				log.Log(request(fmt.Sprintf("/%d/%d?sig=%s\n", worker, i, strings.Repeat("x", i%200))))
				if worker == 0 && i == each*3/4 {
					if err := log.Close(); err != nil && log.Dropped() == 0 {
						t.Error(err)
					}
				}
			}
		})
	}
	wait.Wait()
	r, found := NewReader(bytes.NewReader(mem[:g.size])), int64(0)
	var next [workers]int
	for ; r.Offset() < g.size; found++ {
		record, err := r.Next()
		var worker, i int
		if _, scanErr := fmt.Sscanf(string(record.URI), "/%d/%d?sig=redacted", &worker, &i); err != nil || scanErr != nil || i < next[worker] {
			t.Fatalf("%q: %v, %v", record.URI, err, scanErr)
		}
		next[worker] = i + 1
	}
	if found+log.Dropped() != workers*each || next[0] == 0 {
		t.Errorf("%d found and %d dropped of %d", found, log.Dropped(), workers*each)
	}
}

func TestMappedOptions(t *testing.T) {
	for _, bad := range []MappedOptions{
		{ChunkBytes: 1}, {ChunkBytes: minChunkBytes + 1}, {ChunkBytes: -minChunkBytes},
		{MaxFileBytes: 1}, {MaxFileBytes: -1}, {ChunkBytes: 2 * minChunkBytes, MaxFileBytes: minChunkBytes},
	} {
		if _, err := bad.withDefaults(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if o, err := (MappedOptions{}).withDefaults(); err != nil || o != (MappedOptions{DefaultChunkBytes, DefaultMaxFileBytes}) {
		t.Errorf("%+v, %v", o, err)
	}
}
