package loadgen

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/schedule"
)

// percentile is in ms; -1 stands for an unacked rank.
func percentile(h *hist.Histogram, p float64) float64 {
	ns, ok := h.Percentile(p)
	if !ok {
		return -1
	}
	return float64(ns) / 1e6
}

// A server that stalls for 1 s out of every 10 s delays a tenth of the intents
// by 0 to 1 s, evenly: p95 is then 0.5 s, p99 0.9 s and p99.9 0.99 s, however
// many connections the partner has.
func TestStallIsChargedFromTheDueTime(t *testing.T) {
	for name, connections := range map[string]int{"unbounded": 0, "50 connections": 50} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(nil)
				w.behave = func(string, int) answer {
					const service, period, stall = 2 * time.Millisecond, 10 * time.Second, time.Second
					if phase := time.Since(w.start) % period; phase >= period-stall {
						return acked(period - phase + service)
					}
					return acked(service)
				}
				cfg := configOf(t, w, generatorOf(t, nil), 1000, time.Minute)
				cfg.Partners[0].Connections, cfg.Partners[0].Queue = connections, 2000
				o := mustRun(t, t.Context(), cfg)

				for _, c := range []struct{ p, low, high float64 }{{95, 490, 560}, {99, 880, 940}, {99.9, 975, 1010}} {
					if ms := percentile(o.Latencies.Response, c.p); ms < c.low || ms > c.high {
						t.Errorf("response p%v = %.1f ms, want %v to %v", c.p, ms, c.low, c.high)
					}
				}
				service, queued := percentile(o.Latencies.Service, 95), percentile(o.Latencies.LagQueue, 95)
				if bounded := connections > 0; bounded && (service > 10 || queued < 450) || !bounded && (service < 450 || queued > 1) {
					t.Errorf("p95: service %.1f ms, lag_queue %.1f ms", service, queued)
				}
				if reasons := o.Invalid(Environment{}); reasons != nil {
					t.Error(reasons)
				}
				if len(o.Timeline) != 60 || o.Timeline[5].P99Ns > 3e6 || o.Timeline[9].P50Ns < 4e8 || o.Timeline[9].Intents != 1000 {
					t.Errorf("timeline: %d seconds, %+v", len(o.Timeline), o.Timeline)
				}
			})
		})
	}
}

func TestBoundedConnectionsAndQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(acked(105 * time.Millisecond)))
		cfg := configOf(t, w, generatorOf(t, nil), 100, 100*time.Millisecond)
		cfg.Partners[0].Connections, cfg.Partners[0].Queue = 1, 2
		o := mustRun(t, t.Context(), cfg)

		// Due at 0, 10, … 90 ms: one is under way, two wait, seven find no room.
		if got := reasons(cfg.Cells); got[intent.QueueFull] != 7 || got[intent.NoReason] != 3 {
			t.Errorf("reasons: %v", got)
		}
		if o.Attempts.Total != 3 || w.requests() != 3 || o.QueueDepth[0] != 2 || o.LimitWaits != 0 {
			t.Errorf("attempts %+v, requests %d, queue depth %v", o.Attempts, w.requests(), o.QueueDepth)
		}
		l := &o.Latencies
		if l.Response.MaxNs() != 295e6 || l.Response.Censored() != 7 || l.Service.MaxNs() != 105e6 {
			t.Errorf("response max %d, censored %d, service max %d", l.Response.MaxNs(), l.Response.Censored(), l.Service.MaxNs())
		}
		if l.LagQueue.MaxNs() != 190e6 || l.LagGenerator.MaxNs() > 1000 {
			t.Errorf("lag_queue max %d, lag_generator max %d", l.LagQueue.MaxNs(), l.LagGenerator.MaxNs())
		}
	})
}

// What waits for the generator's own limit is the generator's fault.
func TestOwnConnectionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const waiting = 8
		cfg := configOf(t, newWorld(always(acked(2*time.Second))), generatorOf(t, nil), MaxConnections+waiting, time.Second)
		cfg.Partners[0].Queue = waiting - 1
		o := mustRun(t, t.Context(), cfg)
		if o.LimitWaits != waiting || reasons(cfg.Cells)[intent.QueueFull] != 1 {
			t.Errorf("%d waited for the limit, reasons %v", o.LimitWaits, reasons(cfg.Cells))
		}
		if l := &o.Latencies; l.LagQueue.MaxNs() != 0 || l.LagGenerator.MaxNs() < 1e9 {
			t.Errorf("lag_queue max %d, lag_generator max %d", l.LagQueue.MaxNs(), l.LagGenerator.MaxNs())
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(acked(never)))
		cfg := configOf(t, w, generatorOf(t, nil), 100, 100*time.Millisecond)
		cfg.Partners[0].Timeout = 200 * time.Millisecond
		o := mustRun(t, t.Context(), cfg)

		if o.Attempts != (Attempts{Total: 10, TimedOut: 10}) || o.Responses["timeout"] != 10 {
			t.Errorf("attempts %+v, responses %v", o.Attempts, o.Responses)
		}
		if got := reasons(cfg.Cells); got[intent.ReasonTimedOut] != 10 {
			t.Errorf("reasons: %v", got)
		}
		if o.Duration != 290*time.Millisecond {
			t.Errorf("the run took %v: it must end with its last attempt", o.Duration)
		}
	})
}

func TestWarmupIsAuditedNotTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(acked(time.Millisecond)))
		cfg := configOf(t, w, generatorOf(t, nil), 100, time.Second)
		cfg.Warmup = 600 * time.Millisecond
		o := mustRun(t, t.Context(), cfg)

		if o.Attempts.Acked != 100 || o.Intents != 100 || o.Timed != 40 {
			t.Errorf("attempts %+v, %d intents, %d timed", o.Attempts, o.Intents, o.Timed)
		}
		for name, h := range map[string]*hist.Histogram{"response": o.Latencies.Response, "service": o.Latencies.Service,
			"lag_generator": o.Latencies.LagGenerator, "lag_queue": o.Latencies.LagQueue, "wait": o.Latencies.Wait} {
			if h.Count() != 40 {
				t.Errorf("%s has %d entries, want 40", name, h.Count())
			}
		}
	})
}

func TestOnlyLegitimateIntentsHaveAResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		generator := generatorOf(t, func(s *intent.Spec) { s.Mix.Malformed, s.Mix.UnknownClicks = 0.5, 0.5 })
		cfg := configOf(t, newWorld(always(acked(time.Millisecond))), generator, 100, time.Second)
		o := mustRun(t, t.Context(), cfg)
		if o.Attempts.Total != 100 || o.Timed >= 70 || o.Timed <= 30 || o.Latencies.Service.Count() != 100 {
			t.Errorf("attempts %+v, %d timed", o.Attempts, o.Timed)
		}
	})
}

func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(func(_ string, number int) answer {
			if number == 0 {
				return answer{after: 40 * time.Millisecond, status: 500}
			}
			return acked(time.Millisecond)
		})
		cfg := configOf(t, w, generatorOf(t, nil), 100, 10*time.Second)
		cfg.Partners[0].Connections, cfg.Partners[0].Queue = 2, 10
		cfg.Partners[0].Retry = intent.RetryPolicy{DelaysNs: []int64{int64(time.Hour)}, OnServerError: true}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(505*time.Millisecond, cancel)
		o := mustRun(t, ctx, cfg)

		if !o.Interrupted || o.Intents != 51 {
			t.Errorf("interrupted %v, %d intents", o.Interrupted, o.Intents)
		}
		// What waits for a retry or a connection is given up; the two under way
		// may end.
		got := reasons(cfg.Cells)
		if got[intent.RunEnded]+got[intent.QueueFull] != 51 || got[intent.RunEnded] < 30 {
			t.Errorf("reasons: %v", got)
		}
		if o.Duration < 505*time.Millisecond || o.Duration > 545*time.Millisecond {
			t.Errorf("the run took %v", o.Duration)
		}
		if o.Attempts.Total != w.requests() || o.Attempts.Refused != o.Attempts.Total {
			t.Errorf("attempts %+v, %d requests", o.Attempts, w.requests())
		}
	})
}

func TestInterruptedBeforeTheFirstIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		o := mustRun(t, ctx, configOf(t, newWorld(nil), generatorOf(t, nil), 100, time.Second))
		if !o.Interrupted || o.Intents != 0 || o.Duration != 0 {
			t.Errorf("%+v", o)
		}
	})
}

// A retry whose time comes after the grace is not waited for.
func TestRunEndsWhenNothingMoreCanHappen(t *testing.T) {
	for _, c := range []struct {
		delay, ended time.Duration
		requests     int64
	}{{time.Hour, time.Second, 10}, {5 * time.Second, 6 * time.Second, 20}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(always(answer{status: 503}))
			cfg := configOf(t, w, generatorOf(t, nil), 10, time.Second)
			cfg.Partners[0].Retry = intent.RetryPolicy{DelaysNs: []int64{int64(c.delay)}, OnServerError: true}
			cfg.Grace = 10 * time.Second
			if o := mustRun(t, t.Context(), cfg); o.Duration > c.ended || w.requests() != c.requests {
				t.Errorf("retries after %v: ended after %v with %d requests, want %v and %d", c.delay, o.Duration, w.requests(), c.ended, c.requests)
			}
		})
	}
}

// A sender that keeps no deadline is cut off after the grace and one timeout.
func TestGraceEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(acked(never)))
		cfg := configOf(t, w, generatorOf(t, nil), 100, 100*time.Millisecond)
		cfg.Partners[0].NewSender = w.deafSender
		cfg.Partners[0].Connections, cfg.Partners[0].Queue = 3, 100
		cfg.Partners[0].Timeout, cfg.Grace = time.Second, 5*time.Second
		o := mustRun(t, t.Context(), cfg)

		if o.Duration < 5*time.Second || o.Duration > 8*time.Second || o.Interrupted {
			t.Errorf("the run took %v, interrupted %v", o.Duration, o.Interrupted)
		}
		if o.Attempts != (Attempts{Total: 3, Errored: 3}) || o.Responses["canceled"] != 3 {
			t.Errorf("attempts %+v, responses %v", o.Attempts, o.Responses)
		}
		if got := reasons(cfg.Cells); got[intent.RunEnded] != 7 || got[intent.ReasonErrored] != 3 {
			t.Errorf("reasons: %v", got)
		}
	})
}

func TestPartnersShareTheIntents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		generator := generatorOf(t, func(s *intent.Spec) {
			s.Partners = []intent.Partner{{Name: "big", Share: 3}, {Name: "small", Share: 1}}
		})
		big, small := newWorld(always(acked(time.Millisecond))), newWorld(always(acked(3*time.Millisecond)))
		cfg := configOf(t, big, generator, 1000, 2*time.Second)
		cfg.Partners[1].NewSender = small.sender
		cfg.Partners[1].Connections, cfg.Partners[1].Queue = 1, 0
		o := mustRun(t, t.Context(), cfg)

		if n := big.requests(); n < 1400 || n > 1600 {
			t.Errorf("the partner of share 3/4 sent %d of 2000", n)
		}
		if got := reasons(cfg.Cells)[intent.QueueFull]; got == 0 || int64(got) != 2000-big.requests()-small.requests() {
			t.Errorf("%d dropped, %d + %d sent", got, big.requests(), small.requests())
		}
		if l := o.Latencies.PartnerResponse; l[0].MaxNs() != 1e6 || l[1].MaxNs() != 3e6 || l[0].Censored() != 0 {
			t.Errorf("responses: big max %d, small max %d", l[0].MaxNs(), l[1].MaxNs())
		}
	})
}

// More due times than cells, and the other way round, end the run in good order.
func TestScheduleAndCellsOfDifferentLength(t *testing.T) {
	for cells, want := range map[int]uint64{3: 3, 10: 10, 15: 10} {
		synctest.Test(t, func(t *testing.T) {
			cfg := configOf(t, newWorld(always(acked(0))), generatorOf(t, nil), 100, 100*time.Millisecond)
			cfg.Cells = make([]audit.Cell, cells)
			if o := mustRun(t, t.Context(), cfg); o.Intents != want {
				t.Errorf("%d cells: %d intents, want %d", cells, o.Intents, want)
			}
		})
	}
}

func TestReplayStartsAgainAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(acked(0)))
		cfg := configOf(t, w, generatorOf(t, nil), 100, 50*time.Millisecond)
		cfg.Replay = []schedule.Replayed{{Method: "GET", Target: "/a"}, {Method: "POST", Target: "/b", Body: []byte("x")}}
		mustRun(t, t.Context(), cfg)
		got := map[string]int{}
		for request, arrivals := range w.seen {
			got[request] = len(arrivals)
		}
		if want := map[string]int{"/a": 3, "/b": 2}; !maps.Equal(got, want) {
			t.Errorf("sent %v, want %v", got, want)
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(acked(20 * time.Millisecond)))
		cfg := configOf(t, w, generatorOf(t, nil), 100, time.Second)
		looked := make(chan Progress, 1)
		_, err := Run(t.Context(), cfg, func(_ time.Time, progress func() Progress) {
			if p := progress(); p.P99Ns != -1 || p.Intents != 0 {
				t.Errorf("before the first intent: %+v", p)
			}
			time.AfterFunc(505*time.Millisecond, func() { looked <- progress() })
		})
		if err != nil {
			t.Fatal(err)
		}
		want := Progress{Elapsed: 505 * time.Millisecond, Intents: 51, Attempts: 49, Acked: 49, P99Ns: 20e6}
		if during := <-looked; during != want {
			t.Errorf("%+v, want %+v", during, want)
		}
	})
}

func TestConfigIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no schedule":          func(c *Config) { c.Schedule = nil },
		"no cells":             func(c *Config) { c.Cells = nil },
		"partner missing":      func(c *Config) { c.Partners = nil },
		"no grace":             func(c *Config) { c.Grace = 0 },
		"negative warm-up":     func(c *Config) { c.Warmup = -1 },
		"no timeout":           func(c *Config) { c.Partners[0].Timeout = 0 },
		"too many connections": func(c *Config) { c.Partners[0].Connections = MaxConnections + 1 },
		"negative queue":       func(c *Config) { c.Partners[0].Queue = -1 },
		"no sender":            func(c *Config) { c.Partners[0].NewSender = nil },
		"breaker":              func(c *Config) { c.Partners[0].Breaker.Failures = -1 },
		"too many retries":     func(c *Config) { c.Partners[0].Retry.DelaysNs = make([]int64, maxRetries+1) },
	} {
		cfg := configOf(t, newWorld(nil), generatorOf(t, nil), 1, time.Second)
		spoil(&cfg)
		if _, err := Run(t.Context(), cfg, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
