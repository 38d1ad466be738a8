package loadgen

import "sync"

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
	// deepest is the most that ever waited.
	deepest int
	// limitWaits counts the attempts that found the generator's own limit used
	// up.
	limitWaits int64
}

func newLane(r *run, partner int) *lane {
	config := &r.cfg.Partners[partner]
	return &lane{run: r, partner: partner, config: config, limit: config.connectionLimit(), queue: ticketQueue{limit: config.Queue}}
}

// offer gives a ready attempt to a free connection, opens one, or queues it.
// It never blocks; false means that the queue is full.
func (l *lane) offer(t ticket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.slotFreeNs = t.readyNs
	if n := len(l.idle); n > 0 {
		w := l.idle[n-1]
		l.idle = l.idle[:n-1]
		w.tickets <- t // capacity 1 and the worker is idle: never blocks
		return true
	}
	if len(l.workers) < l.limit {
		w := newWorker(l, len(l.workers))
		l.workers = append(l.workers, w)
		w.tickets <- t
		l.run.goroutines.Go(w.serveAll)
		return true
	}
	if l.config.unbounded() {
		l.limitWaits++
	}
	queued := l.queue.push(t)
	l.deepest = max(l.deepest, l.queue.count)
	return queued
}

// next gives a worker that became free at freeNs what waits longest, or marks
// it idle.
func (l *lane) next(w *worker, freeNs int64) (ticket, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.queue.pop()
	if !ok {
		l.idle = append(l.idle, w)
		return ticket{}, false
	}
	// The partner would have opened another connection: the wait for ours is
	// not its lag_queue.
	if !l.config.unbounded() {
		t.slotFreeNs = max(t.readyNs, freeNs)
	}
	return t, true
}

// abandon empties the queue.
func (l *lane) abandon() []ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []ticket
	for t, ok := l.queue.pop(); ok; t, ok = l.queue.pop() {
		left = append(left, t)
	}
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
