package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/scenarios"
)

// traffic holds the flags that say what is sent. They mean the same under
// every verb.
type traffic struct {
	scenario  string
	profile   string
	partner   string
	ratePerS  float64
	duration  time.Duration
	warmup    time.Duration
	seed      uint64
	runNumber uint32
	epoch     int64
	clicks    string
	router    string
}

func (t *traffic) register(flags *pflag.FlagSet, defaultScenario string) {
	flags.StringVar(&t.scenario, "scenario", defaultScenario, "what partners send: a preset or a YAML file (see: list scenarios)")
	flags.StringVar(&t.profile, "profile", "bare", "where it runs: a preset or a YAML file (see: list profiles)")
	flags.StringVar(&t.partner, "partner", "", "give every partner the habits of this partner profile (see: list partners)")
	flags.Float64Var(&t.ratePerS, "rate", 0, "intents per second, instead of the scenario's")
	flags.DurationVar(&t.duration, "duration", 0, "length of the run, warm-up included, instead of the scenario's")
	flags.DurationVar(&t.warmup, "warmup", -1, "first part of the run: audited, not timed; instead of the scenario's")
	flags.Uint64Var(&t.seed, "seed", 1, "equal seed, run number and epoch give byte-identical requests")
	flags.Uint32Var(&t.runNumber, "run-number", 0, "number of this run; a server must see each number only once")
	flags.Int64Var(&t.epoch, "epoch", 0, "Unix second that signatures and clicks count from (default: now)")
	flags.StringVar(&t.clicks, "clicks", "", "file of your own click ids, one a line or CSV with click_id,offer_id")
}

// load reads the scenario and lays the flags over it.
func (t *traffic) load() (scenarios.Scenario, profiles.Profile, error) {
	profile, err := profiles.Load(t.profile)
	if err != nil {
		return scenarios.Scenario{}, profile, err
	}
	scenario := scenarios.Default()
	if t.scenario != "" {
		if scenario, err = scenarios.Load(t.scenario); err != nil {
			return scenario, profile, err
		}
	}
	if t.ratePerS != 0 {
		scenario.Arrivals.RatePerS = t.ratePerS
	}
	if t.duration != 0 {
		scenario.Duration = strictyaml.Duration(t.duration)
	}
	if t.warmup >= 0 {
		scenario.Warmup = strictyaml.Duration(t.warmup)
	} else if t.duration != 0 && scenario.Warmup >= scenario.Duration {
		scenario.Warmup = scenario.Duration / 5
	}
	if t.partner != "" {
		habits, err := profiles.LoadPartner(t.partner)
		if err != nil {
			return scenario, profile, err
		}
		for i := range scenario.Partners {
			scenario.Partners[i].Profile, scenario.Partners[i].Habits = t.partner, habits
		}
	}
	if err := scenario.Validate(); err != nil {
		return scenario, profile, fmt.Errorf("scenario %s with these flags: %w", scenario.Name, err)
	}
	return scenario, profile, nil
}

// epochOrNow is the epoch of the run.
func (t *traffic) epochOrNow(now time.Time) (int64, error) {
	if t.epoch < 0 {
		return 0, errors.New("--epoch must not be negative")
	}
	if t.epoch == 0 {
		return now.Unix(), nil
	}
	return t.epoch, nil
}
