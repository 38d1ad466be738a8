package loadgen

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/hist"
)

// fill records n times ns.
func fill(h *hist.Histogram, n int, ns time.Duration) {
	for range n {
		h.Record(int64(ns))
	}
}

func TestInvalid(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*Outcome)
		steal  float64
		reason string // "" = valid
	}{
		"clean":                    {},
		"steal unknown":            {steal: -1},
		"steal at the limit":       {steal: 0.02},
		"steal":                    {steal: 0.021, reason: "took 2.1 % of the CPU time (steal), limit 2 %"},
		"lag within 1 ms":          {spoil: func(o *Outcome) { fill(o.Latencies.LagGenerator, 50, time.Millisecond) }},
		"lag within the worst 1 %": {spoil: func(o *Outcome) { fill(o.Latencies.LagGenerator, 1, time.Second) }},
		"lag": {spoil: func(o *Outcome) { fill(o.Latencies.LagGenerator, 50, 2*time.Millisecond) },
			reason: "the generator was late: lag_generator p99 2ms > 1ms"},
		"lag within 5 % of a slow response": {spoil: func(o *Outcome) {
			o.Latencies.Response.Reset()
			fill(o.Latencies.Response, 100, 100*time.Millisecond)
			fill(o.Latencies.LagGenerator, 50, 4900*time.Microsecond)
		}},
		"lag against an unacked response": {spoil: func(o *Outcome) {
			o.Latencies.Response.Reset()
			for range 100 {
				o.Latencies.Response.RecordCensored()
			}
			fill(o.Latencies.LagGenerator, 50, 2*time.Millisecond)
		}, reason: "the generator was late"},
		"lag beside slow acks and an unacked p99": {spoil: func(o *Outcome) {
			o.Latencies.Response.Reset()
			fill(o.Latencies.Response, 98, 100*time.Millisecond)
			o.Latencies.Response.RecordCensored()
			o.Latencies.Response.RecordCensored()
			fill(o.Latencies.LagGenerator, 50, 4900*time.Microsecond)
		}},
		"1 % made ready late":   {spoil: func(o *Outcome) { o.ReadyLate = 1 }},
		"2 % made ready late":   {spoil: func(o *Outcome) { o.ReadyLate = 2 }, reason: "only 98.0 % of the intents were made ready in time, want 99 %"},
		"a short pause":         {spoil: func(o *Outcome) { o.MaxPause = 250 * time.Millisecond }},
		"a pause":               {spoil: func(o *Outcome) { o.MaxPause = 251 * time.Millisecond }, reason: "the generator stood still for 251ms"},
		"hidden retries":        {spoil: func(o *Outcome) { o.HiddenRetries = 3 }, reason: "the client sent 3 requests without being asked"},
		"clamped":               {spoil: func(o *Outcome) { o.Latencies.DNS.Record(hist.HighestNs + 1) }, reason: "1 latencies were above the histogram's range"},
		"own limit":             {spoil: func(o *Outcome) { o.LimitWaits = 7 }, reason: "7 attempts waited because the generator opens at most 8192 connections"},
		"unbalanced":            {spoil: func(o *Outcome) { o.Timed++ }}, // a bug, see TestImbalances
		"no intent became due":  {spoil: func(o *Outcome) { *o = Outcome{Latencies: NewLatencies(1)} }},
		"interrupted, but fine": {spoil: func(o *Outcome) { o.Interrupted = true }},
	} {
		o := &Outcome{Intents: 100, Timed: 100, Latencies: NewLatencies(1), Attempts: Attempts{Total: 100, Acked: 90, Refused: 4, TimedOut: 3, Errored: 3}}
		fill(o.Latencies.Response, 100, 3*time.Millisecond)
		fill(o.Latencies.LagGenerator, 100, 20*time.Microsecond)
		if c.spoil != nil {
			c.spoil(o)
		}
		reasons := o.Invalid(Environment{StealShare: c.steal})
		switch {
		case c.reason == "" && len(reasons) > 0:
			t.Errorf("%s: %q, want valid", name, reasons)
		case c.reason != "" && (len(reasons) != 1 || !strings.Contains(reasons[0], c.reason)):
			t.Errorf("%s: %q, want %q", name, reasons, c.reason)
		}
	}
}

func TestImbalances(t *testing.T) {
	for want, spoil := range map[string]func(*Outcome){
		"":                                   func(*Outcome) {},
		"books do not balance: attempts 101": func(o *Outcome) { o.Attempts.Total++ },
		"books do not balance: 100 response latencies for 101": func(o *Outcome) { o.Timed++ },
	} {
		o := &Outcome{Timed: 100, Latencies: NewLatencies(1), Attempts: Attempts{Total: 100, Acked: 90, Refused: 4, TimedOut: 3, Errored: 3}}
		fill(o.Latencies.Response, 100, time.Millisecond)
		spoil(o)
		if got := strings.Join(o.Imbalances(), "; "); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestStarvedGeneratorIsInvalid(t *testing.T) {
	for name, c := range map[string]struct {
		oversleep func(call int) time.Duration
		reason    string // "" = valid
	}{
		"punctual":         {func(int) time.Duration { return 0 }, ""},
		"always 2 ms late": {func(int) time.Duration { return 2 * time.Millisecond }, "lag_generator p99 2ms"},
		"always 25 ms late": {func(int) time.Duration { return 25 * time.Millisecond },
			"made ready in time"},
		"stopped once for 300 ms": {func(call int) time.Duration {
			return map[int]time.Duration{900: 300 * time.Millisecond}[call]
		}, "the generator stood still for 300ms"},
		"stopped once for 100 ms": {func(call int) time.Duration {
			return map[int]time.Duration{900: 100 * time.Millisecond}[call]
		}, ""}, // 10 of 2000 intents
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := configOf(t, newWorld(always(acked(3*time.Millisecond))), generatorOf(t, nil), 100, 20*time.Second)
				calls := 0
				cfg.SleepUntil = func(at time.Time) {
					calls++
					time.Sleep(time.Until(at) + c.oversleep(calls)) // fake time: synctest
				}
				reasons := strings.Join(mustRun(t, t.Context(), cfg).Invalid(Environment{}), "; ")
				if c.reason == "" && reasons != "" || !strings.Contains(reasons, c.reason) {
					t.Errorf("%q, want %q", reasons, c.reason)
				}
			})
		})
	}
}

// A standstill counts even when nothing was due in it: the loop's own timer
// came late.
func TestPauseWithoutIntents(t *testing.T) {
	o := &Outcome{Latencies: NewLatencies(1)}
	o.stoodStill(-time.Second)
	o.stoodStill(400 * time.Millisecond)
	o.stoodStill(time.Millisecond)
	if reasons := o.Invalid(Environment{}); len(reasons) != 1 || o.MaxPause != 400*time.Millisecond || o.ReadyLate != 0 {
		t.Errorf("%q, pause %v, %d ready late", reasons, o.MaxPause, o.ReadyLate)
	}
}
