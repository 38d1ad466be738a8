package accesslog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/refserver/accesslog"
)

// hour is a flush that no test waits for.
const hour = time.Hour

func entry(uri string) *accesslog.Entry {
	return &accesslog.Entry{UnixNs: 1, DurationNs: 2, Status: 200, Method: []byte("GET"), URI: []byte(uri)}
}

// uris reads the log back; a line that is no JSON fails the test.
func uris(t *testing.T, log string) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(log) {
		var one struct{ URI string }
		if err := json.Unmarshal([]byte(line), &one); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%v: %q", err, line)
		}
		found = append(found, one.URI)
	}
	return found
}

// file is a writer that blocks or fails as a test asks it to.
type file struct {
	mu   sync.Mutex
	text []byte
	// before, if not nil, says how many bytes of a write are taken, and its error.
	before func(b []byte) (int, error)
}

func (f *file) Write(b []byte) (int, error) {
	n, err := len(b), error(nil)
	if f.before != nil {
		n, err = f.before(b)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = append(f.text, b[:n]...)
	return n, err
}

func (f *file) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.text)
}

func TestRequestModeWritesBeforeItReturns(t *testing.T) {
	var f file
	l := accesslog.New(&f, accesslog.Options{})
	for i := range 3 {
		l.Log(entry(fmt.Sprintf("/%d?sig=secret", i)))
		if got := uris(t, f.String()); len(got) != i+1 || got[i] != fmt.Sprintf("/%d?sig=redacted", i) {
			t.Errorf("after entry %d: %q", i, got)
		}
	}
	if err := l.Close(); err != nil || l.Dropped() != 0 {
		t.Errorf("%v, %d dropped", err, l.Dropped())
	}
}

func TestBackgroundFlushesAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f file
		l := accesslog.New(&f, accesslog.Options{Background: true, FlushEvery: time.Second})
		time.Sleep(500 * time.Millisecond) // in synctest: no real time passes
		l.Log(entry("/1"))
		time.Sleep(499 * time.Millisecond) // in synctest
		synctest.Wait()
		if got := f.String(); got != "" {
			t.Errorf("written before the interval's end: %s", got)
		}
		time.Sleep(time.Millisecond) // in synctest
		synctest.Wait()
		if got := uris(t, f.String()); len(got) != 1 {
			t.Errorf("after the interval: %q", got)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestBackgroundCopiesTheEntry(t *testing.T) {
	var f file
	l := accesslog.New(&f, accesslog.Options{Background: true, FlushEvery: hour})
	e := entry("/first")
	l.Log(e)
	copy(e.URI, "/other")
	copy(e.Method, "PUT")
	if err := l.Close(); err != nil || f.String() != `{"unix_ns":1,"duration_ns":2,"status":200,"method":"GET","uri":"/first"}`+"\n" {
		t.Errorf("%v, %s", err, f.String())
	}
}

func TestBackgroundFlushesWhenHalfFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f file
		l := accesslog.New(&f, accesslog.Options{Background: true, FlushEvery: hour, MaxPendingBytes: 1_000})
		for range 20 { // each fits only because those before have been taken
			l.Log(entry("/" + strings.Repeat("x", 600)))
			synctest.Wait()
		}
		if got := uris(t, f.String()); len(got) != 20 || l.Dropped() != 0 {
			t.Errorf("%d lines, %d dropped", len(got), l.Dropped())
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A writer that hangs costs entries, not requests, and every one is counted.
func TestBackgroundNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := file{before: func(b []byte) (int, error) { <-release; return len(b), nil }}
		l := accesslog.New(&f, accesslog.Options{Background: true, FlushEvery: time.Second, MaxPendingBytes: 1_000})
		l.Log(entry("/hangs"))
		time.Sleep(time.Second) // in synctest: no real time passes
		synctest.Wait()
		const more = 100
		for i := range more {
			l.Log(entry(fmt.Sprintf("/%d", i)))
		}
		dropped := l.Dropped()
		if dropped == 0 || dropped == more {
			t.Errorf("%d of %d dropped", dropped, more)
		}
		close(release)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		got := uris(t, f.String())
		if int64(len(got)) != 1+more-dropped || l.Dropped() != dropped {
			t.Errorf("%d lines and %d dropped of %d", len(got), l.Dropped(), 1+more)
		}
		for i, uri := range got[1:] {
			if want := fmt.Sprintf("/%d", i); uri != want {
				t.Errorf("line %d is %s, want %s", i+1, uri, want)
			}
		}
	})
}

func TestAfterClose(t *testing.T) {
	for _, background := range []bool{false, true} {
		var f file
		l := accesslog.New(&f, accesslog.Options{Background: background, FlushEvery: hour})
		l.Log(entry("/1"))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		l.Log(entry("/2"))
		if err := l.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if got := uris(t, f.String()); len(got) != 1 || l.Dropped() != 1 {
			t.Errorf("background %v: %q, %d dropped", background, got, l.Dropped())
		}
	}
}

// A line that was torn by an error stays the only bad one.
func TestWriteErrors(t *testing.T) {
	full := errors.New("disk full")
	for name, test := range map[string]struct {
		taken    []int // of each write; the rest fails
		want     string
		dropped  int64
		closeErr error
	}{
		"none":                     {nil, "1\n2\n3\n4\n", 0, nil},
		"nothing taken":            {[]int{0}, "2\n3\n4\n", 1, full},
		"torn":                     {[]int{20}, "torn\n2\n3\n4\n", 1, full},
		"all but the line feed":    {[]int{-1}, "1\n2\n3\n4\n", 1, full},
		"torn, line feed refused":  {[]int{20, 0}, "torn\n3\n4\n", 2, full},
		"torn again after it":      {[]int{20, 1, 20}, "torn\ntorn\n3\n4\n", 2, full},
		"torn, then nothing taken": {[]int{20, 1, 0}, "torn\n3\n4\n", 2, full},
	} {
		writes := 0
		f := file{before: func(b []byte) (int, error) {
			writes++
			if writes > len(test.taken) {
				return len(b), nil
			}
			n := test.taken[writes-1]
			if n < 0 {
				n += len(b)
			}
			if n == len(b) {
				return n, nil
			}
			return n, full
		}}
		l := accesslog.New(&f, accesslog.Options{})
		for i := range 4 {
			l.Log(entry(fmt.Sprint(i + 1)))
		}
		err := l.Close()
		var got strings.Builder
		for line := range strings.Lines(f.String()) {
			var one struct{ URI string }
			if json.Unmarshal([]byte(line), &one) != nil {
				one.URI = "torn"
			}
			got.WriteString(one.URI + "\n")
		}
		if got.String() != test.want || l.Dropped() != test.dropped || !errors.Is(err, test.closeErr) {
			t.Errorf("%s: %q, %d dropped, %v; want %q, %d, %v", name, got.String(), l.Dropped(), err, test.want, test.dropped, test.closeErr)
		}
	}
}

// Many goroutines with arbitrary bytes: every line is valid JSON, every entry
// is written or counted, nobody's order changes.
func TestConcurrentEntries(t *testing.T) {
	for _, o := range []accesslog.Options{{}, {Background: true, FlushEvery: time.Millisecond, MaxPendingBytes: 32 << 10}} {
		const workers, each = 8, 200
		var f file
		l := accesslog.New(&f, o)
		var wait sync.WaitGroup
		for worker := range workers {
			wait.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(worker)))
				noise := make([]byte, 300)
				for i := range each {
					for j := range noise {
						noise[j] = byte(random.Uint32())
					}
					uri := fmt.Sprintf("/%d/%d?%s&sig=secret", worker, i, noise[:random.IntN(len(noise))])
					l.Log(entry(uri))
				}
			})
		}
		wait.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		lines := uris(t, f.String())
		if int64(len(lines))+l.Dropped() != workers*each || bytes.Contains(f.text, []byte("secret")) {
			t.Errorf("%d lines and %d dropped of %d", len(lines), l.Dropped(), workers*each)
		}
		var next [workers]int
		for _, uri := range lines {
			var worker, i int
			if _, err := fmt.Sscanf(uri, "/%d/%d?", &worker, &i); err != nil || i < next[worker] {
				t.Fatalf("%q after number %d: %v", uri, next[worker], err)
			}
			next[worker] = i + 1
		}
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
