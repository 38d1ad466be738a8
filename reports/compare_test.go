package reports

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestSignTest(t *testing.T) {
	// Binomial tables, twice the lower tail of n = lower + higher, p = 1/2.
	for _, tt := range []struct {
		lower, higher int
		want          float64
	}{
		{0, 0, 1}, {1, 0, 1}, {3, 3, 1}, {5, 0, 0.0625}, {6, 0, 0.03125}, {0, 6, 0.03125}, {5, 1, 0.21875},
		{8, 2, 0.109375}, {9, 1, 0.021484375}, {1000, 0, math.Ldexp(1, -999)}, {2000, 0, 0},
	} {
		if got := signTest(tt.lower, tt.higher); got != tt.want {
			t.Errorf("signTest(%d, %d) = %v, want %v", tt.lower, tt.higher, got, tt.want)
		}
	}
}

func TestMinRoundsIsTheFewestThatCanShowAnything(t *testing.T) {
	if signTest(MinRounds, 0) >= significance || signTest(MinRounds-1, 0) < significance {
		t.Errorf("p = %v with %d rounds and %v with one less", signTest(MinRounds, 0), MinRounds, signTest(MinRounds-1, 0))
	}
}

func TestMedianRatio(t *testing.T) {
	inf := math.Inf(1)
	for _, tt := range []struct {
		name   string
		as, bs []float64
		want   *float64
	}{
		{"no rounds", nil, nil, nil},
		{"odd", []float64{1, 1, 1}, []float64{5, 2, 3}, ptr(3.)},
		{"even, geometric", []float64{1, 1}, []float64{2, 8}, ptr(4.)},
		{"pairs, not values", []float64{1, 10, 100}, []float64{2, 20, 50}, ptr(2.)},
		{"a zero base", []float64{0, 1}, []float64{3, 2}, ptr(2.)},
		{"b unacked", []float64{1, 1, 1}, []float64{inf, inf, 2}, nil},
		{"a unacked", []float64{inf, inf, 1}, []float64{1, 1, 2}, nil},
		{"both unacked once", []float64{inf, 1}, []float64{inf, 2}, ptr(2.)},
		{"one unacked of three", []float64{1, 1, 1}, []float64{inf, 3, 2}, ptr(3.)},
	} {
		if got := medianRatio(tt.as, tt.bs); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// find returns the comparison of one metric.
func find(t *testing.T, list []Comparison, b, metric string) Comparison {
	t.Helper()
	for _, c := range list {
		if c.B == b && c.Metric == metric {
			return c
		}
	}
	t.Fatalf("no comparison of %s in %s", b, metric)
	return Comparison{}
}

func TestCompare(t *testing.T) {
	base := sixRounds(t, "base", 4000, 5, 2)
	fast := sixRounds(t, "fast", 2000, 5, 0)
	list := Compare([]Variant{fast, base}, "base")
	if len(list) != len(metrics()) {
		t.Fatalf("%d comparisons, want one a metric: %d", len(list), len(metrics()))
	}
	p95 := find(t, list, "fast", MetricResponseP95)
	if p95.A != "base" || p95.Verdict != VerdictLower || p95.BLower != 6 || p95.Rounds != 6 || *p95.PValue != 0.03125 || p95.Why != "" {
		t.Errorf("response p95: %+v", p95)
	}
	if *p95.Ratio < 0.5 || *p95.Ratio > 0.52 || *p95.BValue != *fast.Latency.Response.P95Us {
		t.Errorf("response p95: ratio %v, value %v", *p95.Ratio, *p95.BValue)
	}
	unacked := find(t, list, "fast", MetricResponseP999)
	if unacked.Verdict != VerdictUnknown || unacked.Why != WhyNotSignificant || unacked.Rounds != 6 || unacked.Ratio != nil || unacked.AValue != nil {
		t.Errorf("both unacked is a tie: %+v", unacked)
	}
	lost := find(t, list, "fast", MetricLost)
	if *lost.AValue != 30 || *lost.BValue != 30 || *lost.Ratio != 1 || lost.Verdict != VerdictUnknown {
		t.Errorf("lost: %+v", lost)
	}
	overshoot := find(t, list, "fast", MetricBilledOvershoot)
	if *overshoot.AValue != 12 || *overshoot.BValue != 0 || *overshoot.Ratio != 0 || overshoot.Verdict != VerdictLower {
		t.Errorf("overshoot: %+v", overshoot)
	}
}

func TestCompareTheOtherWayRound(t *testing.T) {
	base, fast := sixRounds(t, "base", 4000, 5, 2), sixRounds(t, "fast", 2000, 1, 0)
	forth, back := Compare([]Variant{base, fast}, "base"), Compare([]Variant{base, fast}, "fast")
	opposite := map[string]string{VerdictLower: VerdictHigher, VerdictHigher: VerdictLower, VerdictUnknown: VerdictUnknown}
	for i := range forth {
		if back[i].Verdict != opposite[forth[i].Verdict] || *back[i].PValue != *forth[i].PValue {
			t.Errorf("%s: %s forth, %s back", forth[i].Metric, forth[i].Verdict, back[i].Verdict)
		}
		if forth[i].Ratio != nil && back[i].Ratio != nil && math.Abs(*forth[i].Ratio**back[i].Ratio-1) > 1e-9 {
			t.Errorf("%s: ratios %v and %v do not invert", forth[i].Metric, *forth[i].Ratio, *back[i].Ratio)
		}
	}
}

// An unacked percentile is slower than any number.
func TestCompareUnacked(t *testing.T) {
	base, lossy := sixRounds(t, "base", 4000, 0, 0), sixRounds(t, "lossy", 1000, 100, 0)
	c := find(t, Compare([]Variant{base, lossy}, "base"), "lossy", MetricResponseP95)
	if c.Verdict != VerdictHigher || c.BHigher != 6 || c.Ratio != nil || c.BValue != nil || c.AValue == nil {
		t.Errorf("got %+v, want higher without a ratio", c)
	}
}

func TestCompareClaimsNothingUnproven(t *testing.T) {
	base := sixRounds(t, "base", 4000, 5, 2)
	invalid := sixRounds(t, "b", 1000, 0, 0)
	invalid.Validity = Validity{Verdict: VerdictInvalid, Reasons: []string{"starved"}}
	blind := sixRounds(t, "b", 1000, 0, 0)
	for i := range blind.Rounds {
		blind.Rounds[i].Ledger = Ledger{}
		blind.Rounds[i].Caps = nil
		blind.Rounds[i].Latency.Recorded = Latency{}
	}
	spoilt := sixRounds(t, "b", 1000, 0, 0)
	spoilt.Rounds[3].Counted = false
	for _, tt := range []struct {
		name   string
		b      Variant
		metric string
		why    string
		rounds int
	}{
		{"invalid", invalid, MetricResponseP95, WhyInvalid, 6},
		{"no ledger", blind, MetricLost, WhyNoData, 0},
		{"no caps", blind, MetricBilledOvershoot, WhyNoData, 0},
		{"no clock", blind, MetricRecordedP95, WhyNoData, 0},
		{"one round is not counted", spoilt, MetricResponseP95, WhyFewRounds, 5},
		{"two rounds", merged(t, run("b", 1, 1000, 0, 0), run("b", 2, 1000, 0, 0)), MetricResponseP95, WhyFewRounds, 2},
		{"no rounds", Variant{Name: "b", Validity: Validity{Verdict: VerdictValid}}, MetricLost, WhyNoData, 0},
		{"the same", sixRounds(t, "b", 4000, 5, 2), MetricResponseP95, WhyNotSignificant, 6},
	} {
		c := find(t, Compare([]Variant{base, tt.b}, "base"), "b", tt.metric)
		if c.Verdict != VerdictUnknown || c.Why != tt.why || c.Rounds != tt.rounds || (c.PValue == nil) != (tt.rounds == 0) {
			t.Errorf("%s: %+v, want ~ for %s with %d rounds", tt.name, c, tt.why, tt.rounds)
		}
	}
}

func TestCompareWithoutBase(t *testing.T) {
	if list := Compare([]Variant{sixRounds(t, "a", 1000, 0, 0)}, "absent"); len(list) != 0 {
		t.Errorf("got %v", list)
	}
}

func TestSentence(t *testing.T) {
	base := sixRounds(t, "monolith[caps=check-then-insert]", 4000, 0, 2)
	atomic := sixRounds(t, "monolith[caps=atomic]", 4000, 0, 0)
	fast := sixRounds(t, "udp-acked", 2000, 0, 2)
	lossy := sixRounds(t, "udp", 1000, 100, 0)
	few := merged(t, run("few", 1, 4100, 3, 0), run("few", 2, 4200, 0, 2))
	once := sixRounds(t, "once", 4000, 0, 2)
	once.Rounds[2].Ledger.Fates = NewFates(998, 1, 1, 0, 9, 1)
	slow := sixRounds(t, "slow", 8000, 1, 3)
	invalid := sixRounds(t, "starved", 1000, 0, 0)
	invalid.Validity = Validity{Verdict: VerdictInvalid, Reasons: []string{"starved"}}
	noRounds := merged(t)
	noRounds.Name, noRounds.Validity = "none", Validity{Verdict: VerdictValid}
	var b strings.Builder
	for _, others := range [][]Variant{{}, {atomic}, {fast}, {lossy}, {few}, {once}, {slow}, {invalid}, {noRounds}, {atomic, fast, invalid}} {
		b.WriteString(Sentence(Compare(append([]Variant{base}, others...), base.Name)...) + "\n")
	}
	golden(t, "sentences.txt", b.String())
}
