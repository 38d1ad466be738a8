package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/postbench/postbench/internal/expect"
	"github.com/postbench/postbench/reports"
)

// expectations holds what is expected against each variant.
func expectations(texts []string, variants []reports.Variant) ([]reports.Expectation, error) {
	var list []reports.Expectation
	for _, text := range texts {
		e, err := expect.Parse(text)
		if err != nil {
			return nil, err
		}
		for i := range variants {
			v := &variants[i]
			checked := reports.Expectation{Variant: v.Name, Text: e.Text, Observed: "-"}
			if value, known := observed(v, &e); known {
				checked.Observed, checked.Holds = e.Metric.Format(value), e.Holds(value)
			}
			list = append(list, checked)
		}
	}
	return list, nil
}

// printExpectations sets them off from what comes before.
func printExpectations(stdout io.Writer, list []reports.Expectation) {
	if len(list) > 0 {
		fmt.Fprint(stdout, "\n"+reports.Expectations(list))
	}
}

// failed names the expectations that did not hold, as the error that ends the
// command; nil if all hold.
func failed(list []reports.Expectation) error {
	var missed []string
	for _, e := range list {
		if e.Holds {
			continue
		}
		text := fmt.Sprintf("expected %s, observed %s", e.Text, e.Observed)
		if e.Variant != ownTarget {
			text = e.Variant + ": " + text
		}
		missed = append(missed, text)
	}
	if len(missed) == 0 {
		return nil
	}
	return &exitError{code: exitFailed, err: errors.New(strings.Join(missed, "; "))}
}

// cutShort is the end of an interrupted run that had something to prove: what
// holds of its beginning says nothing of its end.
func cutShort(result *reports.Result) error {
	if !result.Interrupted || len(result.Expectations) == 0 {
		return nil
	}
	return &exitError{code: exitInconclusive, err: errors.New("interrupted before the end: what must hold was not put to the test")}
}

// ownTarget is what a result calls a server of the user's own.
const ownTarget = "target"

// observed looks the metric up; false when it is not known.
func observed(v *reports.Variant, e *expect.Expectation) (float64, bool) {
	if e.Partner != "" {
		for i := range v.Partners {
			if p := &v.Partners[i]; p.Name == e.Partner {
				return observedOf(&p.Latency.Response, &p.Ledger.Fates, e.Metric.Name)
			}
		}
		return 0, false
	}
	if value, known := observedOf(&v.Latency.Response, &v.Ledger.Fates, e.Metric.Name); known {
		return value, true
	}
	l, c := &v.Ledger, v.Caps
	switch e.Metric.Name {
	case "delivery_p99":
		return percentileNs(&v.Latency.Delivery, v.Latency.Delivery.P99Us)
	case "recorded_p99":
		return percentileNs(&v.Latency.Recorded, v.Latency.Recorded.P99Us)
	case "discrepancy":
		return worstShare(l.Money, func(m *reports.Money) int64 {
			return max(m.MissingMicros-m.SurplusMicros, m.SurplusMicros-m.MissingMicros)
		})
	case "missing":
		return worstShare(l.Money, func(m *reports.Money) int64 { return m.MissingMicros })
	case "surplus":
		return worstShare(l.Money, func(m *reports.Money) int64 { return m.SurplusMicros })
	case "double_counted":
		return countOf(l.DoubleCounted)
	case "wrong_verdict":
		return countOf(l.WrongVerdict)
	}
	if c == nil {
		return 0, false
	}
	switch e.Metric.Name {
	case "billed_overshoot_max":
		return c.BilledOvershootMaxPct / 100, true
	case "traffic_overshoot_mean":
		return shareOf(c.TrafficOvershootMeanPct)
	case "traffic_overshoot_max":
		return shareOf(c.TrafficOvershootMaxPct)
	}
	return 0, false
}

// observedOf looks up what is known of the whole and of one partner alike.
func observedOf(l *reports.Latency, f *reports.Fates, metric string) (float64, bool) {
	switch metric {
	case "p50":
		return percentileNs(l, l.P50Us)
	case "p90":
		return percentileNs(l, l.P90Us)
	case "p95":
		return percentileNs(l, l.P95Us)
	case "p99":
		return percentileNs(l, l.P99Us)
	case "p99.9":
		return percentileNs(l, l.P999Us)
	case "loss":
		if f.LossRate == nil {
			return 0, false
		}
		return *f.LossRate, true
	case "lost_after_ack":
		return countOf(f.LostAfterAck)
	case "forged_accepted":
		return countOf(f.ForgedAccepted)
	}
	return 0, false
}

// percentileNs is +Inf where the rank falls on a postback without an ack.
func percentileNs(l *reports.Latency, us *float64) (float64, bool) {
	switch {
	case l.Empty():
		return 0, false
	case us == nil:
		return math.Inf(1), true
	}
	return *us * 1e3, true
}

func countOf(n *int64) (float64, bool) {
	if n == nil {
		return 0, false
	}
	return float64(*n), true
}

func shareOf(pct *float64) (float64, bool) {
	if pct == nil {
		return 0, false
	}
	return *pct / 100, true
}

// worstShare is a part of the money of what the partners claim: the worst
// currency's, because amounts of different ones cannot be added.
func worstShare(money []reports.Money, part func(*reports.Money) int64) (float64, bool) {
	worst, known := 0.0, false
	for i := range money {
		if m := &money[i]; m.PartnerMicros > 0 {
			worst, known = max(worst, float64(part(m))/float64(m.PartnerMicros)), true
		}
	}
	return worst, known
}
