package loadgen

import (
	"sync"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/transport"
)

// WrongBody is the key, in Outcome.Responses, of answers with a status of success
// whose body the partner does not take for it.
const WrongBody = "2xx, body not taken for success"

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

func (a *Attempts) count(outcome intent.Outcome) {
	a.Total++
	switch outcome {
	case intent.Acked:
		a.Acked++
	case intent.Refused:
		a.Refused++
	case intent.TimedOut:
		a.TimedOut++
	default:
		a.Errored++
	}
}

// recorder keeps what the workers observe, in shards, so that the hot path
// meets little contention and memory does not grow with the connections.
type recorder struct {
	shards   [recorderShards]*shard
	partners []*partnerRecord
}

type shard struct {
	mu        sync.Mutex
	latencies Latencies
	attempts  Attempts
	statuses  [maxStatus + 1]int64
	classes   map[transport.Class]int64
	// wrongBodies are the answers of WrongBody.
	wrongBodies int64
}

// IsWrongBody tells an answer of WrongBody from other refusals.
func IsWrongBody(outcome intent.Outcome, status int) bool {
	return outcome == intent.Refused && status >= 200 && status <= 299
}

func newRecorder(partners int) *recorder {
	r := &recorder{}
	for i := range r.shards {
		r.shards[i] = &shard{latencies: NewLatencies(0), classes: map[transport.Class]int64{}}
	}
	for range partners {
		r.partners = append(r.partners, &partnerRecord{response: hist.New()})
	}
	return r
}

// observation is one finished attempt.
type observation struct {
	ticket              *ticket
	legitimate, timed   bool
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
		recordResponse(l.Response, o.endNs-o.ticket.dueNs, o.outcome == intent.Acked)
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
	recordPhases(&o.reply.Phases, &l.DNS, &l.Connect, &l.TLS, &l.Wait, &l.Body)
}

func (s *shard) count(o *observation) {
	s.attempts.count(o.outcome)
	if o.err != nil {
		s.classes[transport.ClassOf(o.err)]++
		return
	}
	if IsWrongBody(o.outcome, o.reply.Status) {
		s.wrongBodies++
		return
	}
	s.statuses[min(max(o.reply.Status, 0), maxStatus)]++
}

// neverSent books the response of an intent whose first attempt never got a
// connection: slower than every ack.
func (r *recorder) neverSent(partner int) {
	s, p := r.shards[0], r.partners[partner]
	s.mu.Lock()
	recordResponse(s.latencies.Response, 0, false)
	s.mu.Unlock()
	p.mu.Lock()
	recordResponse(p.response, 0, false)
	p.mu.Unlock()
}

// merged returns the sum of all shards. Nothing is recorded any more.
func (r *recorder) merged() (Latencies, Attempts, map[string]int64) {
	latencies, attempts, responses := NewLatencies(0), Attempts{}, map[string]int64{}
	for _, s := range r.shards {
		s.mu.Lock()
		latencies.merge(&s.latencies)
		attempts.add(s.attempts)
		for status, n := range s.statuses {
			if n > 0 {
				responses[statusName(status)] += n
			}
		}
		if s.wrongBodies > 0 {
			responses[WrongBody] += s.wrongBodies
		}
		for class, n := range s.classes {
			responses[string(class)] += n
		}
		s.mu.Unlock()
	}
	for _, p := range r.partners {
		latencies.PartnerResponse = append(latencies.PartnerResponse, p.response)
	}
	return latencies, attempts, responses
}
