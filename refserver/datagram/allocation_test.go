//go:build !race

package datagram

import (
	"slices"
	"testing"
)

const runs = 200

func TestSealDoesNotAllocate(t *testing.T) {
	s := newSealer(t, testEdge(), testBoot())
	body, count := fullBody()
	buffer, seq := make([]byte, 0, MaxBytes), uint64(0)
	if n := testing.AllocsPerRun(runs, func() {
		seq++
		buffer = s.Seal(buffer[:0], seq, count, body)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStepDoesNotAllocate(t *testing.T) {
	s, r := newSealer(t, testEdge(), testBoot()), newReceiver(t, []Edge{testEdge()})
	body, count := fullBody()
	var good, replays, forged [][]byte
	for seq := range uint64(runs + 1) { // AllocsPerRun runs once more to warm up
		d := s.Seal(nil, seq+1, count, body)
		good, replays, forged = append(good, d), append(replays, slices.Clone(d)), append(forged, slices.Clone(d))
		forged[seq][MaxBytes-1]++
	}
	// The first datagram of a boot derives its key: that may allocate.
	if _, err := r.Step(nowNs, s.Seal(nil, runs+2, count, body)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		datagrams [][]byte
		accepted  bool
	}{{"forged", forged, false}, {"good", good, true}, {"replayed", replays, false}} {
		i := 0
		if n := testing.AllocsPerRun(runs, func() {
			opened, err := r.Step(nowNs, tt.datagrams[i])
			if (err == nil) != tt.accepted {
				t.Fatalf("%s: datagram %d: %v", tt.name, i, err)
			}
			for frames := Frames(opened.Body); frames.Next(); {
				_ = frames.Record()
			}
			i++
		}); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func TestAcksDoNotAllocate(t *testing.T) {
	s, o := newAckSealer(t, testEdge(), testBoot(), collectorBoot(0)), newAckOpener(t)
	buffer, a := make([]byte, 0, MaxBytes), anAck(0)
	round := func() {
		a.Counter++
		buffer = s.AppendAck(buffer[:0], a)
		if _, err := o.OpenAck(buffer); err != nil {
			t.Fatal(err)
		}
	}
	round() // derives the key, grows the body
	if n := testing.AllocsPerRun(runs, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
