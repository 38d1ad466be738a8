package cli

import (
	"fmt"
	"math"

	"github.com/postbench/postbench/internal/expect"
	"github.com/postbench/postbench/reports"
)

// expectations holds what the scenario expects against each variant.
func (p *plan) expectations(variants []reports.Variant) ([]reports.Expectation, error) {
	var list []reports.Expectation
	for _, text := range p.scenario.Expect {
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

// failed is the first expectation that did not hold, as the error that ends the
// command; nil if all hold.
func failed(list []reports.Expectation) error {
	for _, e := range list {
		if !e.Holds {
			return &exitError{code: exitFailed, err: fmt.Errorf("variant %s: expected %s, observed %s", e.Variant, e.Text, e.Observed)}
		}
	}
	return nil
}

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
		return discrepancy(l.Money)
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

// discrepancy is missing and surplus money, of what the partners claim: the
// worst currency's, because amounts of different ones cannot be added.
func discrepancy(money []reports.Money) (float64, bool) {
	worst, known := 0.0, false
	for _, m := range money {
		if m.PartnerMicros > 0 {
			worst, known = max(worst, float64(m.MissingMicros+m.SurplusMicros)/float64(m.PartnerMicros)), true
		}
	}
	return worst, known
}
