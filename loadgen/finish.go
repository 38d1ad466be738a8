package loadgen

import (
	"container/heap"
	"context"
	"time"

	"github.com/postbench/postbench/internal/intent"
)

// finish gives up on what was not sent, waits for what is in flight, and ends
// everything. After it no goroutine of the run is left.
func (r *run) finish(cut context.CancelFunc) {
	r.closeBooks()
	r.awaitIdle(r.longestTimeout())
	cut()
	for _, l := range r.lanes {
		l.stop()
	}
	r.goroutines.Wait()
}

// closeBooks gives up on everything that was not sent yet.
func (r *run) closeBooks() {
	r.collectDeactivated()
	r.mu.Lock()
	r.closing = true
	pending := r.pending
	r.pending = nil
	r.mu.Unlock()
	for i := range pending {
		r.notSent(&pending[i], intent.RunEnded)
	}
	for _, l := range r.lanes {
		r.abandon(l, intent.RunEnded)
	}
}

// abandon gives up on what waits for a connection of a partner.
func (r *run) abandon(l *lane, reason intent.Reason) {
	for _, t := range l.abandon(r.sinceStart()) {
		r.notSent(&t, reason)
		r.finished()
	}
}

// collectDeactivated gives up on what is queued or pending for partners that
// were deactivated since it was last called.
func (r *run) collectDeactivated() {
	if !r.deactivated.Swap(false) {
		return
	}
	r.mu.Lock()
	var lost []ticket
	kept := r.pending[:0]
	for _, t := range r.pending {
		if r.lanes[t.partner].deactivated.Load() {
			lost = append(lost, t)
		} else {
			kept = append(kept, t)
		}
	}
	r.pending = kept
	heap.Init(&r.pending)
	r.mu.Unlock()
	for i := range lost {
		r.notSent(&lost[i], intent.Deactivated)
	}
	for _, l := range r.lanes {
		if l.deactivated.Load() {
			r.abandon(l, intent.Deactivated)
		}
	}
}

// awaitIdle waits until nothing is under way, at most for limit: senders keep
// their deadlines, so that only a broken one is cut off.
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

// longestTimeout is when the last attempt under way has ended for certain.
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
	o.Latencies, o.Attempts, o.Responses = r.recorder.merged()
	o.Timeline = r.timeline.seconds()
	o.Budget = r.budget.result(o.Latencies.Response.Censored())
	for i, l := range r.lanes {
		partner := r.recorder.partners[i].outcome
		partner.QueueDepth, partner.Deactivated = l.depth.perSecond(int64(o.Duration)), l.deactivated.Load()
		if l.config.LateAcks != nil {
			partner.LateAcks = l.config.LateAcks()
		}
		o.Partners = append(o.Partners, partner)
		o.QueueDepth = append(o.QueueDepth, l.depth.deepest)
		o.LimitWaits += l.limitWaits
	}
	o.Interrupted = ctx.Err() != nil
	return o
}
