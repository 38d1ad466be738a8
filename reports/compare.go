package reports

import (
	"math"
	"math/big"
	"slices"
)

// MinRounds is the fewest paired rounds that can show a difference: below six,
// even a sign test that comes out the same way every time has p > 0.05.
const MinRounds = 6

// significance is the p-value below which a difference counts as shown.
const significance = 0.05

// The metrics that Compare compares, in its order. Those with _us are
// latencies in microseconds, the others count postbacks or rows.
const (
	MetricResponseP50     = "response_p50_us"
	MetricResponseP95     = "response_p95_us"
	MetricResponseP99     = "response_p99_us"
	MetricResponseP999    = "response_p999_us"
	MetricLost            = "lost"
	MetricDoubleCounted   = "double_counted"
	MetricBilledOvershoot = "billed_overshoot"
	MetricRecordedP95     = "recorded_p95_us"
)

// The verdicts of a comparison: on b, seen from a. Lower is better in all
// metrics.
const (
	VerdictLower   = "lower"
	VerdictHigher  = "higher"
	VerdictUnknown = "~" // no difference could be shown; that is not "equal"
)

// The reasons for VerdictUnknown.
const (
	WhyInvalid        = "invalid"         // a measurement is invalid
	WhyNoData         = "no_data"         // no paired round has the metric
	WhyFewRounds      = "few_rounds"      // fewer than MinRounds
	WhyNotSignificant = "not_significant" // p ≥ 0.05
)

// Comparison is one metric of variant B against the base A, paired by round.
type Comparison struct {
	A      string   `json:"a"`
	B      string   `json:"b"`
	Metric string   `json:"metric"`
	AValue *float64 `json:"a_value"` // latency: of all rounds, nil when unacked; count: sum over the paired rounds
	BValue *float64 `json:"b_value"`
	// Ratio is b/a. Latency: the median of the ratios of each round. Count: the
	// ratio of the sums. Nil where it has no meaning (0/0, unacked).
	Ratio   *float64 `json:"ratio"`
	Rounds  int      `json:"rounds"`   // paired rounds that have the metric
	BLower  int      `json:"b_lower"`  // of these, with a lower b
	BHigher int      `json:"b_higher"` // of these, with a higher b; the rest are ties
	PValue  *float64 `json:"p_value"`  // exact two-sided sign test; nil without rounds
	Verdict string   `json:"verdict"`  // VerdictLower, VerdictHigher or VerdictUnknown
	Why     string   `json:"why"`      // reason for VerdictUnknown, else empty
}

// metric tells how to read one figure. A latency that is unacked reads +∞. ok
// is false when the figure is not known.
type metric struct {
	name    string
	latency func(*Latencies) (*Latency, *float64)
	count   func(*Round) (n int64, ok bool)
}

func metrics() []metric {
	return []metric{
		{name: MetricResponseP50, latency: func(l *Latencies) (*Latency, *float64) { return &l.Response, l.Response.P50Us }},
		{name: MetricResponseP95, latency: func(l *Latencies) (*Latency, *float64) { return &l.Response, l.Response.P95Us }},
		{name: MetricResponseP99, latency: func(l *Latencies) (*Latency, *float64) { return &l.Response, l.Response.P99Us }},
		{name: MetricResponseP999, latency: func(l *Latencies) (*Latency, *float64) { return &l.Response, l.Response.P999Us }},
		{name: MetricLost, count: func(r *Round) (int64, bool) { return r.Ledger.Lost(), r.Ledger.Judged() }},
		{name: MetricDoubleCounted, count: func(r *Round) (int64, bool) {
			return known(r.Ledger.DoubleCounted), r.Ledger.DoubleCounted != nil
		}},
		{name: MetricBilledOvershoot, count: func(r *Round) (int64, bool) {
			if r.Caps == nil {
				return 0, false
			}
			return r.Caps.BilledOvershoot, true
		}},
		{name: MetricRecordedP95, latency: func(l *Latencies) (*Latency, *float64) { return &l.Recorded, l.Recorded.P95Us }},
	}
}

// Compare compares every variant with the one named base, metric by metric,
// in the order of variants. Counted rounds are paired by their number. It is
// empty when there is no variant of that name.
//
// The test is the exact two-sided sign test (W. J. Dixon and A. M. Mood, "The
// statistical sign test", JASA 41, 1946): of n rounds that are no tie, k is
// the smaller of "b lower" and "b higher";
//
//	p = min(1, 2 × Σ_{i=0..k} C(n,i) / 2^n)
//
// It assumes nothing of how latencies are distributed, only that a round is as
// likely to come out either way when the variants do not differ. Each metric
// is tested on its own.
func Compare(variants []Variant, base string) []Comparison {
	at := slices.IndexFunc(variants, func(v Variant) bool { return v.Name == base })
	if at < 0 {
		return nil
	}
	var list []Comparison
	for i := range variants {
		if i == at {
			continue
		}
		pairs := pairRounds(variants[at].Rounds, variants[i].Rounds)
		for _, m := range metrics() {
			list = append(list, m.compare(&variants[at], &variants[i], pairs))
		}
	}
	return list
}

// roundPair is the same round of two variants.
type roundPair struct{ a, b *Round }

func pairRounds(a, b []Round) []roundPair {
	byNumber := map[int]*Round{}
	for i := range b {
		if b[i].Counted {
			byNumber[b[i].Round] = &b[i]
		}
	}
	var pairs []roundPair
	for i := range a {
		if partner := byNumber[a[i].Round]; a[i].Counted && partner != nil {
			pairs = append(pairs, roundPair{&a[i], partner})
		}
	}
	return pairs
}

func (m metric) compare(a, b *Variant, pairs []roundPair) Comparison {
	c := Comparison{A: a.Name, B: b.Name, Metric: m.name}
	var as, bs []float64
	for _, pair := range pairs {
		aValue, aKnown := m.ofRound(pair.a)
		bValue, bKnown := m.ofRound(pair.b)
		if aKnown && bKnown {
			as, bs = append(as, aValue), append(bs, bValue)
		}
	}
	for i := range as {
		switch {
		case bs[i] < as[i]:
			c.BLower++
		case bs[i] > as[i]:
			c.BHigher++
		}
	}
	c.Rounds = len(as)
	if m.count != nil {
		c.compareSums(as, bs)
	} else {
		_, c.AValue = m.latency(&a.Latency)
		_, c.BValue = m.latency(&b.Latency)
		c.Ratio = medianRatio(as, bs)
	}
	c.judge(a.Validity.Valid() && b.Validity.Valid())
	return c
}

func (m metric) ofRound(r *Round) (value float64, known bool) {
	if m.count != nil {
		n, known := m.count(r)
		return float64(n), known
	}
	block, us := m.latency(&r.Latency)
	switch {
	case block.Empty():
		return 0, false
	case us == nil:
		return math.Inf(1), true
	}
	return *us, true
}

func (c *Comparison) compareSums(as, bs []float64) {
	if c.Rounds == 0 {
		return
	}
	var aSum, bSum float64
	for i := range as {
		aSum += as[i]
		bSum += bs[i]
	}
	c.AValue, c.BValue = &aSum, &bSum
	if aSum > 0 {
		ratio := bSum / aSum
		c.Ratio = &ratio
	}
}

// judge tests the counted signs and sets p-value, verdict and reason.
func (c *Comparison) judge(valid bool) {
	c.Verdict = VerdictUnknown
	if c.Rounds > 0 {
		p := signTest(c.BLower, c.BHigher)
		c.PValue = &p
	}
	switch {
	case !valid:
		c.Why = WhyInvalid
	case c.Rounds == 0:
		c.Why = WhyNoData
	case c.Rounds < MinRounds:
		c.Why = WhyFewRounds
	case *c.PValue >= significance:
		c.Why = WhyNotSignificant
	case c.BLower > c.BHigher:
		c.Verdict = VerdictLower
	default:
		c.Verdict = VerdictHigher
	}
}

// signTest returns the p-value of Compare's test, computed exactly.
func signTest(lower, higher int) float64 {
	n := int64(lower + higher)
	sum, term := new(big.Int), new(big.Int)
	for i := range int64(min(lower, higher)) + 1 {
		sum.Add(sum, term.Binomial(n, i))
	}
	outcomes := new(big.Int).Lsh(big.NewInt(1), uint(n))
	p, _ := new(big.Rat).SetFrac(sum.Lsh(sum, 1), outcomes).Float64()
	return min(1, p)
}

// medianRatio returns the median of b/a, leaving out rounds in which both are
// unacked; nil when it falls on a round in which one is. Between two middle
// ratios it takes the geometric mean, so that exchanging a and b inverts it.
func medianRatio(as, bs []float64) *float64 {
	var ratios []float64
	for i := range as {
		if as[i] > 0 && !math.IsNaN(bs[i]/as[i]) {
			ratios = append(ratios, bs[i]/as[i])
		}
	}
	if len(ratios) == 0 {
		return nil
	}
	slices.Sort(ratios)
	low, high := ratios[(len(ratios)-1)/2], ratios[len(ratios)/2]
	if low == 0 || math.IsInf(high, 1) {
		return nil
	}
	median := low
	if low != high {
		median = math.Sqrt(low * high)
	}
	return &median
}
