//go:build !race

package cost

import (
	"testing"

	"github.com/postbench/postbench/refserver/accept"
)

// A server whose stages cost nothing pays nothing for being able to.
func TestIdleStagesAllocateNothing(t *testing.T) {
	s, err := New(nil, 1, newRuntimeClock())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		for _, name := range []string{accept.StageSlow, accept.StageEdge, accept.StageLog} {
			if leave, err := s.Enter(ctx, name); leave != nil || err != nil || !s.Idle() {
				t.Error(name)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
