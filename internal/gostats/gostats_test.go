package gostats

import (
	"runtime"
	"testing"
)

func TestRead(t *testing.T) {
	before := Read()
	kept := make([][]byte, 0, 1_000)
	for range cap(kept) {
		kept = append(kept, make([]byte, 64))
	}
	runtime.GC()
	runtime.KeepAlive(kept)
	w, ok := Read().Since(before)
	if !ok || w.GCCycles == 0 || w.Stops == 0 || w.MaxStopNs <= 0 || w.AllocObjects < 1_000 {
		t.Errorf("%+v, %v", w, ok)
	}
}

func TestSince(t *testing.T) {
	early := Snapshot{GCCycles: 2, AllocObjects: 10, Stops: []Stop{{100, 3}, {400, 1}}}
	for name, test := range map[string]struct {
		late Snapshot
		want Work
		ok   bool
	}{
		"nothing":       {early, Work{}, true},
		"short stops":   {Snapshot{3, 15, []Stop{{100, 5}, {400, 1}}}, Work{GCCycles: 1, Stops: 2, AllocObjects: 5, MaxStopNs: 100}, true},
		"a longer one":  {Snapshot{3, 10, []Stop{{100, 3}, {400, 1}, {900, 1}}}, Work{GCCycles: 1, Stops: 1, MaxStopNs: 900}, true},
		"another life":  {Snapshot{GCCycles: 1}, Work{}, false},
		"fewer stops":   {Snapshot{2, 10, []Stop{{100, 2}}}, Work{}, false},
		"fewer objects": {Snapshot{GCCycles: 5, AllocObjects: 9}, Work{}, false},
	} {
		if got, ok := test.late.Since(early); got != test.want || ok != test.ok {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}
