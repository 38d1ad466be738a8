package loadgen

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbench/postbench/internal/intent"
)

const (
	// fineWait is the last part of every wait, which the sleeper does: a Go
	// timer may fire 1 ms late on an idle machine. The loop cannot be told of
	// an earlier due time meanwhile.
	fineWait = 2 * time.Millisecond
	// heartbeat bounds a wait in one go, so that a standstill of this process
	// is noticed even when nothing was due in it.
	heartbeat = 50 * time.Millisecond
	// minRetryDelay makes sure that the loop hears of a retry before it is due:
	// a partner's "at once" is not charged to the generator.
	minRetryDelay = 2 * fineWait
)

// run is one run under way. The goroutine of Run releases tickets; workers
// carry them out.
type run struct {
	cfg      *Config
	start    time.Time
	lanes    []*lane
	books    books
	recorder *recorder
	timeline *timeline
	budget   *budget

	// sendContext ends every Send when the run gives up waiting.
	sendContext context.Context
	goroutines  sync.WaitGroup
	released    atomic.Uint64
	underWay    atomic.Int64 // offered and not finished
	// deactivated is set when a lane is and what it holds must be collected.
	deactivated atomic.Bool

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

// Run plays the schedule and returns when every attempt has ended. When
// Config.Grace is over, or ctx ends early, nothing more is released and what is
// under way may end within its timeout; the outcome of a cancelled run is
// marked interrupted. The error is about the configuration only; what a server
// does is never an error.
func Run(ctx context.Context, cfg Config, observe Observe) (*Outcome, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	sendContext, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	r := &run{
		cfg: &cfg, books: books{cells: cfg.Cells}, recorder: newRecorder(len(cfg.Partners)),
		timeline:    newTimeline(cfg.Partners),
		budget:      newBudget(cfg.Intents.Spec().Seed, uint64(cfg.Intents.Spec().RunNumber)),
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
	r.awaitLast(ctx)
	r.finish(cut)
	return r.result(ctx), nil
}

// sinceStart is the time axis of a run, in ns. It is monotonic.
func (r *run) sinceStart() int64 { return int64(time.Since(r.start)) }

// releaseAll plays the schedule and whatever becomes pending meanwhile.
func (r *run) releaseAll(ctx context.Context) {
	dueNs, more := r.cfg.Schedule.Next()
	for index := uint64(0); more && index < uint64(len(r.cfg.Cells)); {
		if !r.waitUntil(ctx, min(dueNs, r.pendingDueNs())) {
			return
		}
		r.collectDeactivated()
		nowNs := r.sinceStart()
		r.releasePending(min(dueNs, nowNs))
		if nowNs < dueNs {
			continue // woken early, or for something pending
		}
		r.releaseIntent(index, dueNs)
		index++
		dueNs, more = r.cfg.Schedule.Next()
	}
}

// awaitLast plays what is still pending after the schedule's end until nothing
// is left, nothing more can happen within the grace, or ctx ends.
func (r *run) awaitLast(ctx context.Context) {
	graceEndNs := r.sinceStart() + int64(r.cfg.Grace)
	for !r.idle() && r.sinceStart() < graceEndNs {
		if r.underWay.Load() == 0 && r.pendingDueNs() > graceEndNs {
			return // only retries are left whose time will not come
		}
		if !r.waitUntil(ctx, min(graceEndNs, r.pendingDueNs())) {
			return
		}
		r.collectDeactivated()
		r.releasePending(r.sinceStart())
	}
}

// waitUntil sleeps towards dueNs and may return early: the caller looks again.
// false means that ctx ended.
func (r *run) waitUntil(ctx context.Context, dueNs int64) bool {
	due := r.start.Add(time.Duration(dueNs))
	wait := time.Until(due) - fineWait
	if wait <= 0 {
		if ctx.Err() == nil {
			r.cfg.SleepUntil(due)
		}
		return ctx.Err() == nil
	}
	wait = min(wait, heartbeat)
	began := time.Now()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-r.changed:
	case <-timer.C:
		r.outcome.stoodStill(time.Since(began) - wait)
	}
	return ctx.Err() == nil
}

// pendingDueNs is when the first pending ticket is due; far away without one.
func (r *run) pendingDueNs() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) == 0 {
		return math.MaxInt64
	}
	return r.pending[0].dueNs
}

// idle reports whether nothing is pending or under way. A worker plans its
// retry before it counts as finished.
func (r *run) idle() bool { return r.underWay.Load() == 0 && r.pendingDueNs() == math.MaxInt64 }

// releasePending releases the pending tickets that are due at nowNs.
func (r *run) releasePending(nowNs int64) {
	for {
		r.mu.Lock()
		if len(r.pending) == 0 || r.pending[0].dueNs > nowNs {
			r.mu.Unlock()
			return
		}
		t := heap.Pop(&r.pending).(ticket)
		r.mu.Unlock()
		r.release(t)
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
	first := ticket{index: index, intentDueNs: dueNs, dueNs: dueNs, partner: uint16(r.it.Partner)}
	if r.it.DuplicateAfterNs > 0 {
		duplicate := first
		duplicate.dueNs, duplicate.duplicate = dueNs+r.it.DuplicateAfterNs, true
		if r.plan(duplicate) != intent.NoReason {
			r.outcome.DuplicatesDropped++
		}
	}
	r.release(first)
}

// release hands a ticket whose time has come to its partner.
func (r *run) release(t ticket) {
	t.readyNs = r.sinceStart()
	if late := time.Duration(t.readyNs - t.dueNs); t.first() {
		r.outcome.Ready(late)
	} else {
		r.outcome.stoodStill(late)
	}
	r.underWay.Add(1)
	if lost, reason := r.lanes[t.partner].offer(t); reason != intent.NoReason {
		r.notSent(&lost, reason)
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
	if t.attempt > 0 || !r.cfg.Intents.Legitimate(t.index) {
		return
	}
	r.timeline.add(t.dueNs, 0, false)
	if t.dueNs >= int64(r.cfg.Warmup) {
		r.recorder.neverSent(int(t.partner))
	}
}

// plan makes a ticket pending, or says why it cannot.
func (r *run) plan(t ticket) intent.Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.lanes[t.partner].deactivated.Load():
		return intent.Deactivated
	case r.closing:
		return intent.RunEnded
	case len(r.pending) >= maxPending:
		return intent.QueueFull
	}
	heap.Push(&r.pending, t)
	if r.pending[0] == t {
		r.signal()
	}
	return intent.NoReason
}

// retry is called by workers.
func (r *run) retry(t ticket) {
	if reason := r.plan(t); reason != intent.NoReason {
		r.books.gaveUp(&t, reason)
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
