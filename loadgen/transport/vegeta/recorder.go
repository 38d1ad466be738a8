package vegeta

import (
	"strconv"
	"sync"
	"time"

	lib "github.com/tsenart/vegeta/v12/lib"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen"
)

// recorder turns vegeta's results into an outcome.
type recorder struct {
	cfg    *loadgen.Config
	due    []int64
	start  time.Time
	policy intent.RetryPolicy // never retries; it knows the reasons

	mu      sync.Mutex
	out     loadgen.Outcome
	results int64
	it      intent.Intent
}

func newRecorder(cfg *loadgen.Config, due []int64, start time.Time) *recorder {
	return &recorder{cfg: cfg, due: due, start: start, out: loadgen.Outcome{
		Start: start, Latencies: loadgen.NewLatencies(1), Responses: map[string]int64{}}}
}

// result books one hit.
func (r *recorder) result(h *hit, result *lib.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results++
	r.cfg.Intents.At(result.Seq, &r.it)
	outcome := outcomeOf(h, result, &r.cfg.Partners[0].Success)
	dueNs := r.due[result.Seq]
	dispatchedNs := int64(result.Timestamp.Sub(r.start))
	endNs := dispatchedNs + int64(result.Latency)

	cell := &r.cfg.Cells[result.Seq]
	cell.Dispatched(dispatchedNs)
	cell.Ended(endNs, outcome, int(result.Code))
	if _, _, reason := r.policy.Next(0, outcome, int(result.Code)); reason != intent.NoReason {
		cell.GaveUp(reason)
	}
	r.out.Ready(time.Duration(dispatchedNs - dueNs))
	r.count(outcome, result)
	if dueNs >= int64(r.cfg.Warmup) {
		r.time(outcome, dueNs, dispatchedNs, endNs)
	}
}

func (r *recorder) count(outcome intent.Outcome, result *lib.Result) {
	a := &r.out.Attempts
	a.Total++
	key := strconv.Itoa(int(result.Code))
	switch outcome {
	case intent.Acked:
		a.Acked++
	case intent.Refused:
		a.Refused++
		if loadgen.IsWrongBody(outcome, int(result.Code)) {
			key = loadgen.WrongBody
		}
	case intent.TimedOut:
		a.TimedOut++
		key = "timeout"
	default:
		a.Errored++
		key = "error"
	}
	r.out.Responses[key]++
}

func (r *recorder) time(outcome intent.Outcome, dueNs, dispatchedNs, endNs int64) {
	l := &r.out.Latencies
	l.LagGenerator.Record(dispatchedNs - dueNs)
	l.LagQueue.Record(0)
	switch outcome {
	case intent.Acked:
		l.Service.Record(endNs - dispatchedNs)
	case intent.Refused:
		l.ServiceRefused.Record(endNs - dispatchedNs)
	}
	if !r.it.Kind.Legitimate() {
		return
	}
	r.out.Timed++
	if outcome == intent.Acked {
		l.Response.Record(endNs - dueNs)
		l.PartnerResponse[0].Record(endNs - dueNs)
		return
	}
	l.Response.RecordCensored()
	l.PartnerResponse[0].RecordCensored()
}

// outcomeOf classifies a hit. vegeta gives a code only to answers that were
// read to the end.
func outcomeOf(h *hit, result *lib.Result, success *intent.SuccessRule) intent.Outcome {
	switch {
	case success.Accepts(int(result.Code), result.Body):
		return intent.Acked
	case result.Code != 0:
		return intent.Refused
	case h.timedOut:
		return intent.TimedOut
	}
	return intent.Errored
}

func (r *recorder) progress() loadgen.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.out.Attempts
	p := loadgen.Progress{Elapsed: time.Since(r.start), Intents: r.results, Attempts: a.Total, Acked: a.Acked, Failed: a.Total - a.Acked, P99Ns: -1}
	if ns, ok := r.out.Latencies.Response.Percentile(99); ok {
		p.P99Ns = ns
	}
	return p
}

func (r *recorder) outcome(hiddenRetries int64, interrupted bool) *loadgen.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.out
	o.Intents, o.HiddenRetries, o.Interrupted = uint64(r.results), hiddenRetries, interrupted
	o.Partners = []loadgen.PartnerOutcome{{Attempts: o.Attempts}}
	o.Duration = time.Since(r.start)
	return o
}
