//go:build !race

package loadgen

import "testing"

func TestBudgetDoesNotAllocate(t *testing.T) {
	b := newBudget(1, 0)
	o := answered("nginx;dur=1.5, php;dur=2, mysql;dur=0.125")
	b.add(o) // makes room for the next requests
	if allocs := testing.AllocsPerRun(spentChunk/2, func() { b.add(o) }); allocs != 0 {
		t.Errorf("%v allocations per request", allocs)
	}
}
