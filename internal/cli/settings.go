package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/reports"
)

// settings are the flags about how a measurement is taken.
type settings struct {
	engine   string
	settle   time.Duration
	drainMax time.Duration
	disturb  disturbances
	parts    realParts
	quiet    time.Duration // see loadgen.Drain; 0 = its default
	observe  func(total time.Duration) loadgen.Observe
	stderr   io.Writer
	bootID   string
	started  time.Time
}

func (s *settings) register(flags *pflag.FlagSet) {
	flags.DurationVar(&s.settle, "settle", 5*time.Second, "the ledger counts as complete when no new row came for so long")
	flags.DurationVar(&s.drainMax, "drain-max", 10*time.Minute, "a ledger that has not settled after so long makes the run invalid")
	s.disturb.register(flags)
	s.parts.register(flags)
	s.engine, s.started = engineNative, time.Now()
}

// check refuses waits that can never end or never begin.
func (s *settings) check() error {
	s.parts.fromEnv()
	real := s.parts.real()
	if err := real.Check(); err != nil {
		return err
	}
	switch {
	case s.settle < 0:
		return fmt.Errorf("--settle %v: want 0s or more", s.settle)
	case s.drainMax <= 0 || s.drainMax < s.settle:
		return fmt.Errorf("--drain-max %v: want more than 0s and at least --settle, which is %v", s.drainMax, s.settle)
	}
	return nil
}

// result puts variants into a result document.
func (p *plan) result(runs []reports.Variant, set *settings) (reports.Result, error) {
	facts := machine.Read()
	result := reports.Result{
		Tool: tool(), Command: append([]string{"postbench"}, os.Args[1:]...),
		Machine:       reports.Machine{CPUs: facts.CPUs, Model: facts.Model, Kernel: facts.Kernel, MemBytes: int64(facts.MemBytes), BootID: facts.BootID},
		StartedUnixNs: set.started.UnixNano(), DurationNs: int64(time.Since(set.started)),
		Seed: p.spec.Seed, RunNumber: uint64(p.spec.RunNumber), EpochUnixS: p.spec.EpochUnixS, WarmupNs: int64(p.warmup), SettleS: set.settle.Seconds(),
		Scenario: &reports.ScenarioRef{Name: p.scenario.Name, SHA256: p.scenario.SHA256()},
		Profile:  &reports.ProfileRef{Name: p.profile.Name, SHA256: p.profile.SHA256()},
	}
	for _, group := range byName(runs) {
		merged, err := reports.MergeRuns(group)
		if err != nil {
			return result, fmt.Errorf("put the result together: %w", err)
		}
		result.Variants = append(result.Variants, merged)
	}
	var err error
	if result.Expectations, err = expectations(p.scenario.Expect, result.Variants); err != nil {
		return result, err
	}
	return result, nil
}

// byName groups runs of the same variant, in order of first appearance.
func byName(runs []reports.Variant) [][]reports.Variant {
	var groups [][]reports.Variant
	at := map[string]int{}
	for _, run := range runs {
		i, seen := at[run.Name]
		if !seen {
			i = len(groups)
			at[run.Name] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], run)
	}
	return groups
}
