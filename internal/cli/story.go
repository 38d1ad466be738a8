package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/reports"
)

// What compare --story plays unless other flags say else.
const (
	storyScenario = "story"
	storyProfile  = "post"
	storyRounds   = 5
	monthScenario = "month-2026"
)

// storyVariants is the ladder: the post's rungs and, at its end, the one of ours
// that loses nothing. The real PHP stack takes no modelled stage times.
func storyVariants(modelled bool) []string {
	list := []string{"monolith", "redis-cache", "edge-redis", "edge-worker", "grpc-stream", "udp-batch", "hot-path", "binary-log", "udp-acked"}
	if modelled {
		return list
	}
	return slices.Insert(list, 0, "monolith-php")
}

// asStory fills in what a story is made of where no flag says else.
func (f *compareFlags) asStory() error {
	if !f.story {
		return nil
	}
	if f.vary != "" {
		return errors.New("--story climbs a ladder, --vary takes one step: leave one of them out")
	}
	given := f.traffic.given
	if !given("scenario") {
		f.traffic.scenario = storyScenario
	}
	if !given("profile") {
		f.traffic.profile = storyProfile
	}
	if !given("rounds") {
		f.rounds = storyRounds
	}
	profile, err := profiles.Load(f.traffic.profile)
	if err != nil {
		return err
	}
	if f.variants == "" {
		f.variants = strings.Join(storyVariants(profile.Modelled()), ",")
	}
	return nil
}

// calibrations are the profile's fitted figures.
func (p *plan) calibrations() []reports.Calibration {
	list := []reports.Calibration{}
	for i := range p.profile.Stages {
		s := &p.profile.Stages[i]
		if s.Fitted == "" {
			continue
		}
		fitted := reports.Calibration{Figure: s.Name, FittedTo: s.Fitted}
		if d, err := s.Dist(); err == nil {
			fitted.P50Us, fitted.P95Us = float64(d.At(0.5))/1e3, float64(d.At(0.95))/1e3
		}
		list = append(list, fitted)
	}
	return list
}

// planOf is the plan of a round. A story's rounds have a seed each, so that not
// only the traffic but the draws of stages and paths are others: what is the same
// in all of them is no accident of one seed.
func (c *comparison) planOf(round uint32) (*plan, error) {
	if !c.story || round == 0 {
		return c.plan, nil
	}
	traffic := *c.traffic
	traffic.seed += uint64(round)
	return newPlan(&traffic, nil, time.Unix(c.plan.spec.EpochUnixS, 0))
}

// tellStory holds the ladder against the post's and plays the post's month on
// its last rung. Without modelled costs there is nothing to hold against it.
func (c *comparison) tellStory(ctx context.Context, f *compareFlags, list []contender, result *reports.Result) error {
	if !c.plan.profile.Modelled() {
		return nil
	}
	result.Story = reports.TellStory(result.Variants, c.plan.calibrations())
	for _, round := range result.Variants[0].Rounds {
		if round.Counted {
			result.Story.Seeds = append(result.Story.Seeds, result.Seed+uint64(round.Round-1)) // see planOf
		}
	}
	last := lastRung(list)
	if last == nil || ctx.Err() != nil || f.traffic.given("variants") {
		return nil // the month is for the whole ladder: who picks rungs is calibrating
	}
	month, err := c.playMonth(ctx, f, last)
	if err != nil {
		return err
	}
	result.Month, err = reports.TellMonth(month)
	return err
}

// lastRung is the last contender that the post gives a figure.
func lastRung(list []contender) *contender {
	for i := range slices.Backward(list) {
		if reports.PostP95(list[i].name) != nil {
			return &list[i]
		}
	}
	return nil
}

// playMonth plays the post's month on one rung, once.
func (c *comparison) playMonth(ctx context.Context, f *compareFlags, who *contender) (*reports.Variant, error) {
	traffic := f.traffic
	traffic.scenario = monthScenario
	p, err := newPlan(&traffic, nil, time.Now())
	if err != nil {
		return nil, err
	}
	month := *c
	month.plan, month.rounds, month.story = p, 1, false
	fmt.Fprint(c.stderr, noteRounds(1, p.duration(), p.scenario.Name, 1))
	played, err := month.round(ctx, 0, who)
	if err != nil {
		return nil, err
	}
	last := &played[len(played)-1]
	if !last.Validity.Valid() {
		fmt.Fprintf(c.stdout, "%s on %s cannot be trusted: %s\n", monthScenario, who.name, strings.Join(last.Validity.Reasons, "; "))
	}
	return last, nil
}

// storyText prints the ladder and the month; without modelled costs what each
// step costs here.
func storyText(result *reports.Result) string {
	if result.Story == nil {
		return reports.StepTable(result.Variants)
	}
	text := reports.StoryTable(result.Story, result.Variants)
	if result.Month != nil {
		text += "\n" + reports.MonthTable(result.Month)
	}
	return text
}
