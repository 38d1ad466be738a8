package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/reports"
)

// The choices that a profile's stages may depend on are the axes' own, and all
// of them.
func TestProfileChoicesAreTheAxes(t *testing.T) {
	known := profiles.CompositionChoices()
	var seen []string
	for _, name := range refserver.Ladder() {
		c, err := refserver.LoadVariant(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, choice := range strings.Fields(c.Choices()) {
			if !strings.HasPrefix(choice, "edges=") {
				seen = append(seen, choice)
			}
		}
		for _, choice := range known {
			axis, value, _ := strings.Cut(choice, "=")
			if _, err := c.With(axis, value); err != nil && strings.Contains(err.Error(), "unknown choice") {
				t.Errorf("%s is no choice: %v", choice, err)
			}
		}
	}
	for _, choice := range seen {
		if !slices.Contains(known, choice) {
			t.Errorf("%s is a choice that no profile may name", choice)
		}
	}
}

func TestStoryFlags(t *testing.T) {
	given := map[string]bool{}
	f := &compareFlags{story: true, traffic: traffic{given: func(flag string) bool { return given[flag] }}}
	if err := f.asStory(); err != nil {
		t.Fatal(err)
	}
	if f.rounds != storyRounds || f.traffic.profile != storyProfile || f.traffic.scenario != storyScenario || strings.Contains(f.variants, "monolith-php") {
		t.Errorf("%+v", f)
	}
	for _, name := range strings.Split(f.variants, ",") {
		if _, err := refserver.LoadVariant(name); err != nil {
			t.Error(err)
		}
	}
	given["profile"], given["rounds"] = true, true
	bare := &compareFlags{story: true, rounds: 2, traffic: traffic{profile: "bare", given: f.traffic.given}}
	if err := bare.asStory(); err != nil || bare.rounds != 2 || !strings.HasPrefix(bare.variants, "monolith-php,monolith,") {
		t.Errorf("%+v, %v", bare, err)
	}
	if err := (&compareFlags{story: true, vary: "log=json,none"}).asStory(); err == nil {
		t.Error("--story with --vary")
	}
}

// Each round of a story is played with a seed of its own, the first with the
// user's; rounds of other comparisons differ by their run number alone.
func TestStoryRoundsHaveSeeds(t *testing.T) {
	flags := &traffic{scenario: storyScenario, profile: storyProfile, seed: 7, given: func(string) bool { return false }}
	first, err := newPlan(flags, nil, time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, story := range []bool{true, false} {
		c := &comparison{plan: first, traffic: flags, story: story}
		for round := range uint32(3) {
			p, err := c.planOf(round)
			want := uint64(7)
			if story {
				want += uint64(round)
			}
			if err != nil || p.spec.Seed != want || p.spec.EpochUnixS != first.spec.EpochUnixS || p.scenario.Name != storyScenario {
				t.Errorf("story %v, round %d: seed %d, want %d; %v", story, round, p.spec.Seed, want, err)
			}
		}
	}
	if flags.seed != 7 {
		t.Error("the flags were changed")
	}
}

func TestCalibrations(t *testing.T) {
	profile, err := profiles.Load(storyProfile)
	if err != nil {
		t.Fatal(err)
	}
	p := &plan{profile: profile}
	for _, c := range p.calibrations() {
		if reports.PostP95(c.FittedTo) == nil || c.P50Us <= 0 || c.P95Us <= c.P50Us {
			t.Errorf("%+v", c)
		}
	}
	if len(p.calibrations()) != 3 {
		t.Errorf("%d figures are fitted", len(p.calibrations()))
	}
}
