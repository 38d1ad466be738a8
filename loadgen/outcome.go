package loadgen

import (
	"strconv"
	"time"

	"github.com/postbench/postbench/internal/hist"
)

// readyLate is how late an intent may be released and still count as released
// in time.
const readyLate = 10 * time.Millisecond

// Outcome is what a run observed. Fates are not in it: they need the ledger.
type Outcome struct {
	Start    time.Time
	Duration time.Duration // from the start to the end of the last attempt
	// Intents is how many intents became due; the cells up to it are filled.
	Intents uint64
	// Timed is how many of these were legitimate and due after the warm-up.
	Timed     int64
	Latencies Latencies
	Attempts  Attempts
	Responses map[string]int64 // by HTTP status or error class
	Timeline  []Second
	// Budget says where the response latency went; nil where nothing was acked
	// or the engine does not tell.
	Budget *Budget
	// ReadyLate is how many intents were released more than 10 ms late.
	ReadyLate int64
	// MaxPause is the longest that this program stood still: the latest release
	// or wake-up.
	MaxPause time.Duration
	// DuplicatesDropped are deliberate duplicates that were never sent.
	DuplicatesDropped int64
	// QueueDepth is, per partner, the most attempts that ever waited for a
	// connection; nil where the engine has no queue.
	QueueDepth []int
	// LimitWaits is how many attempts of partners without a bound of their own
	// found all MaxConnections of the generator busy; those that found the queue
	// full as well are counted, too. What they waited is lag_generator.
	LimitWaits int64
	// Partners has one entry per partner.
	Partners []PartnerOutcome
	// HiddenRetries are requests that a client sent without being asked.
	HiddenRetries int64
	Interrupted   bool
}

// PartnerOutcome is one partner's part of a run.
type PartnerOutcome struct {
	Attempts Attempts
	// DNS, Connect and TLS are of the attempts that opened a connection, Wait
	// and Body of those that were answered, as in Latencies; nil when nothing
	// was recorded.
	DNS, Connect, TLS, Wait, Body *hist.Histogram
	// Handshakes are the completed TLS handshakes, Resumed those of them that
	// resumed a session; warm-up included.
	Handshakes, Resumed int64
	// LateAcks are acks that came after their attempt had timed out: what the
	// server did for nothing. Of transports that can tell.
	LateAcks int64
	// QueueDepth is the most attempts that waited for a connection in each
	// second of the run; nil when none ever did or the engine has no queue.
	QueueDepth []int
	// Deactivated: the partner's breaker stopped its sending.
	Deactivated bool
}

// Ready notes by how much an intent was released late.
func (o *Outcome) Ready(late time.Duration) {
	o.stoodStill(late)
	if late > readyLate {
		o.ReadyLate++
	}
}

// stoodStill notes that the loop came late by so much.
func (o *Outcome) stoodStill(late time.Duration) { o.MaxPause = max(o.MaxPause, late) }

// Progress is a look at a run under way.
type Progress struct {
	Elapsed                  time.Duration
	Intents, Attempts, Acked int64
	Failed                   int64
	// P99Ns is the response p99 so far, -1 where it falls on an attempt
	// without an ack or nothing was timed yet.
	P99Ns int64
}

func (r *run) progress() Progress {
	response, attempts := hist.New(), Attempts{}
	for _, s := range r.recorder.shards {
		s.mu.Lock()
		response.Merge(s.latencies.Response)
		attempts.add(s.attempts)
		s.mu.Unlock()
	}
	p := Progress{Elapsed: time.Since(r.start), Intents: int64(r.released.Load()), Attempts: attempts.Total,
		Acked: attempts.Acked, Failed: attempts.Total - attempts.Acked, P99Ns: -1}
	if ns, ok := response.Percentile(99); ok {
		p.P99Ns = ns
	}
	return p
}

// statusName is the key of an HTTP status in Outcome.Responses.
func statusName(status int) string {
	if status >= maxStatus {
		return "other status"
	}
	return strconv.Itoa(status)
}
