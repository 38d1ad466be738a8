package cli

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/scenarios"
)

// maxEpochUnixS is the year 2200. Times are kept in ns, of which int64 holds
// 292 years.
const maxEpochUnixS = 7_258_118_400

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
	timeScale float64

	// given says whether a flag was given at all: 0 is a value too.
	given func(flag string) bool
	// recorded: the length of the run, to which the warm-up is held, comes
	// from a recording and not from the scenario.
	recorded bool
}

func (t *traffic) register(flags *pflag.FlagSet, defaultScenario string) {
	flags.StringVar(&t.scenario, "scenario", defaultScenario, "what partners send: `NAME` of a preset or path of a YAML file (see: list scenarios)")
	flags.StringVar(&t.profile, "profile", "bare", "where it runs: `NAME` of a preset or path of a YAML file (see: list profiles)")
	flags.StringVar(&t.partner, "partner", "", "give every partner these habits: `NAME` of a preset or path of a YAML file (see: list partners)")
	flags.Float64Var(&t.ratePerS, "rate", 0, "`N` intents per second, instead of the scenario's")
	flags.DurationVar(&t.duration, "duration", 0, "length of the run, warm-up included, instead of the scenario's")
	flags.DurationVar(&t.warmup, "warmup", 0, "first part of the run: audited, not timed; instead of the scenario's")
	flags.Uint64Var(&t.seed, "seed", 1, "seed `N`: equal seed, run number and epoch give byte-identical requests")
	flags.Uint32Var(&t.runNumber, "run-number", 0, "number `N` of this run; a server must see each number only once")
	flags.Int64Var(&t.epoch, "epoch", 0, "`UNIX_S` that signatures and clicks count from (default: now)")
	flags.StringVar(&t.clicks, "clicks", "", "`FILE` of your own click ids, one a line, or CSV with click_id,offer_id (offers of the scenario)")
	flags.Float64Var(&t.timeScale, "time-scale", 1, "divide retry schedules, DNS lifetimes, attribution windows and times to live by `K`, instead of the scenario's;\nnever a timeout or a measured latency")
	t.given = flags.Changed
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
	if t.given("duration") {
		scenario.Duration = strictyaml.Duration(t.duration)
	}
	if t.given("rate") {
		scenario.Arrivals = scenario.Arrivals.WithMeanRate(t.ratePerS, time.Duration(scenario.Duration))
	}
	if t.given("time-scale") {
		scenario.TimeScale = t.timeScale
	}
	if t.given("warmup") && !t.recorded {
		scenario.Warmup = strictyaml.Duration(t.warmup)
	} else if scenario.Warmup >= scenario.Duration {
		scenario.Warmup = scenario.Duration / 5 // of a --duration shorter than what the scenario meant
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
		return scenario, profile, fmt.Errorf("with these flags: %w", err)
	}
	return scenario, profile, nil
}

// epochOrNow is the epoch of the run.
func (t *traffic) epochOrNow(now time.Time) (int64, error) {
	switch {
	case !t.given("epoch"):
		return now.Unix(), nil
	case t.epoch < 1 || t.epoch > maxEpochUnixS:
		return 0, fmt.Errorf("--epoch %d: want Unix seconds, 1 to %d", t.epoch, int64(maxEpochUnixS))
	}
	return t.epoch, nil
}
