package loadgen

import (
	"sync"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/transport"
)

// partnerRecord keeps what the workers of one partner observe. It has one lock
// and, beyond the response, a histogram only for the phases that occur: with
// shards of its own, 20 partners would take 100 MiB.
type partnerRecord struct {
	mu       sync.Mutex
	response *hist.Histogram
	outcome  PartnerOutcome
}

// attempt books one finished attempt.
func (p *partnerRecord) attempt(o *observation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcome.Attempts.count(o.outcome)
	phases := &o.reply.Phases
	if phases.Secured {
		p.outcome.Handshakes++
	}
	if phases.Resumed {
		p.outcome.Resumed++
	}
	if !o.timed {
		return
	}
	if o.ticket.first() && o.legitimate {
		recordResponse(p.response, o.endNs-o.ticket.dueNs, o.outcome == intent.Acked)
	}
	if o.outcome == intent.Acked || o.outcome == intent.Refused {
		recordPhases(phases, &p.outcome.DNS, &p.outcome.Connect, &p.outcome.TLS, &p.outcome.Wait, &p.outcome.Body)
	}
}

// recordResponse books one entry of the headline latency.
func recordResponse(h *hist.Histogram, ns int64, acked bool) {
	if acked {
		h.Record(ns)
	} else {
		h.RecordCensored()
	}
}

// recordPhases books the phases of an attempt that was answered.
func recordPhases(phases *transport.Phases, dns, connect, tls, wait, body **hist.Histogram) {
	if phases.Opened {
		recordIn(connect, phases.ConnectNs)
	}
	// A numeric address has no look-up and plain text no handshake.
	if phases.DNSNs > 0 {
		recordIn(dns, phases.DNSNs)
	}
	if phases.TLSNs > 0 {
		recordIn(tls, phases.TLSNs)
	}
	recordIn(wait, phases.WaitNs)
	recordIn(body, phases.BodyNs)
}

// recordIn makes a histogram of 264 KiB only when it is needed.
func recordIn(h **hist.Histogram, ns int64) {
	if *h == nil {
		*h = hist.New()
	}
	(*h).Record(ns)
}
