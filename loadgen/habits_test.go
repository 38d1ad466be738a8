package loadgen

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/transport"
)

// arrivals lists when the requests of a world came, in ms.
func (w *world) arrivals() (ms []int64) {
	for _, list := range w.seen {
		for _, at := range list {
			ms = append(ms, at.Milliseconds())
		}
	}
	slices.Sort(ms)
	return ms
}

func TestFullQueueDropsTheOldest(t *testing.T) {
	for _, c := range []struct {
		name       string
		dropOldest bool
		queue      int
		served     []int // by number; the first is under way before the queue fills
	}{
		{"what comes", false, 2, []int{0, 1, 2}},
		{"what waits longest", true, 2, []int{0, 8, 9}},
		{"no queue", true, 0, []int{0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(always(acked(105 * time.Millisecond)))
			cfg := configOf(t, w, generatorOf(t, nil), 100, 100*time.Millisecond)
			p := &cfg.Partners[0]
			p.Connections, p.Queue, p.DropOldest = 1, c.queue, c.dropOldest
			o := mustRun(t, t.Context(), cfg)

			var served []int
			for i := range cfg.Cells {
				if cfg.Cells[i].Acked > 0 {
					served = append(served, i)
				}
			}
			if got := reasons(cfg.Cells); !slices.Equal(served, c.served) || got[intent.QueueFull] != 10-len(served) {
				t.Errorf("%s: %v acked, want %v, reasons %v", c.name, served, c.served, got)
			}
			if l := &o.Latencies; l.Response.Censored() != int64(10-len(served)) || o.QueueDepth[0] != c.queue {
				t.Errorf("%s: %d responses censored, queue depth %v", c.name, l.Response.Censored(), o.QueueDepth)
			}
		})
	}
}

// A dropped retry takes its intent with it, a dropped duplicate does not.
func TestDroppedOldestMayBeARetryOrADuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(answer{after: 100 * time.Millisecond, status: 500}))
		cfg := configOf(t, w, generatorOf(t, nil), 10, 300*time.Millisecond)
		p := &cfg.Partners[0]
		p.Connections, p.Queue, p.DropOldest = 1, 1, true
		p.Retry = intent.RetryPolicy{DelaysNs: []int64{10e6}, OnServerError: true}
		// Intent 0 ends at 100 ms, intent 1 takes its place; the retry of 0 waits
		// from 110 ms until intent 2 pushes it out.
		cfg.Schedule = &fixed{0, 50e6, 150e6}
		o := mustRun(t, t.Context(), cfg)
		if got := reasons(cfg.Cells); got[intent.QueueFull] != 1 || got[intent.RetriesExhausted] != 2 || cfg.Cells[0].Attempts != 1 {
			t.Errorf("reasons %v, attempts %+v, cell %+v", got, o.Attempts, cfg.Cells[0])
		}

		generator := generatorOf(t, func(s *intent.Spec) { s.Mix.Duplicates, s.Mix.DuplicateAfterNs = 1, 1 })
		w = newWorld(always(acked(100 * time.Millisecond)))
		cfg = configOf(t, w, generator, 1, 2*time.Second)
		p = &cfg.Partners[0]
		p.Connections, p.Queue, p.DropOldest = 1, 1, true
		cfg.Schedule = &fixed{0, 50e6}
		o = mustRun(t, t.Context(), cfg)
		if got := reasons(cfg.Cells); o.DuplicatesDropped == 0 || got[intent.NoReason]+got[intent.QueueFull] != 2 {
			t.Errorf("%d duplicates dropped, reasons %v", o.DuplicatesDropped, got)
		}
	})
}

func TestBreakerDeactivatesThePartner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(always(answer{after: 10 * time.Millisecond, status: 500}))
		cfg := configOf(t, w, generatorOf(t, nil), 10, time.Second)
		p := &cfg.Partners[0]
		p.Breaker = intent.Breaker{Failures: 3}
		p.Retry = intent.RetryPolicy{DelaysNs: []int64{int64(time.Hour)}, OnServerError: true}
		cfg.Grace = 2 * time.Hour
		o := mustRun(t, t.Context(), cfg)

		// The third failure ends at 210 ms. The retries of all three were due in
		// an hour, for which nobody waits.
		if got := w.arrivals(); !slices.Equal(got, []int64{0, 100, 200}) || o.Duration > time.Second {
			t.Errorf("requests at %v ms, the run took %v", got, o.Duration)
		}
		if got := reasons(cfg.Cells); got[intent.Deactivated] != 10 || o.Latencies.Response.Censored() != 10 {
			t.Errorf("reasons %v, %d censored", got, o.Latencies.Response.Censored())
		}
		if !o.Partners[0].Deactivated || o.Interrupted {
			t.Errorf("%+v", o.Partners[0])
		}
	})
}

func TestBreakerEmptiesTheQueueAndSparesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		generator := generatorOf(t, func(s *intent.Spec) {
			s.Partners = append(s.Partners, intent.Partner{Name: "other", Share: 1})
		})
		cfg := configOf(t, newWorld(always(acked(time.Millisecond))), generator, 100, time.Second)
		acme := &cfg.Partners[0]
		acme.Connections, acme.Queue, acme.Breaker = 2, 100, intent.Breaker{Failures: 1}
		first := true // its answer is slow and good, that of the second connection bad
		acme.NewSender = func() Sender {
			slow := first
			first = false
			own := newWorld(always(answer{after: 300 * time.Millisecond, status: 404}))
			if slow {
				own = newWorld(always(acked(800 * time.Millisecond)))
			}
			return own.sender()
		}
		o := mustRun(t, t.Context(), cfg)

		// In flight: one fails and ends it all, the other is acked later.
		if a := o.Partners[0].Attempts; a != (Attempts{Total: 2, Acked: 1, Refused: 1}) {
			t.Errorf("acme: %+v", a)
		}
		var it intent.Intent
		lost, ofAcme := 0, 0
		for i := range cfg.Cells {
			if generator.At(uint64(i), &it); it.Partner == 0 {
				ofAcme++
				if intent.Reason(cfg.Cells[i].Reason) == intent.Deactivated {
					lost++
				}
			}
		}
		if lost != ofAcme-2 || o.QueueDepth[0] < 5 {
			t.Errorf("acme: %d of %d deactivated, queue depth %v", lost, ofAcme, o.QueueDepth)
		}
		if a := o.Partners[1].Attempts; a.Acked != int64(100-ofAcme) || o.Partners[1].Deactivated {
			t.Errorf("other: %+v of %d", a, 100-ofAcme)
		}
	})
}

// A 2xx says nothing where the partner reads the body.
func TestSuccessIsWhatThePartnerReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(func(_ string, number int) answer {
			return answer{after: time.Millisecond, status: 200, body: []string{"ERROR", "OK, thanks"}[number]}
		})
		cfg := configOf(t, w, generatorOf(t, nil), 10, time.Second)
		p := &cfg.Partners[0]
		p.Success = intent.SuccessRule{Bodies: []string{"OK", "DUP"}}
		p.Retry = intent.RetryPolicy{DelaysNs: []int64{10e6}, OnRefused: true}
		o := mustRun(t, t.Context(), cfg)
		if o.Attempts != (Attempts{Total: 20, Acked: 10, Refused: 10}) || o.Responses["200"] != 10 || o.Responses[WrongBody] != 10 {
			t.Errorf("%+v, %v", o.Attempts, o.Responses)
		}
		if l := &o.Latencies; l.Service.Count() != 10 || l.ServiceRefused.Count() != 10 {
			t.Errorf("%d acked, %d refused timed", l.Service.Count(), l.ServiceRefused.Count())
		}
	})
}

// phasedSender answers at once, with one set of phases after the other.
type phasedSender struct {
	phases []transport.Phases
	sent   int
}

// Send implements Sender.
func (s *phasedSender) Send(context.Context, *transport.Request, time.Time) (transport.Reply, error) {
	s.sent++
	return transport.Reply{Status: 200, Phases: s.phases[(s.sent-1)%len(s.phases)]}, nil
}

// Close implements Sender.
func (s *phasedSender) Close() error { return nil }

func TestPartnersHaveTheirOwnPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		generator := generatorOf(t, func(s *intent.Spec) {
			s.Partners = append(s.Partners, intent.Partner{Name: "other", Share: 1}, intent.Partner{Name: "silent", Share: 1})
		})
		cfg := configOf(t, newWorld(always(acked(time.Millisecond))), generator, 100, time.Second)
		full := transport.Phases{DNSNs: 1e6, ConnectNs: 2e6, TLSNs: 3e6, WaitNs: 4e6, BodyNs: 5e6, Opened: true, Secured: true}
		resumed := full
		resumed.Resumed = true
		cfg.Partners[0].NewSender = func() Sender { return &phasedSender{phases: []transport.Phases{full, resumed}} }
		cfg.Partners[2].NewSender = newWorld(always(answer{class: transport.ClassClosed})).sender
		o := mustRun(t, t.Context(), cfg)

		p := &o.Partners[0]
		n := p.Attempts.Total
		if n < 20 || p.Handshakes != n || p.Resumed != n/2 {
			t.Errorf("%d attempts, %d handshakes, %d resumed", n, p.Handshakes, p.Resumed)
		}
		for i, h := range []interface {
			Count() int64
			MaxNs() int64
		}{p.DNS, p.Connect, p.TLS, p.Wait, p.Body} {
			if h.Count() != n || h.MaxNs() != int64(i+1)*1e6 {
				t.Errorf("phase %d: %d entries up to %d ns, want %d", i, h.Count(), h.MaxNs(), n)
			}
		}
		if p = &o.Partners[1]; p.DNS != nil || p.Connect != nil || p.TLS != nil || p.Wait.Count() != p.Attempts.Total || p.Handshakes != 0 {
			t.Errorf("a partner on open connections: %+v", p)
		}
		if p = &o.Partners[2]; p.Wait != nil || p.Body != nil || p.Attempts.Errored == 0 {
			t.Errorf("a partner without answers: %+v", p)
		}
		if p.QueueDepth != nil {
			t.Errorf("nothing ever waited: %v", p.QueueDepth)
		}
	})
}

func TestQueueDepthOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := configOf(t, newWorld(always(acked(1500*time.Millisecond))), generatorOf(t, nil), 1, 4*time.Second)
		cfg.Partners[0].Connections, cfg.Partners[0].Queue = 1, 10
		// One under way, three wait; they begin at 1.5, 3 and 4.5 s and the last
		// ends at 6 s.
		cfg.Schedule = &fixed{0, 100e6, 200e6, 300e6}
		o := mustRun(t, t.Context(), cfg)
		if got := o.Partners[0].QueueDepth; !slices.Equal(got, []int{3, 3, 2, 2, 1, 0, 0}) {
			t.Errorf("%v", got)
		}
	})
}

func TestPartnersMustAddUp(t *testing.T) {
	o := &Outcome{Latencies: NewLatencies(0), Attempts: Attempts{Total: 2, Acked: 2}, Partners: []PartnerOutcome{{Attempts: Attempts{Total: 1, Acked: 1}}}}
	if list := o.Imbalances(); len(list) != 1 || !strings.Contains(list[0], "the attempts of the partners") {
		t.Errorf("%q", list)
	}
}
