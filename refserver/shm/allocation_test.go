//go:build !race

// The race detector allocates.

package shm

import "testing"

func TestNoAllocations(t *testing.T) {
	r := newRing(t, 64)
	p, c := r.Producer(0), r.Consumer()
	visit := func(s Slot) { c.Free(s.Pos) }
	payload := make([]byte, 300)
	var local [100]byte // must not be moved to the heap either
	for name, f := range map[string]func(){
		"push, scan and free": func() {
			if p.TryPush(testKind, payload) != nil || p.TryPush(testKind, local[:]) != nil {
				t.Fatal("the lane is full")
			}
			if c.Scan(64, visit) != 2 {
				t.Fatal("not what was pushed")
			}
		},
		"too long": func() { _ = p.TryPush(testKind, r.mem) },
		"backlog":  func() { _ = r.Backlog() },
		"recover":  func() { _ = c.Recover() },
	} {
		if allocs := testing.AllocsPerRun(1000, f); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
	for p.TryPush(testKind, payload) == nil {
	}
	if allocs := testing.AllocsPerRun(1000, func() { _ = p.TryPush(testKind, payload) }); allocs != 0 {
		t.Errorf("full: %v allocations", allocs)
	}
}
