package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

// FuzzAttach: whatever the bytes, everything ends, within the memory, and no slot
// is handed out twice.
func FuzzAttach(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, Size(2)))
	f.Add(newRing(f, 2).mem)
	for _, steps := range []string{"ab", "abf", "aFbF", "abcF", "aFEbc"} {
		r := newRing(f, 4)
		p, c := r.Producer(0), r.Consumer()
		for _, step := range steps {
			switch step {
			case 'F', 'f':
				_, positions := scan(f, c, math.MaxInt)
				if step == 'f' {
					positions = positions[1:]
				}
				free(c, positions...)
			case 'E':
				if err := r.NextEpoch(); err != nil {
					f.Fatal(err)
				}
				p = r.Producer(0)
			default:
				push(f, p, string(step))
			}
		}
		f.Add(r.mem)
	}
	f.Fuzz(checkMemoryOf)
}

// FuzzPatchedLane changes words of a lane, which random bytes seldom hit: four
// bytes say where, eight what.
func FuzzPatchedLane(f *testing.F) {
	patch := func(offset uint32, value uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, offset), value)
	}
	f.Add([]byte{})
	f.Add(append(patch(tailOffset, math.MaxUint64), patch(headOffset, math.MaxUint64-2)...))
	f.Add(patch(HeaderBytes, 1<<63))
	f.Add(patch(HeaderBytes+metaOffset, math.MaxUint64))
	f.Fuzz(func(t *testing.T, patches []byte) {
		r := newRing(t, 4)
		push(t, r.Producer(0), "a", "b", "c")
		for ; len(patches) >= 12; patches = patches[12:] {
			at := int(binary.LittleEndian.Uint32(patches)) % (len(r.mem) - wordBytes)
			copy(r.mem[at:], patches[4:12])
		}
		checkMemoryOf(t, r.mem)
	})
}

func checkMemoryOf(t *testing.T, data []byte) {
	// A lane that claims to be larger would be met by these.
	const around = 2 * SlotBytes
	whole := bytes.Repeat([]byte{0xa5}, around+len(data)+around)
	mem := whole[around:][:len(data)]
	copy(mem, data)
	r, err := Attach(mem)
	if !bytes.Equal(mem, data) {
		t.Fatal("Attach changed the memory")
	}
	if err != nil {
		if _, ok := errors.AsType[*CorruptError](err); !ok && !errors.Is(err, ErrMemory) {
			t.Fatalf("not an error of Attach: %v", err)
		}
		return
	}
	useLane(t, r)
	guard := bytes.Repeat([]byte{0xa5}, around)
	if !bytes.Equal(whole[:around], guard) || !bytes.Equal(whole[around+len(data):], guard) {
		t.Fatal("written outside the lane")
	}
}

func useLane(t *testing.T, r *Ring) {
	c := r.Consumer()
	seen := make(map[uint64]bool)
	visit := func(s Slot) {
		if seen[s.Pos] {
			t.Fatalf("position %d handed out twice", s.Pos)
		}
		if seen[s.Pos] = true; len(s.Payload) > MaxPayloadBytes || len(s.Raw) != SlotBytes {
			t.Fatalf("%d bytes of payload in a slot of %d", len(s.Payload), len(s.Raw))
		}
	}
	c.Scan(math.MaxInt, visit)
	p := r.Producer(0)
	for range r.Slots() + 1 {
		_ = p.TryPush(testKind, []byte("fuzz")) // may be refused
	}
	torn := c.Recover()
	c.Scan(math.MaxInt, visit)
	if len(seen) > 2*r.Slots() || torn > int64(r.Slots()) {
		t.Fatalf("%d records and %d torn in %d slots", len(seen), torn, r.Slots())
	}
	for pos := range seen {
		c.Free(pos)
	}
	if backlog := r.Backlog(); backlog < 0 || backlog > int64(r.Slots()) {
		t.Fatalf("backlog %d of %d slots", backlog, r.Slots())
	}
	_ = r.NextEpoch() // may be refused
}
