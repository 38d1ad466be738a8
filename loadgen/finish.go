package loadgen

import (
	"context"
	"time"

	"github.com/postbench/postbench/internal/intent"
)

// finish waits for what is pending, queued and in flight, at most for the
// grace, and then ends everything. After it no goroutine of the run is left.
func (r *run) finish(ctx context.Context, cut context.CancelFunc) {
	r.outcome.Interrupted = ctx.Err() != nil
	deadline := time.NewTimer(r.cfg.Grace)
	defer deadline.Stop()
	over := r.interruptedOr(ctx, deadline.C)
	r.closeBooks()
	if !over {
		// Nothing more is released; give what is in flight its own timeout.
		r.awaitIdle(r.longestTimeout())
	}
	cut()
	for _, l := range r.lanes {
		l.cut()
	}
	r.awaitIdle(r.longestTimeout())
	for _, l := range r.lanes {
		l.stop()
	}
	r.goroutines.Wait()
}

// interruptedOr releases pending tickets until nothing is left (true), the
// grace is over, or ctx ends (false).
func (r *run) interruptedOr(ctx context.Context, grace <-chan time.Time) bool {
	for {
		wait := time.Hour
		r.mu.Lock()
		if len(r.pending) > 0 {
			wait = time.Duration(r.pending[0].dueNs - r.sinceStart())
		}
		idle := len(r.pending) == 0 && r.underWay.Load() == 0
		r.mu.Unlock()
		if idle {
			return true
		}
		timer := time.NewTimer(max(0, wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			r.outcome.Interrupted = true
			return false
		case <-grace:
			timer.Stop()
			return false
		case <-r.changed:
			timer.Stop()
		case <-timer.C:
			r.releasePending()
		}
	}
}

// closeBooks gives up on everything that was not sent yet.
func (r *run) closeBooks() {
	r.mu.Lock()
	r.closing = true
	pending := r.pending
	r.pending = nil
	r.mu.Unlock()
	for i := range pending {
		r.notSent(&pending[i], intent.RunEnded)
	}
	for _, l := range r.lanes {
		for _, t := range l.abandon() {
			r.notSent(&t, intent.RunEnded)
			r.finished()
		}
	}
}

// awaitIdle waits until nothing is under way, at most for limit.
func (r *run) awaitIdle(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for r.underWay.Load() > 0 {
		select {
		case <-r.changed:
		case <-timer.C:
			return
		}
	}
}

func (r *run) longestTimeout() time.Duration {
	longest := time.Duration(0)
	for i := range r.cfg.Partners {
		longest = max(longest, r.cfg.Partners[i].Timeout)
	}
	return longest + time.Second
}

func (r *run) result(ctx context.Context) *Outcome {
	o := &r.outcome
	o.Start, o.Duration, o.Intents = r.start, time.Since(r.start), r.released.Load()
	o.Latencies, o.Attempts, o.Responses = r.recorder.merged(len(r.cfg.Partners))
	o.Timeline, o.LateEntries = r.timeline.seconds(), r.timeline.late
	for _, l := range r.lanes {
		o.QueueDepth = append(o.QueueDepth, l.deepest)
	}
	o.Interrupted = o.Interrupted || ctx.Err() != nil
	return o
}
