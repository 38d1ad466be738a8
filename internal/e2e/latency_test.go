package e2e

import (
	"testing"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/reports"
)

// between holds a percentile against its limits, in ms.
func between(t *testing.T, name string, us *float64, lowMs, highMs float64) {
	t.Helper()
	if ms := known(t, name, us) / 1e3; ms < lowMs || ms > highMs {
		t.Errorf("%s %.1f ms, want %g to %g", name, ms, lowMs, highMs)
	}
}

// A stall of 1 s in every 10 s makes every tenth postback late by 0 to 1 s,
// evenly: p95, p99 and p99.9 are 500, 900 and 990 ms, and whoever counts only
// what was sent during the stall sees next to nothing.
func TestStall(t *testing.T) {
	target := lab(t, labtarget.Options{StallEvery: 10 * time.Second, StallFor: time.Second})
	p := play(t, "run", "--target", target.URL(), "--scenario", "plain")
	l := &p.result.Variants[0].Latency
	if l.Response.Count != 30_000 || l.Response.Censored != 0 {
		t.Errorf("%d timed, %d unacked; want all 30,000 timed", l.Response.Count, l.Response.Censored)
	}
	between(t, "response p50", l.Response.P50Us, 0, 50)
	between(t, "response p95", l.Response.P95Us, 490, 560)
	between(t, "response p99", l.Response.P99Us, 880, 940)
	between(t, "response p99.9", l.Response.P999Us, 975, 1010)
	// Every postback has a connection of its own here, so the two differ only
	// by what the generator was late; see the test below for the real gap.
	if l.Service.Hdr == l.Response.Hdr || *l.Service.MeanUs >= *l.Response.MeanUs {
		t.Errorf("service (mean %v µs) is not below response (mean %v µs)", *l.Service.MeanUs, *l.Response.MeanUs)
	}
}

// With few connections the partner itself must wait: that is in response and
// lag_queue, and service latency hides it.
func TestStallBehindFewConnections(t *testing.T) {
	target := lab(t, labtarget.Options{StallEvery: 2 * time.Second, StallFor: 500 * time.Millisecond})
	partner := write(t, "narrow.yaml", partnerFile("narrow", "connections: 4"))
	p := play(t, "run", "--target", target.URL(), "--partner", partner, "--rate", "200", "--duration", "4s")
	l := &p.result.Variants[0].Latency
	between(t, "response p95", l.Response.P95Us, 350, 500)
	between(t, "lag_queue p95", l.LagQueue.P95Us, 340, 500)
	between(t, "service p95", l.Service.P95Us, 0, 100)
}

func TestVegetaEngine(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{Delay: 10 * time.Millisecond})
	run := func(engine string) *reports.Variant {
		p := play(t, "run", "--target", target.URL(), "--engine", engine, "--rate", "200", "--duration", "2s", "--ledger", target.URL()+"/ledger")
		target.Reset()
		return &p.result.Variants[0]
	}
	for _, engine := range []string{"native", "vegeta"} {
		v := run(engine)
		between(t, engine+" service p50", v.Latency.Service.P50Us, 10, 20)
		if got := known(t, "recorded", v.Ledger.Recorded); got != 400 || v.Ledger.Acked != 400 {
			t.Errorf("%s: %d recorded, %d acked, want 400", engine, got, v.Ledger.Acked)
		}
	}
}
