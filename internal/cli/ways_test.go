package cli

import (
	"slices"
	"testing"
	"time"

	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver/cost"
)

func TestWaysLeadToCentralOrToAnEdge(t *testing.T) {
	p := planOf(t, "--scenario", "month-2026", "--profile", "post")
	for _, edges := range []bool{false, true} {
		w, err := p.openWays(edges, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.scenario.Partners {
			paths, _ := p.profile.Region(p.scenario.Partners[i].Region)
			want := paths.Central
			if edges {
				want = paths.Edge
			}
			if w.partner[i] != want || !slices.Contains(w.on(want), i) || w.dial(i) == nil || w.resolve(i, time.Minute) == nil {
				t.Errorf("edges %v: %s takes %q, want %q", edges, p.scenario.Partners[i].Name, w.partner[i], want)
			}
		}
		if truths := w.truths(); len(truths) != len(w.paths) || truths[0].Name != w.names[0] {
			t.Errorf("%+v", truths)
		}
		w.close()
	}
}

func TestNothingIsShapedWithoutPaths(t *testing.T) {
	p := planOf(t, "--scenario", "mixed")
	w, err := p.openWays(true, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if w.network != nil || w.dial(0) != nil || w.resolve(0, 0) != nil || w.partner[0] != "" || len(w.truths()) != 0 {
		t.Errorf("%+v", w)
	}
}

// A profile knows the stages that the server has, and no others.
func TestStagesAreTheServers(t *testing.T) {
	if got, want := slices.Sorted(slices.Values(profiles.StageNames())), slices.Sorted(slices.Values(cost.Names())); !slices.Equal(got, want) {
		t.Errorf("profiles know %q, the server %q", got, want)
	}
	if profiles.MaxStageWorkers > cost.MaxWorkers || profiles.MaxStageQueue > cost.MaxQueue {
		t.Errorf("a profile may ask for %d workers and a queue of %d, the server takes %d and %d", profiles.MaxStageWorkers, profiles.MaxStageQueue, cost.MaxWorkers, cost.MaxQueue)
	}
}
