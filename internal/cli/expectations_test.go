package cli

import (
	"math"
	"testing"

	"github.com/postbench/postbench/internal/expect"
	"github.com/postbench/postbench/reports"
)

func ptr[T any](v T) *T { return &v }

// measured is a variant of which every metric is known.
func measured() reports.Variant {
	latency := reports.Latency{Count: 90, Censored: 10, P50Us: ptr(1e3), P90Us: ptr(2e3), P95Us: nil, P99Us: nil, P999Us: nil}
	fates := reports.NewFates(90, 0, 1, 9, 3, 2)
	v := reports.Variant{Name: "mine", Latency: reports.Latencies{Response: latency,
		Delivery: reports.Latency{Count: 1, P99Us: ptr(4e3)}, Recorded: reports.Latency{Count: 1, P99Us: ptr(5e3)}},
		Ledger: reports.Ledger{Fates: fates, DoubleCounted: ptr(int64(4)), WrongVerdict: ptr(int64(0)), Money: []reports.Money{
			{Currency: "EUR", PartnerMicros: 100, MissingMicros: 1, SurplusMicros: 2}, {Currency: "USD", PartnerMicros: 1000, MissingMicros: 10}}},
		Caps:     &reports.Caps{BilledOvershootMaxPct: 3, TrafficOvershootMeanPct: ptr(5.), TrafficOvershootMaxPct: ptr(9.)},
		Partners: []reports.Partner{{Name: "tune", Latency: reports.PartnerLatency{Response: latency}, Ledger: reports.PartnerLedger{Fates: fates}}},
	}
	return v
}

func TestObserved(t *testing.T) {
	v := measured()
	want := map[string]float64{
		"p50": 1e6, "p90": 2e6, "p95": math.Inf(1), "p99": math.Inf(1), "p99.9": math.Inf(1), "delivery_p99": 4e6, "recorded_p99": 5e6,
		"loss": 0.1, "lost_after_ack": 1, "discrepancy": 0.01, "missing": 0.01, "surplus": 0.02, "double_counted": 4, "forged_accepted": 2, "wrong_verdict": 0,
		"billed_overshoot_max": 0.03, "traffic_overshoot_mean": 0.05, "traffic_overshoot_max": 0.09,
	}
	nothing := reports.Variant{Name: "nothing", Partners: []reports.Partner{{Name: "tune"}}}
	for _, m := range expect.Metrics() {
		e := expect.Expectation{Metric: m}
		if got, known := observed(&v, &e); !known || math.Abs(got-want[m.Name]) > 1e-12 && got != want[m.Name] {
			t.Errorf("%s: %v, %v, want %v", m.Name, got, known, want[m.Name])
		}
		if got, known := observed(&nothing, &e); known {
			t.Errorf("%s of nothing: %v", m.Name, got)
		}
		e.Partner = "tune"
		if _, known := observed(&v, &e); known != m.PerPartner {
			t.Errorf("%s of a partner: known %v", m.Name, known)
		}
		if _, known := observed(&nothing, &e); known {
			t.Errorf("%s of a partner without figures is known", m.Name)
		}
	}
}

func TestExpectations(t *testing.T) {
	list, err := expectations([]string{"p50 < 2ms", "p99 < 1h", "tune: loss <= 10%", "nobody: loss = 0%"}, []reports.Variant{measured()})
	if err != nil {
		t.Fatal(err)
	}
	want := []reports.Expectation{
		{Variant: "mine", Text: "p50 < 2ms", Observed: "1ms", Holds: true},
		{Variant: "mine", Text: "p99 < 1h", Observed: "unacked"},
		{Variant: "mine", Text: "tune: loss <= 10%", Observed: "10%", Holds: true},
		{Variant: "mine", Text: "nobody: loss = 0%", Observed: "-"},
	}
	for i := range want {
		if list[i] != want[i] {
			t.Errorf("%+v, want %+v", list[i], want[i])
		}
	}
	err = failed(list)
	if exitCode(err) != exitFailed || err.Error() != "mine: expected p99 < 1h, observed unacked; mine: expected nobody: loss = 0%, observed -" {
		t.Errorf("%d %v", exitCode(err), err)
	}
	if err := failed(list[:1]); err != nil {
		t.Error(err)
	}
}
