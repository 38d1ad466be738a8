package shm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
)

// A workload's memory is kept after each of its stores: that is what a crash can
// leave behind. A record counts as committed from the last store of its TryPush
// on, and as freed from the first store of its Free on.
type recording struct {
	ring     *Ring
	producer *Producer
	consumer *Consumer
	images   [][]byte
	within   func() // called after a store, once

	held             []heldRecord   // handed out and not freed
	committed, freed map[string]int // payload → index of the first image where it is so
}

type heldRecord struct {
	payload string
	pos     uint64
}

func newRecording(t *testing.T, slots int) *recording {
	r := newRing(t, slots)
	rec := &recording{
		ring: r, producer: r.Producer(0), consumer: r.Consumer(),
		images:    [][]byte{bytes.Clone(r.mem)},
		committed: make(map[string]int), freed: make(map[string]int),
	}
	r.stored = func() {
		rec.images = append(rec.images, bytes.Clone(r.mem))
		if f := rec.within; f != nil {
			f()
		}
	}
	return rec
}

func (rec *recording) push(t *testing.T, payload string) {
	t.Helper()
	push(t, rec.producer, payload)
	rec.committed[payload] = len(rec.images) - 1
}

// free scans and frees every second record that is held, or all.
func (rec *recording) free(t *testing.T, all bool) {
	t.Helper()
	rec.consumer.Scan(math.MaxInt, func(s Slot) {
		rec.held = append(rec.held, heldRecord{string(s.Payload), s.Pos})
	})
	var kept []heldRecord
	for i, h := range rec.held {
		if !all && i%2 == 0 {
			kept = append(kept, h)
			continue
		}
		rec.freed[h.payload] = len(rec.images)
		rec.consumer.Free(h.pos)
	}
	rec.held = kept
}

// alive is what must be delivered if the crash comes at that image.
func (rec *recording) alive(image int) (payloads []string) {
	for payload, from := range rec.committed {
		if until, ok := rec.freed[payload]; image >= from && (!ok || image < until) {
			payloads = append(payloads, payload)
		}
	}
	slices.Sort(payloads)
	return payloads
}

// workloads are sequences of: a push (a letter), a Free of everything (F), of
// every second record (f), a new epoch (E).
var workloads = []struct {
	slots int
	steps string
}{
	{2, "a"}, {2, "ab"}, {2, "aFbFc"}, {2, "abFc"}, {2, "abfFc"}, {4, "abcFE"},
	{4, "abfc"}, {4, "abcfF"}, {2, "aFEb"}, {2, "abFEcF"}, {4, "aFbcf"},
}

func (rec *recording) run(t *testing.T, steps string) {
	t.Helper()
	for _, step := range steps {
		switch step {
		case 'F', 'f':
			rec.free(t, step == 'F')
		case 'E':
			if err := rec.ring.NextEpoch(); err != nil {
				t.Fatal(err)
			}
			rec.producer = rec.ring.Producer(0)
		default:
			rec.push(t, "record "+string(step))
		}
	}
}

func TestEveryPrefixOfStoresRecovers(t *testing.T) {
	for _, w := range workloads {
		rec := newRecording(t, w.slots)
		rec.run(t, w.steps)
		rec.checkEveryCrash(t, fmt.Sprintf("%s in %d slots", w.steps, w.slots))
	}
}

// The same with a second push, or the consumer's work, between any two stores of
// the first push: several goroutines of a producer, and holes.
func TestEveryPrefixOfInterleavedStoresRecovers(t *testing.T) {
	for _, inner := range []string{"b", "bF", "bc", "bFc", "F"} {
		const storesOfAPush = 5 // tail, meta, payload, checksum, commit
		for at := 1; at < storesOfAPush; at++ {
			rec := newRecording(t, 4)
			n := 0
			rec.within = func() {
				if n++; n == at {
					rec.within = nil
					rec.run(t, inner)
				}
			}
			rec.push(t, "record a")
			if rec.within != nil {
				t.Fatalf("a push has less than %d stores", at)
			}
			rec.run(t, "F")
			rec.checkEveryCrash(t, fmt.Sprintf("%q after store %d", inner, at))
		}
	}
}

func (rec *recording) checkEveryCrash(t *testing.T, name string) {
	t.Helper()
	for i, image := range rec.images {
		checkCrash(t, fmt.Sprintf("%s: after store %d", name, i), image, rec.alive(i))
		if i == 0 {
			continue
		}
		// Within one step the processor may have written any of its words.
		for n, partial := range partialSteps(rec.images[i-1], image) {
			checkCrash(t, fmt.Sprintf("%s: part %d of store %d", name, n, i), partial, rec.alive(i-1))
		}
	}
}

// partialSteps are all images between two in which some of the changed words, not
// none and not all, are written.
func partialSteps(before, after []byte) (images [][]byte) {
	var changed []int
	for at := 0; at < len(before); at += wordBytes {
		if !bytes.Equal(before[at:at+wordBytes], after[at:at+wordBytes]) {
			changed = append(changed, at)
		}
	}
	for subset := 1; subset < 1<<len(changed)-1; subset++ {
		image := bytes.Clone(before)
		for i, at := range changed {
			if subset>>i&1 == 1 {
				copy(image[at:at+wordBytes], after[at:])
			}
		}
		images = append(images, image)
	}
	return images
}

// checkCrash: after the death of the consumer alone, and after that of both
// sides, exactly want is delivered; then the lane serves a new producer.
func checkCrash(t *testing.T, name string, image []byte, want []string) {
	t.Helper()
	alone := attach(t, bytes.Clone(image)).Consumer()
	left := alone.ring.Backlog()
	if got, _ := scan(t, alone, math.MaxInt); !slices.Equal(sorted(got), want) {
		t.Errorf("%s: a new consumer gets %q, want %q", name, got, want)
	}
	if torn := alone.Recover(); len(want) == 0 && torn == 0 && left != 0 {
		t.Errorf("%s: a new consumer with nothing to do leaves a backlog of %d", name, left)
	}
	r := attach(t, bytes.Clone(image))
	c, backlog := r.Consumer(), r.Backlog()
	torn := c.Recover()
	got, positions := scan(t, c, math.MaxInt)
	if !slices.Equal(sorted(got), want) {
		t.Errorf("%s: recovery delivers %q, want %q", name, got, want)
	}
	if torn+int64(len(got)) > backlog {
		t.Errorf("%s: %d torn and %d delivered of %d", name, torn, len(got), backlog)
	}
	free(c, positions...)
	epoch := r.Epoch()
	if err := r.NextEpoch(); err != nil || r.Epoch() != epoch+1 {
		t.Fatalf("%s: %v, epoch %d after %d: not drained by recovery", name, err, r.Epoch(), epoch)
	}
	p := r.Producer(0)
	for range 2 {
		var lap []string
		for i := range r.Slots() {
			lap = append(lap, fmt.Sprint("new ", i))
		}
		push(t, p, lap...)
		free(c, wantScan(t, c, lap...)...)
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// The images are worth something only if they show every kind of torn push.
func TestRecordingSeesTornPushes(t *testing.T) {
	rec := newRecording(t, 2)
	rec.run(t, "a")
	seen := make(map[string]bool)
	for _, image := range rec.images {
		r := attach(t, image)
		slot := image[r.offset(0):]
		written := func(at int) bool { return binary.LittleEndian.Uint32(slot[at:]) != 0 }
		seen[fmt.Sprint(r.Backlog(), written(metaOffset), written(payloadOffset), written(crcOffset), r.load(r.offset(0)))] = true
	}
	want := map[string]bool{
		"0 false false false 0": true, "1 false false false 0": true, "1 true false false 0": true,
		"1 true true false 0": true, "1 true true true 0": true, "1 true true true 1": true,
	}
	if !maps.Equal(seen, want) {
		t.Errorf("seen %v, want %v", seen, want)
	}
}

// A crash of the consumer within recovery, at any store.
func TestEveryPrefixOfRecoveryRecovers(t *testing.T) {
	r := newRing(t, 4)
	p := r.Producer(0)
	r.store(tailOffset, 1) // reserved, and never committed
	push(t, p, "b")
	r.store(tailOffset, 3)
	images := [][]byte{bytes.Clone(r.mem)}
	r.stored = func() { images = append(images, bytes.Clone(r.mem)) }
	if torn := r.Consumer().Recover(); torn != 2 {
		t.Errorf("%d torn, want 2", torn)
	}
	for i, image := range images {
		checkCrash(t, fmt.Sprintf("store %d of recovery", i), image, []string{"b"})
	}
}

// Every bit of a committed slot: never delivered, and reported unless the flip
// leaves a commit word that says "reserved" (FORMAT.md has the reason).
func TestEveryBitFlipIsReported(t *testing.T) {
	for _, first := range []uint64{0, 1} {
		r := newRing(t, 4)
		r.store(headOffset, first)
		r.store(tailOffset, first)
		if err := r.NextEpoch(); err != nil {
			t.Fatal(err)
		}
		push(t, r.Producer(0), "damaged", "whole")
		offset := int(r.offset(first))
		for bit := range 8 * (payloadOffset + len("damaged")) {
			r := attach(t, bytes.Clone(r.mem))
			r.mem[offset+bit/8] ^= 1 << (bit % 8)
			looksReserved := first%2 == 0 && bit == 0
			checkFlip(t, r.Consumer(), fmt.Sprintf("position %d, bit %d", first, bit), looksReserved)
		}
	}
}

func checkFlip(t *testing.T, c *Consumer, name string, looksReserved bool) {
	t.Helper()
	var got []string
	c.Scan(math.MaxInt, func(s Slot) {
		if s.Corrupt {
			got = append(got, fmt.Sprint("corrupt ", len(s.Raw), len(s.Payload)))
		} else {
			got = append(got, string(s.Payload))
		}
		c.Free(s.Pos)
	})
	want, wantTorn := []string{"corrupt 512 0", "whole"}, int64(0)
	if looksReserved {
		want, wantTorn = []string{"whole"}, 1
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
	if torn := c.Recover(); torn != wantTorn {
		t.Errorf("%s: %d torn, want %d", name, torn, wantTorn)
	}
	if backlog := c.ring.Backlog(); backlog != 0 {
		t.Errorf("%s: backlog %d, want a drained lane", name, backlog)
	}
}

// A record that is right in all but its position or epoch is somebody else's.
func TestLeftoversAreCorrupt(t *testing.T) {
	for name, damage := range map[string]func(r *Ring){
		"of another position": func(r *Ring) {
			copy(r.mem[r.offset(1)+wordBytes:][:SlotBytes-wordBytes], r.mem[r.offset(0)+wordBytes:])
		},
		"of another epoch": func(r *Ring) { r.fill(1, 2, testKind, []byte("b")) },
	} {
		r := newRing(t, 4)
		push(t, r.Producer(0), "a", "b")
		damage(r)
		var corrupt []uint64
		r.Consumer().Scan(math.MaxInt, func(s Slot) {
			if s.Corrupt {
				corrupt = append(corrupt, s.Pos)
			}
		})
		if !slices.Equal(corrupt, []uint64{1}) {
			t.Errorf("%s: corrupt positions %v, want 1", name, corrupt)
		}
	}
}
