package lanes

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/postbench/postbench/refserver/shm"
)

func testOptions(dir string) Options { return Options{Dir: dir, Slots: 64, MaxLanes: 2} }

func openProducer(t *testing.T, o Options) *Lane {
	t.Helper()
	l, err := OpenProducer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func openDir(t *testing.T, dir string) *Dir {
	t.Helper()
	d, err := OpenDir(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func push(t *testing.T, l *Lane, records ...string) {
	t.Helper()
	for _, r := range records {
		if err := l.TryPush([]byte(r)); err != nil {
			t.Fatalf("push %q: %v", r, err)
		}
	}
}

// visit hands out all there is. A record is copied: its memory is not ours.
func visit(t *testing.T, d *Dir) (records []string, entries []Entry, stats Stats) {
	t.Helper()
	stats = d.Visit(math.MaxInt, func(e Entry) {
		records, entries = append(records, string(e.Record)), append(entries, e)
	})
	if stats.Err != nil {
		t.Error(stats.Err)
	}
	return records, entries, stats
}

func free(d *Dir, entries []Entry) {
	for _, e := range entries {
		d.Free(e.Lane, e.Pos)
	}
}

func wantVisit(t *testing.T, d *Dir, want ...string) []Entry {
	t.Helper()
	got, entries, _ := visit(t, d)
	if !slices.Equal(got, want) {
		t.Errorf("visited %q, want %q", got, want)
	}
	return entries
}

func TestThroughTheLane(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "as needed")
	d := openDir(t, dir)
	wantVisit(t, d)
	l := openProducer(t, testOptions(dir))
	push(t, l, "a", "", "c")
	entries := wantVisit(t, d, "a", "", "c")
	wantVisit(t, d) // once
	if n, err := Backlog(dir); n != 3 || d.Backlog() != 3 || err != nil {
		t.Errorf("backlog %d and %d, %v; want 3", n, d.Backlog(), err)
	}
	free(d, entries)
	free(d, entries) // again does nothing
	if n, err := Backlog(dir); n != 0 || d.Backlog() != 0 || err != nil {
		t.Errorf("backlog %d and %d, %v; want 0", n, d.Backlog(), err)
	}
	if err := l.TryPush(make([]byte, MaxRecordBytes+1)); !errors.Is(err, shm.ErrTooLong) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestLaneFileIsPrivateAndWhole(t *testing.T) {
	l := openProducer(t, testOptions(t.TempDir()))
	var st syscall.Stat_t
	if err := syscall.Stat(l.Path(), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o777 != 0o600 || st.Size != int64(shm.Size(64)) || st.Blocks*512 < st.Size {
		t.Errorf("mode %o, %d bytes, %d blocks; want 600, %d bytes, no holes", st.Mode&0o777, st.Size, st.Blocks, shm.Size(64))
	}
}

func TestFullLane(t *testing.T) {
	for _, highWater := range []int{0, 5} {
		o := testOptions(t.TempDir())
		o.HighWater = highWater
		l, d := openProducer(t, o), openDir(t, o.Dir)
		room := o.Slots
		if highWater > 0 {
			room = highWater
		}
		for range 3 {
			var want []string
			for i := range room {
				want = append(want, fmt.Sprint(i))
			}
			push(t, l, want...)
			if err := l.TryPush([]byte("more")); !errors.Is(err, shm.ErrFull) {
				t.Fatalf("%v, want ErrFull", err)
			}
			free(d, wantVisit(t, d, want...))
		}
	}
}

func TestLanesAreReused(t *testing.T) {
	o := testOptions(t.TempDir())
	d := openDir(t, o.Dir)
	first, second := openProducer(t, o), openProducer(t, o)
	if _, err := OpenProducer(o); !errors.Is(err, ErrNoLane) {
		t.Errorf("all in use: %v, want ErrNoLane", err)
	}
	push(t, first, "a")
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	if err := first.TryPush([]byte("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("push into a closed lane: %v", err)
	}
	if _, err := OpenProducer(o); !errors.Is(err, ErrNoLane) {
		t.Errorf("one undrained: %v, want ErrNoLane", err)
	}
	entries := wantVisit(t, d, "a")
	if _, err := OpenProducer(o); !errors.Is(err, ErrNoLane) {
		t.Errorf("its record not freed: %v, want ErrNoLane", err)
	}
	free(d, entries)
	o.Slots = 2 // lanes that exist keep theirs
	third := openProducer(t, o)
	if third.Path() != first.Path() || third.Path() == second.Path() {
		t.Errorf("reused %s, want %s", third.Path(), first.Path())
	}
	if ring := third.mapping.ring; ring.Epoch() != 2 || ring.Slots() != 64 {
		t.Errorf("epoch %d, %d slots; want 2 and 64", ring.Epoch(), ring.Slots())
	}
	push(t, third, "b", "c", "d")
	wantVisit(t, d, "b", "c", "d")
}

func TestOneConsumer(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir)
	if _, err := OpenDir(Options{Dir: dir}); !errors.Is(err, ErrConsumed) {
		t.Errorf("%v, want ErrConsumed", err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	openDir(t, dir)
}

func TestReopenedDirSeesWhatWasNotFreed(t *testing.T) {
	o := testOptions(t.TempDir())
	l, d := openProducer(t, o), openDir(t, o.Dir)
	push(t, l, "a", "b", "c", "d")
	entries := wantVisit(t, d, "a", "b", "c", "d")
	d.Free(entries[0].Lane, entries[0].Pos)
	d.Free(entries[2].Lane, entries[2].Pos)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	push(t, l, "e")
	d = openDir(t, o.Dir)
	if got := d.Backlog(); got != 4 { // c is behind b
		t.Errorf("backlog %d, want 4", got)
	}
	free(d, wantVisit(t, d, "b", "d", "e"))
	if got := d.Backlog(); got != 0 {
		t.Errorf("backlog %d, want 0", got)
	}
}

// No lane waits because another one is always full.
func TestMaxIsShared(t *testing.T) {
	o := testOptions(t.TempDir())
	d := openDir(t, o.Dir)
	for range o.MaxLanes {
		push(t, openProducer(t, o), "a", "b", "c")
	}
	perLane := make(map[int]int)
	for range 4 {
		d.Visit(1, func(e Entry) { perLane[e.Lane]++ })
	}
	if want := map[int]int{0: 2, 1: 2}; !maps.Equal(perLane, want) {
		t.Errorf("records by lane %v, want %v", perLane, want)
	}
}

// Whatever TryPush has taken is in the lane, also when Close comes meanwhile.
func TestCloseWaitsForPushes(t *testing.T) {
	for range 20 {
		o := testOptions(t.TempDir())
		o.Slots = 8192 // more than are pushed before Close comes
		l := openProducer(t, o)
		var wg sync.WaitGroup
		pushing := make(chan bool, 4)
		acked := make([]int, cap(pushing))
		for i := range acked {
			wg.Go(func() {
				for err := error(nil); !errors.Is(err, ErrClosed); {
					if err = l.TryPush([]byte{byte(i)}); err != nil {
						continue
					}
					if acked[i]++; acked[i] == 1 {
						pushing <- true
					}
				}
			})
		}
		<-pushing
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		got := make([]int, len(acked))
		d := openDir(t, o.Dir)
		stats := d.Visit(math.MaxInt, func(e Entry) { got[e.Record[0]]++ })
		if !slices.Equal(got, acked) || stats.Torn != 0 {
			t.Fatalf("%v in the lane, acked %v; %d torn", got, acked, stats.Torn)
		}
	}
}

func TestQuarantine(t *testing.T) {
	o := testOptions(t.TempDir())
	l, d := openProducer(t, o), openDir(t, o.Dir)
	push(t, l, "whole", "damaged", "whole too")
	slot := l.mapping.mem[shm.HeaderBytes+shm.SlotBytes:][:shm.SlotBytes]
	slot[20] ^= 0x40 // the first byte of its payload
	if err := l.mapping.ring.Producer(0).TryPush(kindRecord+1, []byte("of a kind to come")); err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(slot)
	got, entries, stats := visit(t, d)
	if !slices.Equal(got, []string{"whole", "whole too"}) || stats.Corrupt != 2 {
		t.Errorf("handed out %q, %d corrupt; want 2", got, stats.Corrupt)
	}
	kept, err := os.ReadFile(filepath.Join(o.Dir, "quarantine", "lane-0000-1.slot"))
	if err != nil || !slices.Equal(kept, want) {
		t.Errorf("%d bytes in quarantine, %v; want the slot", len(kept), err)
	}
	if files, err := os.ReadDir(filepath.Join(o.Dir, "quarantine")); len(files) != 2 {
		t.Errorf("%d files in quarantine, %v; want 2", len(files), err)
	}
	free(d, entries)
	if got := d.Backlog(); got != 0 {
		t.Errorf("backlog %d: the damaged slots are not freed", got)
	}
	if _, _, stats := visit(t, d); stats.Corrupt != 2 {
		t.Errorf("%d corrupt in all, want 2", stats.Corrupt)
	}
}

func TestFullQuarantine(t *testing.T) {
	o := testOptions(t.TempDir())
	l, d := openProducer(t, o), openDir(t, o.Dir)
	dir := filepath.Join(o.Dir, "quarantine")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range maxQuarantined {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	push(t, l, "damaged")
	l.mapping.mem[shm.HeaderBytes+20] ^= 1
	stats := d.Visit(math.MaxInt, func(e Entry) { t.Errorf("handed out %q", e.Record) })
	if stats.Corrupt != 1 || stats.Err == nil || d.Backlog() != 0 {
		t.Errorf("%d corrupt, %v, backlog %d; want 1, an error, 0", stats.Corrupt, stats.Err, d.Backlog())
	}
}

// What a creator leaves behind that dies half way is finished by the next one.
func TestUnfinishedLane(t *testing.T) {
	for name, size := range map[string]int64{"empty": 0, "short": 100, "whole": int64(shm.Size(64)), "another size": int64(shm.Size(4))} {
		o := testOptions(t.TempDir())
		path := filepath.Join(o.Dir, laneName(0))
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
		d := openDir(t, o.Dir)
		if _, _, stats := visit(t, d); stats.Lanes != 0 || stats.Unreadable != 0 {
			t.Errorf("%s: %+v, want no lane yet", name, stats)
		}
		if n, err := Backlog(o.Dir); n != 0 || err != nil {
			t.Errorf("%s: backlog %d, %v", name, n, err)
		}
		l := openProducer(t, o)
		push(t, l, "a")
		wantVisit(t, d, "a")
		if l.Path() != path || l.mapping.ring.Slots() != o.Slots {
			t.Errorf("%s: %s with %d slots, want %s with %d", name, l.Path(), l.mapping.ring.Slots(), path, o.Slots)
		}
	}
}

// A damaged lane may hold records: it is reported, and nobody touches it.
func TestUnreadableLane(t *testing.T) {
	for name, c := range map[string]struct {
		damage   func(path string) error
		producer error // nil: it takes another lane
	}{
		"damaged header": {damage: func(path string) error { return overwrite(path, 8, 0xff) }},
		"cut":            {damage: func(path string) error { return os.Truncate(path, shm.HeaderBytes+100) }},
		"longer":         {damage: func(path string) error { return os.Truncate(path, int64(shm.Size(64))+1) }},
		"a symbolic link": {
			damage:   func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)) },
			producer: syscall.ELOOP,
		},
		"a pipe": {
			damage:   func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
			producer: os.ErrInvalid,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t.TempDir())
			l := openProducer(t, o)
			push(t, openProducer(t, o), "of another lane")
			if err := errors.Join(l.Close(), c.damage(l.Path())); err != nil {
				t.Fatal(err)
			}
			d := openDir(t, o.Dir)
			var got []string
			stats := d.Visit(math.MaxInt, func(e Entry) { got = append(got, string(e.Record)) })
			if stats.Unreadable != 1 || stats.Err == nil || !slices.Equal(got, []string{"of another lane"}) {
				t.Errorf("%+v, %q", stats, got)
			}
			if n, err := Backlog(o.Dir); n != 1 || err == nil {
				t.Errorf("backlog %d, %v; want that of the other lane, and an error", n, err)
			}
			o.MaxLanes++
			other, err := OpenProducer(o)
			if !errors.Is(err, c.producer) {
				t.Fatalf("a new producer: %v, want %v", err, c.producer)
			}
			if err == nil && filepath.Base(other.Path()) != laneName(2) {
				t.Errorf("a new producer got %s", other.Path())
			}
		})
	}
}

func overwrite(path string, at int64, content ...byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, at)
	return errors.Join(err, f.Close())
}

func TestBacklogWithoutDirectory(t *testing.T) {
	if n, err := Backlog(filepath.Join(t.TempDir(), "none")); n != 0 || err != nil {
		t.Errorf("%d, %v; want 0", n, err)
	}
}
