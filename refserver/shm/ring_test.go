package shm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const testKind = 7

// heap is aligned memory for a lane.
func heap(slots int) []byte { return make([]byte, Size(slots)) }

func newRing(tb testing.TB, slots int) *Ring {
	tb.Helper()
	mem := heap(slots)
	if err := Format(mem, slots); err != nil {
		tb.Fatal(err)
	}
	return attach(tb, mem)
}

func attach(tb testing.TB, mem []byte) *Ring {
	tb.Helper()
	r, err := Attach(mem)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func push(tb testing.TB, p *Producer, payloads ...string) {
	tb.Helper()
	for _, s := range payloads {
		if err := p.TryPush(testKind, []byte(s)); err != nil {
			tb.Fatalf("push %q: %v", s, err)
		}
	}
}

// scan returns the payloads and positions of what Scan hands out.
func scan(tb testing.TB, c *Consumer, most int) (payloads []string, positions []uint64) {
	tb.Helper()
	n := c.Scan(most, func(s Slot) {
		if s.Corrupt || s.Kind != testKind {
			tb.Errorf("position %d: corrupt %v, kind %d", s.Pos, s.Corrupt, s.Kind)
		}
		payloads, positions = append(payloads, string(s.Payload)), append(positions, s.Pos)
	})
	if n != len(payloads) {
		tb.Errorf("Scan says %d, and handed out %d", n, len(payloads))
	}
	return payloads, positions
}

func wantScan(tb testing.TB, c *Consumer, want ...string) []uint64 {
	tb.Helper()
	got, positions := scan(tb, c, math.MaxInt)
	if !slices.Equal(got, want) {
		tb.Errorf("handed out %q, want %q", got, want)
	}
	return positions
}

func free(c *Consumer, positions ...uint64) {
	for _, pos := range positions {
		c.Free(pos)
	}
}

func TestPushScanFree(t *testing.T) {
	r := newRing(t, 4)
	p, c := r.Producer(0), r.Consumer()
	wantScan(t, c)
	push(t, p, "a", "", strings.Repeat("x", MaxPayloadBytes))
	if got := r.Backlog(); got != 3 {
		t.Errorf("backlog %d, want 3", got)
	}
	wantScan(t, c, "a", "", strings.Repeat("x", MaxPayloadBytes))
	wantScan(t, c) // once
	free(c, 2, 0)
	if got := r.Backlog(); got != 2 {
		t.Errorf("backlog %d with position 1 not freed, want 2", got)
	}
	free(c, 1, 1, 0) // again does nothing
	if got := r.Backlog(); got != 0 {
		t.Errorf("backlog %d, want 0", got)
	}
	if err := p.TryPush(testKind, make([]byte, MaxPayloadBytes+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestScanStopsAtMax(t *testing.T) {
	r := newRing(t, 4)
	p, c := r.Producer(0), r.Consumer()
	push(t, p, "a", "b", "c")
	for _, want := range [][]string{{"a", "b"}, {"c"}, nil} {
		if got, _ := scan(t, c, 2); !slices.Equal(got, want) {
			t.Errorf("handed out %q, want %q", got, want)
		}
	}
}

// A full lane refuses, and what it holds stays.
func TestFull(t *testing.T) {
	for _, highWater := range []int{-1, 0, 1, 3, 4, 5} {
		r := newRing(t, 4)
		p, c := r.Producer(highWater), r.Consumer()
		room := 4
		if highWater > 0 {
			room = min(highWater, 4)
		}
		for lap := range 5 {
			var want []string
			for i := range room {
				want = append(want, fmt.Sprint(lap, i))
			}
			push(t, p, want...)
			before := bytes.Clone(r.mem)
			if err := p.TryPush(testKind, []byte("more")); !errors.Is(err, ErrFull) {
				t.Fatalf("high water %d: %v, want ErrFull", highWater, err)
			}
			if !bytes.Equal(before, r.mem) {
				t.Fatalf("high water %d: a refused push changed the lane", highWater)
			}
			free(c, wantScan(t, c, want...)...)
		}
	}
}

// Laps of every length, freed late and from the end.
func TestManyLaps(t *testing.T) {
	for _, slots := range []int{2, 4, 128} {
		r := newRing(t, slots)
		p, c := r.Producer(0), r.Consumer()
		var held []uint64
		pushed := 0
		for i := range 20 * slots {
			var want []string
			for range min(1+i%slots, slots-len(held)) {
				want = append(want, fmt.Sprint("record ", pushed))
				pushed++
			}
			push(t, p, want...)
			held = append(held, wantScan(t, c, want...)...)
			slices.Reverse(held)
			middle := 1 + len(held)/2
			free(c, held[middle:]...)
			free(c, held[1:middle]...)
			held = held[:1] // the newest stays, so that the next lap begins elsewhere
		}
		if c.head < uint64(10*slots) {
			t.Errorf("%d slots: only at position %d", slots, c.head)
		}
	}
}

// The positions' own end is one lap like the others.
func TestPositionsWrap(t *testing.T) {
	r := newRing(t, 4)
	const start = math.MaxUint64 - 5
	r.store(headOffset, start)
	r.store(tailOffset, start)
	if err := r.NextEpoch(); err != nil {
		t.Fatal(err)
	}
	p, c := attach(t, r.mem).Producer(0), r.Consumer()
	for i := range 20 {
		want := []string{fmt.Sprint(i), "and", "another"}
		push(t, p, want...)
		free(c, wantScan(t, c, want...)...)
	}
	if c.head >= start {
		t.Errorf("only at position %d", c.head)
	}
}

// A visit may free what lies ahead of it: then Scan must not look at those slots
// again, which are the producer's.
func TestFreeAheadWithinVisit(t *testing.T) {
	r := newRing(t, 4)
	p, c := r.Producer(0), r.Consumer()
	r.store(tailOffset, 1) // position 0 is reserved
	push(t, p, "b", "c")
	ahead := wantScan(t, c, "b", "c")
	r.fill(0, 1, testKind, []byte("a"))
	r.store(r.offset(0), 1)
	c.Scan(math.MaxInt, func(s Slot) { free(c, append(ahead, s.Pos)...) })
	for i := range 8 {
		s := fmt.Sprint(i)
		push(t, p, s)
		free(c, wantScan(t, c, s)...)
	}
}

func TestFreeOfWhatWasNotHandedOut(t *testing.T) {
	r := newRing(t, 4)
	push(t, r.Producer(0), "a")
	for _, pos := range []uint64{0, 1, 4} {
		func() {
			defer func() {
				if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "BUG: ") {
					t.Errorf("position %d: %v, want a panic with BUG", pos, s)
				}
			}()
			r.Consumer().Free(pos)
		}()
	}
}

func TestNextEpoch(t *testing.T) {
	r := newRing(t, 4)
	push(t, r.Producer(0), "a")
	if err := r.NextEpoch(); !errors.Is(err, ErrUndrained) || r.Epoch() != 1 {
		t.Errorf("undrained: %v, epoch %d", err, r.Epoch())
	}
	c := r.Consumer()
	free(c, wantScan(t, c, "a")...)
	r.store(r.offset(2), 99) // a damaged free slot would stop the lane for ever
	if err := r.NextEpoch(); err != nil || r.Epoch() != 2 {
		t.Fatalf("%v, epoch %d, want 2", err, r.Epoch())
	}
	push(t, r.Producer(0), "b", "c", "d", "e")
	if positions := wantScan(t, c, "b", "c", "d", "e"); !slices.Equal(positions, []uint64{1, 2, 3, 4}) {
		t.Errorf("positions %v, want 1 to 4: they go on", positions)
	}
	free(c, 1, 2, 3, 4)
	r.store(epochOffset, math.MaxUint32)
	if err := r.NextEpoch(); err != nil || r.Epoch() != 1 {
		t.Errorf("%v, epoch %d after the last, want 1", err, r.Epoch())
	}
}

func TestFormatRefuses(t *testing.T) {
	mem := heap(8)
	for name, c := range map[string]struct {
		mem   []byte
		slots int
	}{
		"nothing": {nil, 2}, "too short": {mem[:Size(4)-1], 4}, "too long": {mem[:Size(4)+8], 4},
		"negative": {mem, -8}, "none": {mem[:HeaderBytes], 0}, "one": {mem[:Size(1)], 1},
		"no power of two": {mem[:Size(6)], 6}, "too many": {mem, 2 * MaxSlots}, "not aligned": {mem[4:][:Size(4)], 4},
	} {
		if err := Format(c.mem, c.slots); !errors.Is(err, ErrMemory) {
			t.Errorf("%s: %v, want ErrMemory", name, err)
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	for _, c := range []struct {
		field  string
		offset uint64
		value  uint64
	}{
		{"magic", magicOffset, 0}, {"magic", magicOffset, magic + 1}, {"version", versionOffset, 2}, {"slot bytes", slotBytesOffset, 256},
		{"slots", slotsOffset, 0}, {"slots", slotsOffset, 3}, {"slots", slotsOffset, 8}, {"slots", slotsOffset, 1 << 63},
		{"epoch", epochOffset, 0}, {"epoch", epochOffset, 1 << 32},
		{"tail", tailOffset, 5}, {"tail", headOffset, 1},
	} {
		r := newRing(t, 4)
		r.store(c.offset, c.value)
		_, err := Attach(r.mem)
		if e, ok := errors.AsType[*CorruptError](err); !ok || e.Field != c.field {
			t.Errorf("%d at %d: %v, want a *CorruptError for %s", c.value, c.offset, err, c.field)
		}
	}
	if _, err := Attach(heap(2)[:100]); !errors.Is(err, ErrMemory) {
		t.Errorf("less than a header: %v", err)
	}
	if _, err := Attach(heap(4)[4:Size(2)]); !errors.Is(err, ErrMemory) {
		t.Errorf("not aligned: %v", err)
	}
}

// A store cut short anywhere leaves memory that is no lane.
func TestFormatCutShort(t *testing.T) {
	mem := heap(2)
	if err := Format(mem, 2); err != nil {
		t.Fatal(err)
	}
	r := &Ring{mem: mem, slots: 2} // over a lane that was there before
	var images [][]byte
	r.stored = func() { images = append(images, bytes.Clone(mem)) }
	r.format()
	for i, image := range images {
		if _, err := Attach(image); (err == nil) != (i == len(images)-1) {
			t.Errorf("after store %d of %d: %v", i+1, len(images), err)
		}
	}
}

// The example of FORMAT.md, and every byte that it leaves out is zero.
func TestFormatDoc(t *testing.T) {
	r := newRing(t, 2)
	c := r.Consumer()
	push(t, r.Producer(0), "x")
	free(c, wantScan(t, c, "x")...)
	clear(r.mem[r.offset(0)+wordBytes:][:SlotBytes-wordBytes]) // its stale content is nobody's
	if err := r.NextEpoch(); err != nil {
		t.Fatal(err)
	}
	if err := r.Producer(0).TryPush(1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make(map[int]string)
	for at := 0; at < len(r.mem); at += 16 {
		if line := r.mem[at : at+16]; !bytes.Equal(line, make([]byte, 16)) {
			got[at] = hex.EncodeToString(line)
		}
	}
	if want := documentedLines(t); !maps.Equal(got, want) {
		t.Errorf("FORMAT.md and the code differ:\n%v\nthe page:\n%v", got, want)
	}
}

func documentedLines(t *testing.T) map[int]string {
	t.Helper()
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```hex\n(.*?)```").FindSubmatch(doc)
	if block == nil {
		t.Fatal("FORMAT.md has no ```hex block")
	}
	lines := make(map[int]string)
	for line := range strings.Lines(string(block[1])) {
		at, content, _ := strings.Cut(line, ":")
		offset, err := hex.DecodeString(at)
		if err != nil {
			t.Fatal(err)
		}
		lines[int(binary.BigEndian.Uint16(offset))] = strings.Join(strings.Fields(content), "")
	}
	return lines
}
