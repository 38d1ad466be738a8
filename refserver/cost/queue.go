package cost

import "container/list"

// arrival is what becomes of one who comes.
type arrival int

const (
	begins  arrival = iota // a worker was free
	waits                  // in the queue
	refused                // the queue is full
)

// ticket is one request at one stage.
type ticket struct {
	serviceNs          int64 // what it needs of a worker
	arrivedNs, beganNs int64
	place              *list.Element // in the queue; nil outside
	left               bool
	began              chan struct{} // closed by the shell when a worker is its own; nil if it never waited
}

// queue is one stage: workers, and a line in front of them, first come, first
// served. It has no clock, and is one goroutine's at a time.
type queue struct {
	workers, limit int
	busy           int
	waiting        list.List // of *ticket
	truth          StageTruth
}

func (q *queue) arrive(nowNs int64, t *ticket) arrival {
	t.arrivedNs = nowNs
	switch {
	case q.busy < q.workers:
		q.begin(nowNs, t)
		return begins
	case q.waiting.Len() >= q.limit:
		q.truth.Refused++
		return refused
	}
	t.place = q.waiting.PushBack(t)
	q.truth.MaxQueue = max(q.truth.MaxQueue, int64(q.waiting.Len()))
	return waits
}

func (q *queue) begin(nowNs int64, t *ticket) {
	q.busy++
	t.beganNs = nowNs
	q.truth.Count++
	q.truth.WaitNs += nowNs - t.arrivedNs
	q.truth.ServedNs += t.serviceNs
}

// giveUp takes the ticket out of the line; false means that it has begun.
func (q *queue) giveUp(t *ticket) bool {
	if t.place == nil {
		return false
	}
	q.waiting.Remove(t.place)
	t.place = nil
	q.truth.GaveUp++
	return true
}

// leave frees the ticket's worker for the next in the line, who begins now and
// is returned; nil if nobody waits.
func (q *queue) leave(nowNs int64, t *ticket) (next *ticket) {
	if t.left || t.place != nil {
		panic("BUG: cost: a worker was left twice, or before it was got")
	}
	t.left = true
	q.truth.HeldNs += nowNs - t.beganNs
	q.busy--
	first := q.waiting.Front()
	if first == nil {
		return nil
	}
	next = q.waiting.Remove(first).(*ticket)
	next.place = nil
	q.begin(nowNs, next)
	return next
}
