package loadgen

import (
	"sync"
	"sync/atomic"

	"github.com/postbench/postbench/internal/intent"
)

// lane is a partner at work: its connections and what waits for one.
type lane struct {
	run     *run
	partner int
	config  *Partner
	limit   int // connections

	mu      sync.Mutex
	idle    []*worker // most recently used last: warm connections first
	workers []*worker
	queue   ticketQueue
	depth   depthCurve
	breaker intent.BreakerState
	// limitWaits counts the attempts that found the generator's own limit used
	// up.
	limitWaits int64
	// deactivated is set when the breaker opens, under mu and for good. No
	// ticket gets to a connection afterwards; the run's loop collects them.
	deactivated atomic.Bool
}

func newLane(r *run, partner int) *lane {
	config := &r.cfg.Partners[partner]
	return &lane{run: r, partner: partner, config: config, limit: config.connectionLimit(), queue: ticketQueue{limit: config.Queue}}
}

// offer gives a ready attempt to a free connection, opens one, or queues it.
// It never blocks. A reason other than NoReason is why the attempt lost was
// lost: the one offered or, if the partner is like that, the oldest one queued.
func (l *lane) offer(t ticket) (lost ticket, reason intent.Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deactivated.Load() {
		return t, intent.Deactivated
	}
	t.slotFreeNs = t.readyNs
	if n := len(l.idle); n > 0 {
		w := l.idle[n-1]
		l.idle = l.idle[:n-1]
		w.tickets <- t // capacity 1 and the worker is idle: never blocks
		return ticket{}, intent.NoReason
	}
	if len(l.workers) < l.limit {
		w := newWorker(l, len(l.workers))
		l.workers = append(l.workers, w)
		w.tickets <- t
		l.run.goroutines.Go(w.serveAll)
		return ticket{}, intent.NoReason
	}
	if l.config.unbounded() {
		l.limitWaits++
	}
	return l.enqueue(t)
}

// enqueue is the part of offer for a partner without a free connection.
func (l *lane) enqueue(t ticket) (lost ticket, reason intent.Reason) {
	if !l.queue.push(t) {
		oldest, ok := ticket{}, false
		if l.config.DropOldest {
			oldest, ok = l.queue.pop()
		}
		if !ok {
			return t, intent.QueueFull
		}
		l.queue.push(t) // there is room now
		return oldest, intent.QueueFull
	}
	l.depth.changed(t.readyNs, l.queue.count)
	return ticket{}, intent.NoReason
}

// next gives a worker that became free at freeNs what waits longest, or marks
// it idle.
func (l *lane) next(w *worker, freeNs int64) (ticket, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deactivated.Load() {
		return ticket{}, false // nobody will offer this worker anything either
	}
	t, ok := l.queue.pop()
	if !ok {
		l.idle = append(l.idle, w)
		return ticket{}, false
	}
	l.depth.changed(freeNs, l.queue.count)
	// The partner would have opened another connection: the wait for ours is
	// not its lag_queue.
	if !l.config.unbounded() {
		t.slotFreeNs = max(t.readyNs, freeNs)
	}
	return t, true
}

// ended tells the partner's breaker of an attempt and the run's loop when that
// was one too many.
func (l *lane) ended(atNs int64, outcome intent.Outcome) {
	if l.config.Breaker.Failures == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.breaker.Ended(&l.config.Breaker, atNs, outcome) && !l.deactivated.Swap(true) {
		l.run.deactivated.Store(true)
		l.run.signal()
	}
}

// abandon empties the queue at nowNs.
func (l *lane) abandon(nowNs int64) []ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []ticket
	for t, ok := l.queue.pop(); ok; t, ok = l.queue.pop() {
		left = append(left, t)
	}
	l.depth.changed(nowNs, 0)
	return left
}

// stop ends every Send under way and lets the workers end. Nothing may be
// offered afterwards.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.workers {
		w.sender.Close() // its error is the connection's, which nobody needs any more
		close(w.tickets)
	}
}
