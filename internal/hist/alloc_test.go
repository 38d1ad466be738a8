//go:build !race

package hist

import "testing"

func TestRecordDoesNotAllocate(t *testing.T) {
	h := New()
	var ns int64
	if n := testing.AllocsPerRun(1_000, func() {
		ns += 7_777_777_777 // runs through the range and beyond it
		h.Record(ns)
		h.RecordCensored()
	}); n != 0 {
		t.Errorf("%v allocations per Record, want 0", n)
	}
	if h.Clamped() == 0 {
		t.Error("the clamped path was not reached")
	}
}

func TestPercentileDoesNotAllocate(t *testing.T) {
	h := record(samples("lognormal", 1_000))
	if n := testing.AllocsPerRun(100, func() { h.Percentile(99.9) }); n != 0 {
		t.Errorf("%v allocations per Percentile, want 0", n)
	}
}
