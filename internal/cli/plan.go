package cli

import (
	"fmt"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/scenarios"
)

// plan is scenario and profile turned into what the packages below need. It
// is checked as a whole before anything starts.
type plan struct {
	scenario  scenarios.Scenario
	profile   profiles.Profile
	spec      intent.Spec // of run number 0 of this plan
	templates []postback.Template
	clicks    clickFile
	warmup    time.Duration
	replay    []schedule.Replayed
	speed     float64
	atRate    bool          // the replayed requests carry no times of their own
	grace     time.Duration // how long after the last due time partners go on trying
	notes     []string      // what the user should know before the run
}

// tailGrace is how long after the last due time a run waits for stragglers,
// on top of the longest timeout and retry schedule of its partners, where the
// scenario sets no limit of its own.
const tailGrace = 5 * time.Second

func newPlan(t *traffic, own *ownTemplate, now time.Time) (*plan, error) {
	scenario, profile, err := t.load()
	if err != nil {
		return nil, err
	}
	epoch, err := t.epochOrNow(now)
	if err != nil {
		return nil, err
	}
	p := &plan{scenario: scenario, profile: profile, warmup: time.Duration(scenario.Warmup), spec: scenario.IntentSpec()}
	p.spec.Seed, p.spec.RunNumber, p.spec.EpochUnixS = t.seed, t.runNumber, epoch
	if err := p.setTemplates(own); err != nil {
		return nil, err
	}
	if p.grace = time.Duration(scenario.Grace); p.grace == 0 {
		p.grace = p.patience() + tailGrace
	}
	if t.clicks != "" {
		if p.clicks, err = readClicks(t.clicks, p.spec.Offers); err != nil {
			return nil, err
		}
		p.spec.Clicks = p.clicks.list
	}
	return p, p.check(1)
}

// check makes sure that a number of rounds can be played.
func (p *plan) check(rounds uint32) error {
	if err := p.checkRegions(); err != nil {
		return err
	}
	if err := p.tellable(); err != nil {
		return err
	}
	for round := range rounds {
		if _, err := p.generator(round); err != nil {
			return err
		}
		n, err := p.intents(round)
		if err != nil {
			return err
		}
		switch clicks := p.clicks.list; {
		case n == 0:
			return fmt.Errorf("%v/s for %v make no postback at all: raise --rate or --duration", p.scenario.MeanRatePerS(), p.duration())
		case clicks != nil && uint64(clicks.Len()) < n:
			return fmt.Errorf("%s holds %d click ids, the run needs %d: lower --rate or --duration, or export more", p.clicks.path, clicks.Len(), n)
		}
	}
	return nil
}

// checkRegions refuses partners in regions that the profile has no networks for:
// those of its default region would make it another run than the one asked for.
func (p *plan) checkRegions() error {
	for i := range p.scenario.Partners {
		region := p.scenario.Partners[i].Region
		if _, known := p.profile.Paths[region]; region != "" && len(p.profile.Paths) > 0 && !known {
			return fmt.Errorf("partner %s: profile %s: %s", p.scenario.Partners[i].Name, p.profile.Name, strictyaml.Unknown("region", region, p.profile.RegionNames()))
		}
	}
	return nil
}

// setTemplates finds out what each partner sends.
func (p *plan) setTemplates(own *ownTemplate) error {
	secrets, err := p.generator(0)
	if err != nil {
		return err
	}
	for i := range p.scenario.Partners {
		partner := &p.scenario.Partners[i]
		template, err := own.templateFor(&partner.Habits, partner.Name, secrets.Secret(partner.Name))
		if err != nil {
			return err
		}
		p.templates = append(p.templates, template)
		if own.describesPostback() && len(p.spec.Mix.Chains) > 0 && !template.Has("event") {
			return fmt.Errorf("scenario %s has conversions that change their status: --url needs {event}, else nobody could tell their steps apart", p.scenario.Name)
		}
		if own.describesPostback() { // then the user's template decides, not the partner's habits
			spec := &p.spec.Partners[i]
			spec.Unauthenticated, spec.Anonymous, spec.Unexpanded = true, true, 0
			spec.NoEvents = !template.Has("event")
		}
	}
	return nil
}

// afterthought is how long after the end of an attempt without an ack a server
// may still find it in time: as long again as the longest timeout, and the tail.
// It is no partner's schedule: a retry is an attempt of its own.
func (p *plan) afterthought() time.Duration {
	longest := time.Duration(0)
	for i := range p.scenario.Partners {
		longest = max(longest, time.Duration(p.scenario.Partners[i].Habits.Timeout))
	}
	return longest + tailGrace
}

// patience is how long after its due time a partner may still be at work on a
// postback, of the most patient partner.
func (p *plan) patience() time.Duration {
	longest := time.Duration(0)
	for i := range p.scenario.Partners {
		habits := &p.scenario.Partners[i].Habits
		total := time.Duration(habits.Timeout)
		for _, delay := range habits.RetryDelays() {
			total += p.scaled(delay) + time.Duration(habits.Timeout)
		}
		longest = max(longest, total)
	}
	return longest
}

// scaled is a time of the partners' schedules in the run's time.
func (p *plan) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / max(1, p.scenario.TimeScale))
}

// generator returns the intents of round number round of this plan.
func (p *plan) generator(round uint32) (*intent.Generator, error) {
	spec := p.spec
	spec.RunNumber += round
	return intent.New(spec)
}

// schedule returns the due times of a round.
func (p *plan) schedule(round uint32) (schedule.Schedule, error) {
	if p.replay != nil && !p.atRate {
		return schedule.Replay(p.replay, p.speed)
	}
	return p.scenario.Arrivals.Schedule(p.duration(), p.spec.Seed^uint64(p.spec.RunNumber+round+1)<<32)
}

// duration is the length of a round, warm-up included.
func (p *plan) duration() time.Duration { return time.Duration(p.scenario.Duration) }

// intents is how many intents a round has.
func (p *plan) intents(round uint32) (uint64, error) {
	s, err := p.schedule(round)
	if err != nil {
		return 0, err
	}
	return uint64(schedule.Count(s)), nil
}

// carries tells the judge what each partner's requests say.
func (p *plan) carries() []audit.Carries {
	var list []audit.Carries
	for i := range p.templates {
		t := &p.templates[i]
		list = append(list, audit.Carries{TxID: t.Has("txid"), OfferID: t.Has("offer_id"), Event: t.Has("event"),
			Payout: t.Has("payout"), Currency: t.Has("currency")})
	}
	return list
}
