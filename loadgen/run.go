package loadgen

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbench/postbench/internal/intent"
)

// wakeEvery bounds how long the loop sleeps in one go while it could still be
// told of an earlier due time.
const wakeEvery = 2 * time.Millisecond

// run is one run under way. The goroutine of Run releases tickets; workers
// carry them out.
type run struct {
	cfg      *Config
	start    time.Time
	lanes    []*lane
	books    books
	recorder *recorder
	timeline timeline

	// sendContext ends every Send when the run gives up waiting.
	sendContext context.Context
	goroutines  sync.WaitGroup
	released    atomic.Uint64
	underWay    atomic.Int64 // offered and not finished

	mu      sync.Mutex
	pending ticketHeap // retries and duplicates, by due time
	closing bool       // nothing new becomes pending
	// changed is signalled when pending got a new head or nothing is under
	// way any more; capacity 1.
	changed chan struct{}

	outcome Outcome
	it      intent.Intent
}

// Observe is called with a way to look at the run when it starts.
type Observe func(start time.Time, progress func() Progress)

// Run plays the schedule and returns when every attempt has ended, or after
// Config.Grace. Cancelling ctx ends the run early: nothing more is released,
// what is under way may end within its timeout, and the outcome is marked
// interrupted. The error is about the configuration only; what a server does
// is never an error.
func Run(ctx context.Context, cfg Config, observe Observe) (*Outcome, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	sendContext, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	r := &run{
		cfg: &cfg, books: books{cells: cfg.Cells}, recorder: newRecorder(len(cfg.Partners)),
		sendContext: sendContext, changed: make(chan struct{}, 1),
	}
	for i := range cfg.Partners {
		r.lanes = append(r.lanes, newLane(r, i))
	}
	r.start = time.Now()
	if observe != nil {
		observe(r.start, r.progress)
	}
	r.releaseAll(ctx)
	r.finish(ctx, cut)
	return r.result(ctx), nil
}

// sinceStart is the time axis of a run, in ns. It is monotonic.
func (r *run) sinceStart() int64 { return int64(time.Since(r.start)) }

// releaseAll plays the schedule and whatever becomes pending meanwhile.
func (r *run) releaseAll(ctx context.Context) {
	dueNs, more := r.cfg.Schedule.Next()
	for index := uint64(0); more && index < uint64(len(r.cfg.Cells)); {
		if t, ok := r.pendingBefore(dueNs); ok {
			if !r.waitUntil(ctx, t.dueNs) {
				return
			}
			r.releasePending()
			continue
		}
		if !r.waitUntil(ctx, dueNs) {
			return
		}
		if r.sinceStart() < dueNs {
			continue // woken early: something may have become pending
		}
		r.releaseIntent(index, dueNs)
		index++
		dueNs, more = r.cfg.Schedule.Next()
	}
}

// waitUntil sleeps towards dueNs and returns early when something pending
// changed; false means that ctx ended.
func (r *run) waitUntil(ctx context.Context, dueNs int64) bool {
	due := r.start.Add(time.Duration(dueNs))
	if wait := time.Until(due); wait > wakeEvery {
		// The timer is coarse (about 1 ms on an idle machine); the sleeper
		// does the rest.
		timer := time.NewTimer(wait - wakeEvery/2)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-r.changed:
			return true
		case <-timer.C:
		}
	}
	select {
	case <-ctx.Done():
		return false
	default:
	}
	r.cfg.SleepUntil(due)
	return true
}

// pendingBefore returns the pending ticket that is due before dueNs, if any.
func (r *run) pendingBefore(dueNs int64) (ticket, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) == 0 || r.pending[0].dueNs > dueNs {
		return ticket{}, false
	}
	return r.pending[0], true
}

// releasePending releases every pending ticket whose time has come.
func (r *run) releasePending() {
	for {
		r.mu.Lock()
		if len(r.pending) == 0 || r.pending[0].dueNs > r.sinceStart() {
			r.mu.Unlock()
			return
		}
		t := heap.Pop(&r.pending).(ticket)
		r.mu.Unlock()
		r.cfg.Intents.At(t.index, &r.it)
		r.release(t, r.it.Partner)
	}
}

// releaseIntent makes an intent ready and plans its deliberate duplicate.
func (r *run) releaseIntent(index uint64, dueNs int64) {
	r.cfg.Intents.At(index, &r.it)
	r.books.released(index, dueNs)
	r.released.Add(1)
	if r.it.Kind.Legitimate() && dueNs >= int64(r.cfg.Warmup) {
		r.outcome.Timed++
	}
	if r.it.DuplicateAfterNs > 0 {
		duplicate := ticket{index: index, dueNs: dueNs + r.it.DuplicateAfterNs, duplicate: true}
		if !r.plan(duplicate) {
			r.outcome.DuplicatesDropped++
		}
	}
	r.release(ticket{index: index, dueNs: dueNs}, r.it.Partner)
}

// release hands a ticket whose time has come to its partner.
func (r *run) release(t ticket, partner int) {
	t.readyNs = r.sinceStart()
	if late := time.Duration(t.readyNs - t.dueNs); late > readyLate {
		r.outcome.ReadyLate++
		r.outcome.MaxReadyLate = max(r.outcome.MaxReadyLate, late)
	}
	r.underWay.Add(1)
	if !r.lanes[partner].offer(t) {
		r.notSent(&t, intent.QueueFull)
		r.finished()
	}
}

// notSent books an attempt that will never get a connection.
func (r *run) notSent(t *ticket, reason intent.Reason) {
	r.books.gaveUp(t, reason)
	if t.duplicate {
		r.outcome.DuplicatesDropped++
		return
	}
	if t.attempt > 0 {
		return
	}
	r.cfg.Intents.At(t.index, &r.it)
	if !r.it.Kind.Legitimate() {
		return
	}
	r.timeline.add(t.dueNs, 0, false)
	if t.dueNs >= int64(r.cfg.Warmup) {
		r.recorder.neverSent(r.it.Partner)
	}
}

// plan makes a ticket pending; false when there is no room or the run closes.
func (r *run) plan(t ticket) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing || len(r.pending) >= maxPending {
		return false
	}
	heap.Push(&r.pending, t)
	if r.pending[0] == t {
		r.signal()
	}
	return true
}

// retry is called by workers.
func (r *run) retry(t ticket) {
	if !r.plan(t) {
		r.books.gaveUp(&t, intent.RunEnded)
	}
}

// finished is called when an offered attempt is over, after its retry, if
// any, was planned.
func (r *run) finished() {
	if r.underWay.Add(-1) == 0 {
		r.signal()
	}
}

func (r *run) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}
