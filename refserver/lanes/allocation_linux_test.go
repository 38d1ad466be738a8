//go:build !race

// The race detector allocates.

package lanes

import "testing"

func TestNoAllocations(t *testing.T) {
	l := openProducer(t, Options{Dir: t.TempDir(), Slots: 2048})
	record := make([]byte, 300)
	if allocs := testing.AllocsPerRun(1000, func() {
		if err := l.TryPush(record); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations per push", allocs)
	}
}
