package loadgen

import (
	"sync"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/transport"
)

// maxStatus bounds the HTTP status codes that are counted one by one.
const maxStatus = 600

// Latencies are the histograms of a run (DESIGN §2). Only Response has
// censored entries.
type Latencies struct {
	Response       *hist.Histogram // due → end of the first attempt, legitimate intents
	Service        *hist.Histogram // dispatched → end of acked attempts
	ServiceRefused *hist.Histogram // dispatched → end of refused attempts
	LagGenerator   *hist.Histogram // dispatched − due − lag_queue: our fault
	LagQueue       *hist.Histogram // ready → a slot is free: the partner's fault
	DNS, Connect   *hist.Histogram // of the attempts that opened a connection
	TLS            *hist.Histogram
	Wait, Body     *hist.Histogram // of the attempts that were answered
	// PartnerResponse is Response split by partner.
	PartnerResponse []*hist.Histogram
}

// NewLatencies returns empty histograms for a number of partners.
func NewLatencies(partners int) Latencies {
	l := Latencies{
		Response: hist.New(), Service: hist.New(), ServiceRefused: hist.New(), LagGenerator: hist.New(), LagQueue: hist.New(),
		DNS: hist.New(), Connect: hist.New(), TLS: hist.New(), Wait: hist.New(), Body: hist.New(),
	}
	for range partners {
		l.PartnerResponse = append(l.PartnerResponse, hist.New())
	}
	return l
}

// whole lists the histograms of the whole run, always in the same order.
func (l *Latencies) whole() []*hist.Histogram {
	return []*hist.Histogram{l.Response, l.Service, l.ServiceRefused, l.LagGenerator, l.LagQueue,
		l.DNS, l.Connect, l.TLS, l.Wait, l.Body}
}

func (l *Latencies) merge(o *Latencies) {
	from := o.whole()
	for i, h := range l.whole() {
		h.Merge(from[i])
	}
	for i, h := range l.PartnerResponse {
		h.Merge(o.PartnerResponse[i])
	}
}

// clamped is how many values lay above the histograms' range.
func (l *Latencies) clamped() int64 {
	var n int64
	for _, h := range l.whole() {
		n += h.Clamped()
	}
	return n
}

// Attempts counts attempts by how they ended; warm-up included.
type Attempts struct{ Total, Acked, Refused, TimedOut, Errored int64 }

func (a *Attempts) add(o Attempts) {
	a.Total += o.Total
	a.Acked += o.Acked
	a.Refused += o.Refused
	a.TimedOut += o.TimedOut
	a.Errored += o.Errored
}

// recorder keeps what the workers observe, in shards, so that the hot path
// meets little contention and memory does not grow with the connections.
type recorder struct{ shards [recorderShards]*shard }

type shard struct {
	mu        sync.Mutex
	latencies Latencies
	attempts  Attempts
	statuses  [maxStatus + 1]int64
	classes   map[transport.Class]int64
}

func newRecorder(partners int) *recorder {
	r := &recorder{}
	for i := range r.shards {
		r.shards[i] = &shard{latencies: NewLatencies(partners), classes: map[transport.Class]int64{}}
	}
	return r
}

// observation is one finished attempt.
type observation struct {
	ticket              *ticket
	legitimate, timed   bool
	partner             int
	dispatchedNs, endNs int64
	outcome             intent.Outcome
	reply               transport.Reply
	err                 error
}

func (s *shard) attempt(o *observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(o)
	if !o.timed {
		return
	}
	l := &s.latencies
	lagQueueNs := o.ticket.slotFreeNs - o.ticket.readyNs
	l.LagQueue.Record(lagQueueNs)
	l.LagGenerator.Record(o.dispatchedNs - o.ticket.dueNs - lagQueueNs)
	if o.ticket.first() && o.legitimate {
		s.response(o.partner, o.endNs-o.ticket.dueNs, o.outcome == intent.Acked)
	}
	serviceNs := o.endNs - o.dispatchedNs
	switch o.outcome {
	case intent.Acked:
		l.Service.Record(serviceNs)
	case intent.Refused:
		l.ServiceRefused.Record(serviceNs)
	default:
		return
	}
	phases := &o.reply.Phases
	if phases.Opened {
		l.Connect.Record(phases.ConnectNs)
	}
	// A numeric address has no look-up and plain text no handshake.
	if phases.DNSNs > 0 {
		l.DNS.Record(phases.DNSNs)
	}
	if phases.TLSNs > 0 {
		l.TLS.Record(phases.TLSNs)
	}
	l.Wait.Record(phases.WaitNs)
	l.Body.Record(phases.BodyNs)
}

func (s *shard) count(o *observation) {
	s.attempts.Total++
	switch o.outcome {
	case intent.Acked:
		s.attempts.Acked++
	case intent.Refused:
		s.attempts.Refused++
	case intent.TimedOut:
		s.attempts.TimedOut++
	default:
		s.attempts.Errored++
	}
	if o.err != nil {
		s.classes[transport.ClassOf(o.err)]++
		return
	}
	s.statuses[min(max(o.reply.Status, 0), maxStatus)]++
}

// response books one entry of the headline latency.
func (s *shard) response(partner int, ns int64, acked bool) {
	for _, h := range []*hist.Histogram{s.latencies.Response, s.latencies.PartnerResponse[partner]} {
		if acked {
			h.Record(ns)
		} else {
			h.RecordCensored()
		}
	}
}

// neverSent books the response of an intent whose first attempt never got a
// connection: slower than every ack.
func (r *recorder) neverSent(partner int) {
	s := r.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.response(partner, 0, false)
}

// merged returns the sum of all shards.
func (r *recorder) merged(partners int) (Latencies, Attempts, map[string]int64) {
	latencies, attempts, responses := NewLatencies(partners), Attempts{}, map[string]int64{}
	for _, s := range r.shards {
		s.mu.Lock()
		latencies.merge(&s.latencies)
		attempts.add(s.attempts)
		for status, n := range s.statuses {
			if n > 0 {
				responses[statusName(status)] += n
			}
		}
		for class, n := range s.classes {
			responses[string(class)] += n
		}
		s.mu.Unlock()
	}
	return latencies, attempts, responses
}
