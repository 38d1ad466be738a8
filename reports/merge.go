package reports

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Errors of MergeRuns.
var (
	ErrNotOneVariant = errors.New("only runs of one variant can be merged")
	ErrNotOneRound   = errors.New("a run to merge must have exactly one round")
)

// Merged is what the counted rounds of one variant amount to together.
type Merged struct {
	Latency  Latencies
	Ledger   Ledger
	Caps     *Caps
	Validity Validity
}

// MergeRounds merges the counted rounds: histograms are merged, never
// averaged; counts are added; maxima stay maxima; rates are computed anew. A
// figure that one counted round does not know is not known of all. The whole
// is invalid if a counted round is, or if there is none. The error names the
// block whose histograms cannot be merged.
func MergeRounds(rounds []Round) (Merged, error) {
	counted := countedRounds(rounds)
	merged := Merged{Validity: mergeValidity(counted)}
	latencies := make([]Latencies, len(counted))
	ledgers := make([]Ledger, len(counted))
	caps := make([]*Caps, len(counted))
	for i, r := range counted {
		latencies[i], ledgers[i], caps[i] = r.Latency, r.Ledger, r.Caps
	}
	var err error
	if merged.Latency, err = mergeLatencies(latencies); err != nil {
		return Merged{}, fmt.Errorf("merge rounds: %w", err)
	}
	merged.Ledger = mergeLedgers(ledgers)
	merged.Caps = mergeCaps(caps)
	return merged, nil
}

func countedRounds(rounds []Round) []Round {
	return slices.DeleteFunc(slices.Clone(rounds), func(r Round) bool { return !r.Counted })
}

func mergeValidity(counted []Round) Validity {
	if len(counted) == 0 {
		return Validity{Verdict: VerdictInvalid, Reasons: []string{"no round was counted"}}
	}
	v := Validity{Verdict: VerdictValid, Reasons: []string{}}
	for _, r := range counted {
		if !r.Validity.Valid() {
			v.Verdict = VerdictInvalid
		}
		for _, reason := range r.Validity.Reasons {
			if len(counted) > 1 {
				reason = fmt.Sprintf("round %d: %s", r.Round, reason)
			}
			v.Reasons = append(v.Reasons, reason)
		}
	}
	return v
}

func mergeLatencies(list []Latencies) (merged Latencies, err error) {
	for _, block := range []struct {
		name string
		of   func(*Latencies) *Latency
	}{
		{"response", func(l *Latencies) *Latency { return &l.Response }},
		{"service", func(l *Latencies) *Latency { return &l.Service }},
		{"service_refused", func(l *Latencies) *Latency { return &l.ServiceRefused }},
		{"delivery", func(l *Latencies) *Latency { return &l.Delivery }},
		{"recorded", func(l *Latencies) *Latency { return &l.Recorded }},
		{"lag_generator", func(l *Latencies) *Latency { return &l.LagGenerator }},
		{"lag_queue", func(l *Latencies) *Latency { return &l.LagQueue }},
	} {
		if err := mergeBlock(block.name, list, block.of, &merged); err != nil {
			return Latencies{}, err
		}
	}
	return merged, nil
}

// mergeBlock merges one block of all given holders into that of merged.
func mergeBlock[T any](name string, list []T, of func(*T) *Latency, merged *T) error {
	blocks := make([]Latency, len(list))
	for i := range list {
		blocks[i] = *of(&list[i])
	}
	block, err := MergeLatency(blocks...)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*of(merged) = block
	return nil
}

// mergePhases also drops the histograms: the document keeps none for phases.
func mergePhases(list []Phases) (merged Phases, err error) {
	for _, block := range []struct {
		name string
		of   func(*Phases) *Latency
	}{
		{"dns", func(p *Phases) *Latency { return &p.DNS }},
		{"connect", func(p *Phases) *Latency { return &p.Connect }},
		{"tls", func(p *Phases) *Latency { return &p.TLS }},
		{"wait", func(p *Phases) *Latency { return &p.Wait }},
		{"body", func(p *Phases) *Latency { return &p.Body }},
	} {
		if err := mergeBlock(block.name, list, block.of, &merged); err != nil {
			return Phases{}, err
		}
		block.of(&merged).Hdr = ""
	}
	return merged, nil
}

// WithRound returns the variant of a single run with its round made of the
// variant's own blocks, ready for MergeRuns. Times are in nanoseconds. counted
// is false for a run that was spoilt and is repeated.
func (v Variant) WithRound(round int, runNumber uint64, startedUnixNs, durationNs int64, counted bool) Variant {
	v.Timeline = slices.Clone(v.Timeline)
	for i := range v.Timeline {
		v.Timeline[i].Round = round
	}
	v.Ledger.Worst = slices.Clone(v.Ledger.Worst)
	for i := range v.Ledger.Worst {
		v.Ledger.Worst[i].RunNumber = runNumber
	}
	v.Rounds = []Round{{
		Round: round, RunNumber: runNumber, StartedUnixNs: startedUnixNs, DurationNs: durationNs, Counted: counted,
		Validity: v.Validity, Latency: v.Latency, Ledger: v.Ledger, Caps: v.Caps,
	}}
	return v
}

// MergeRuns merges single runs of one variant (see WithRound) into the variant
// of a result: MergeRounds for what is in a round, and the same principles for
// the rest. Runs that are not counted only leave their round. A single run
// goes through it too.
func MergeRuns(runs []Variant) (Variant, error) {
	var counted []Variant
	var rounds []Round
	for _, run := range runs {
		if run.Name != runs[0].Name {
			return Variant{}, fmt.Errorf("merge runs of %s and %s: %w", runs[0].Name, run.Name, ErrNotOneVariant)
		}
		if len(run.Rounds) != 1 {
			return Variant{}, fmt.Errorf("merge runs of %s: %w, not %d", run.Name, ErrNotOneRound, len(run.Rounds))
		}
		rounds = append(rounds, run.Rounds[0])
		if run.Rounds[0].Counted {
			counted = append(counted, run)
		}
	}
	m, err := MergeRounds(rounds)
	if err != nil {
		return Variant{}, fmt.Errorf("merge runs of %s: %w", runs[0].Name, err)
	}
	v := Variant{Rounds: rounds, Latency: m.Latency, Ledger: m.Ledger, Caps: m.Caps, Validity: m.Validity}
	if len(runs) > 0 {
		v.Name, v.Durability, v.Composition, v.Components = runs[0].Name, runs[0].Durability, runs[0].Composition, runs[0].Components
	}
	if err := v.mergeRest(counted); err != nil {
		return Variant{}, fmt.Errorf("merge runs of %s: %w", v.Name, err)
	}
	return v, nil
}

// mergeRest fills in what rounds do not keep.
func (v *Variant) mergeRest(runs []Variant) (err error) {
	phases := make([]Phases, len(runs))
	var totalNs float64
	for i, run := range runs {
		phases[i] = run.Phases
		durationNs := float64(run.Rounds[0].DurationNs)
		totalNs += durationNs
		v.OfferedPerS += run.OfferedPerS * durationNs
		v.AchievedPerS += run.AchievedPerS * durationNs
		v.Responses = append(v.Responses, run.Responses...)
		v.Timeline = append(v.Timeline, run.Timeline...)
	}
	if totalNs > 0 {
		v.OfferedPerS /= totalNs
		v.AchievedPerS /= totalNs
	}
	v.Responses = sumResponses(v.Responses)
	v.Clock = worstClock(runs)
	v.Stages = mergeStages(runs)
	v.Resources = mergeResources(runs)
	v.Path, v.Netem, v.Faults = mergePath(runs), mergeNetem(runs), nil
	for _, run := range runs {
		v.Faults = append(v.Faults, run.Faults...)
	}
	if v.Phases, err = mergePhases(phases); err != nil {
		return err
	}
	v.Costs = mergeCosts(runs)
	if v.Partners, err = mergePartners(runs); err != nil {
		return fmt.Errorf("partner %w", err)
	}
	if v.Networks, err = mergeNetworks(runs); err != nil {
		return fmt.Errorf("network %w", err)
	}
	return nil
}

// NewResponses returns the list of counts by HTTP status and by error name,
// sorted: statuses first. A status of 0 is an error without a name.
func NewResponses(byStatus map[int]int64, byError map[string]int64) []Response {
	list := make([]Response, 0, len(byStatus)+len(byError))
	for status, count := range byStatus {
		if status == 0 {
			list = append(list, Response{Error: "no status", Count: count})
			continue
		}
		list = append(list, Response{Status: status, Count: count})
	}
	for name, count := range byError {
		list = append(list, Response{Error: name, Count: count})
	}
	return sumResponses(list)
}

func sumResponses(list []Response) []Response {
	sums := map[Response]int64{}
	for _, r := range list {
		sums[Response{Status: r.Status, Error: r.Error}] += r.Count
	}
	return slices.SortedFunc(func(yield func(Response) bool) {
		for kind, count := range sums {
			kind.Count = count
			if !yield(kind) {
				return
			}
		}
	}, func(a, b Response) int {
		return cmp.Or(strings.Compare(a.Error, b.Error), cmp.Compare(a.Status, b.Status))
	})
}

func addTo(sums, counts map[string]int64) {
	for key := range maps.Keys(counts) {
		sums[key] += counts[key]
	}
}
