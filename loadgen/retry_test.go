package loadgen

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen/transport"
)

// failure is a way to fail, the retry rule that covers it, and the reason when
// no rule does.
type failure struct {
	answer answer
	rule   intent.RetryRule
	reason intent.Reason
}

func failures() map[string]failure {
	const took = 10 * time.Millisecond
	return map[string]failure{
		"timeout": {answer{after: never}, intent.RetryTimeout, intent.ReasonTimedOut},
		"500":     {answer{after: took, status: 500}, intent.Retry5xx, intent.ReasonRefused},
		"503":     {answer{after: took, status: 503}, intent.Retry5xx, intent.ReasonRefused},
		"404":     {answer{after: took, status: 404}, intent.RetryRefused, intent.ReasonRefused},
		"302":     {answer{after: took, status: 302}, intent.RetryRefused, intent.ReasonRefused},
		"closed":  {answer{after: took, class: transport.ClassClosed}, intent.RetryError, intent.ReasonErrored},
		"garbage": {answer{after: took, class: transport.ClassResponse}, intent.RetryError, intent.ReasonErrored},
	}
}

// retrying is a run of one intent, due at 0, with two retries after 1 s and
// 3 s and a timeout of 100 ms.
func retrying(t *testing.T, w *world, rule intent.RetryRule) Config {
	t.Helper()
	cfg := configOf(t, w, generatorOf(t, nil), 1, time.Second)
	policy := intent.RetryPolicy{DelaysNs: []int64{1e9, 3e9}}
	if err := policy.Set(rule); err != nil {
		t.Fatal(err)
	}
	cfg.Partners[0].Retry, cfg.Partners[0].Timeout = policy, 100*time.Millisecond
	return cfg
}

// onlyArrivals are the arrivals of the one request that a world has seen.
func onlyArrivals(t *testing.T, w *world) []time.Duration {
	t.Helper()
	for _, arrivals := range w.seen {
		if len(w.seen) == 1 {
			return arrivals
		}
	}
	t.Fatalf("want one request, repeated byte for byte; got %v", w.seen)
	return nil
}

func TestRetriesUntilAcked(t *testing.T) {
	for name, f := range failures() {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(func(_ string, number int) answer {
				if number < 2 {
					return f.answer
				}
				return acked(10 * time.Millisecond)
			})
			cfg := retrying(t, w, f.rule)
			o := mustRun(t, t.Context(), cfg)

			took := min(f.answer.after, 100*time.Millisecond)
			want := []time.Duration{0, took + time.Second, 2*took + 4*time.Second}
			if got := onlyArrivals(t, w); !slices.Equal(got, want) {
				t.Errorf("%s: attempts at %v, want %v", name, got, want)
			}
			cell := &cfg.Cells[0]
			if cell.Attempts != 3 || cell.Acked != 1 || cell.DueNs != 0 || cell.AckNs != int64(want[2]+10*time.Millisecond) {
				t.Errorf("%s: cell %+v", name, cell)
			}
			// The headline times the first attempt only, and a retry starts at
			// its own due time.
			if o.Latencies.Response.Censored() != 1 || o.Latencies.LagGenerator.MaxNs() > 1000 || o.Latencies.LagGenerator.Count() != 3 {
				t.Errorf("%s: %d censored, lag_generator max %d ns of %d", name, o.Latencies.Response.Censored(),
					o.Latencies.LagGenerator.MaxNs(), o.Latencies.LagGenerator.Count())
			}
		})
	}
}

// Not a byte of a retry or a duplicate depends on when the server answered.
func TestSignedAttemptsDoNotDependOnTheServer(t *testing.T) {
	request := func(took time.Duration) (only string) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(func(_ string, number int) answer {
				if number < 3 {
					return answer{after: took, status: 503}
				}
				return acked(took)
			})
			generator := generatorOf(t, func(s *intent.Spec) { s.Mix.Duplicates, s.Mix.DuplicateAfterNs = 1, 2_500e6 })
			cfg := configOf(t, w, generator, 1, time.Second)
			cfg.Partners[0].Template = postback.SignedTemplate()
			cfg.Partners[0].Retry = intent.RetryPolicy{DelaysNs: []int64{1e9, 3e9}, OnServerError: true}
			mustRun(t, t.Context(), cfg)
			if n := len(onlyArrivals(t, w)); n != 4 {
				t.Errorf("%d attempts, want 4", n)
			}
			for only = range w.seen {
			}
		})
		return only
	}
	if fast, slow := request(time.Millisecond), request(1700*time.Millisecond); fast != slow {
		t.Errorf("a fast server gets %s, a slow one %s", fast, slow)
	}
}

func TestRetriesExhausted(t *testing.T) {
	for name, f := range failures() {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(always(f.answer))
			cfg := retrying(t, w, f.rule)
			mustRun(t, t.Context(), cfg)
			if n, reason := len(onlyArrivals(t, w)), reasons(cfg.Cells); n != 3 || reason[intent.RetriesExhausted] != 1 {
				t.Errorf("%s: %d attempts, reasons %v", name, n, reason)
			}
		})
	}
}

func TestNoRetryWithoutARule(t *testing.T) {
	for name, f := range failures() {
		for _, rule := range []intent.RetryRule{intent.RetryTimeout, intent.Retry5xx, intent.RetryRefused, intent.RetryError} {
			if rule == f.rule {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(always(f.answer))
				cfg := retrying(t, w, rule)
				mustRun(t, t.Context(), cfg)
				if n, reason := len(onlyArrivals(t, w)), reasons(cfg.Cells); n != 1 || reason[f.reason] != 1 {
					t.Errorf("%s with rule %s: %d attempts, reasons %v", name, rule, n, reason)
				}
			})
		}
	}
}

// The loop must hear of a retry "at once" before it is due, also while it
// sleeps its fine sleep, or the generator would be charged for it.
func TestRetryAtOnceIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(func(_ string, number int) answer {
			return answer{after: 1700 * time.Microsecond, status: 500 - 300*min(number, 1)}
		})
		cfg := configOf(t, w, generatorOf(t, nil), 300, time.Second)
		cfg.Partners[0].Retry = intent.RetryPolicy{DelaysNs: []int64{0}, OnServerError: true}
		o := mustRun(t, t.Context(), cfg)
		if o.Attempts.Acked != 300 || o.Latencies.LagGenerator.MaxNs() > 1000 {
			t.Errorf("attempts %+v, lag_generator max %d ns", o.Attempts, o.Latencies.LagGenerator.MaxNs())
		}
	})
}

func TestRetriesFindAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(answer{after: 100 * time.Millisecond, status: 500}))
		cfg := configOf(t, w, generatorOf(t, nil), 100, 20*time.Millisecond)
		cfg.Partners[0].Connections, cfg.Partners[0].Queue = 1, 1
		cfg.Partners[0].Retry = intent.RetryPolicy{DelaysNs: []int64{10e6, 10e6}, OnServerError: true}
		o := mustRun(t, t.Context(), cfg)
		// The first ends at 100 ms and its retry takes the queue at 110 ms. The
		// second ends at 200 ms, so that its retry waits until 300 ms, and so on.
		if o.Attempts.Total != 6 || reasons(cfg.Cells)[intent.RetriesExhausted] != 2 {
			t.Errorf("attempts %+v, reasons %v", o.Attempts, reasons(cfg.Cells))
		}
		// Without room to wait, a retry is dropped and its intent with it.
		w = newWorld(always(answer{after: 100 * time.Millisecond, status: 500}))
		cfg = configOf(t, w, generatorOf(t, nil), 10, 300*time.Millisecond)
		cfg.Partners[0].Connections, cfg.Partners[0].Queue = 1, 0
		cfg.Partners[0].Retry = intent.RetryPolicy{DelaysNs: []int64{50e6}, OnServerError: true}
		cfg.Partners[0].NewSender, cfg.Schedule = w.sender, &fixed{0, 120e6, 180e6}
		o = mustRun(t, t.Context(), cfg)
		if got := reasons(cfg.Cells); o.Attempts.Total != 3 || got[intent.QueueFull] != 2 || got[intent.RetriesExhausted] != 1 {
			t.Errorf("attempts %+v, reasons %v", o.Attempts, got)
		}
	})
}

// fixed is a schedule of given due times.
type fixed []int64

// Next implements schedule.Schedule.
func (f *fixed) Next() (int64, bool) {
	if len(*f) == 0 {
		return 0, false
	}
	dueNs := (*f)[0]
	*f = (*f)[1:]
	return dueNs, true
}

func TestDeliberateDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		generator := generatorOf(t, func(s *intent.Spec) { s.Mix.Duplicates, s.Mix.DuplicateAfterNs = 1, 50e6 })
		// The first copy of each intent fails, the second is acked.
		w := newWorld(func(_ string, number int) answer {
			return answer{after: time.Millisecond, status: 500 - 300*number}
		})
		cfg := configOf(t, w, generator, 100, time.Second)
		o := mustRun(t, t.Context(), cfg)

		if o.Attempts != (Attempts{Total: 200, Acked: 100, Refused: 100}) || o.DuplicatesDropped != 0 {
			t.Errorf("attempts %+v, %d duplicates dropped", o.Attempts, o.DuplicatesDropped)
		}
		if len(w.seen) != 100 {
			t.Errorf("%d different requests, want 100 sent twice", len(w.seen))
		}
		// An ack of the duplicate saves the intent but not its response.
		if got := reasons(cfg.Cells); got[intent.NoReason] != 100 || o.Latencies.Response.Censored() != 100 {
			t.Errorf("reasons %v, %d censored", got, o.Latencies.Response.Censored())
		}
		var it intent.Intent
		for i := range cfg.Cells {
			generator.At(uint64(i), &it)
			if late := cfg.Cells[i].LastEndNs - cfg.Cells[i].DueNs - it.DuplicateAfterNs - 1e6; late < 0 || late > 1e6 {
				t.Fatalf("intent %d: duplicate %d ns late", i, late)
			}
		}
	})
}

// Duplicates are never retried, and a failed one does not speak for its intent.
func TestDuplicatesAreNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		generator := generatorOf(t, func(s *intent.Spec) { s.Mix.Duplicates, s.Mix.DuplicateAfterNs = 1, 1e6 })
		cfg := configOf(t, newWorld(always(answer{after: time.Second, status: 500})), generator, 1, time.Second)
		cfg.Partners[0].Retry = intent.RetryPolicy{DelaysNs: []int64{1e9, 1e9}, OnServerError: true}
		o := mustRun(t, t.Context(), cfg)
		if o.Attempts.Total != 4 || reasons(cfg.Cells)[intent.RetriesExhausted] != 1 {
			t.Errorf("attempts %+v, reasons %v", o.Attempts, reasons(cfg.Cells))
		}
	})
}

// Nor does one that was never sent.
func TestDroppedDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		generator := generatorOf(t, func(s *intent.Spec) { s.Mix.Duplicates, s.Mix.DuplicateAfterNs = 1, int64(time.Hour) })
		cfg := configOf(t, newWorld(always(answer{status: 404})), generator, 1, time.Second)
		cfg.Grace = time.Millisecond
		o := mustRun(t, t.Context(), cfg)
		if o.DuplicatesDropped != 1 || o.Attempts.Total != 1 || reasons(cfg.Cells)[intent.ReasonRefused] != 1 {
			t.Errorf("%d dropped, attempts %+v, reasons %v", o.DuplicatesDropped, o.Attempts, reasons(cfg.Cells))
		}
	})
}
