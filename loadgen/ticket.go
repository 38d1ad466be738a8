package loadgen

import "container/heap"

// ticket is one attempt on its way from the schedule to a connection. Times
// are ns since the run's start.
type ticket struct {
	index       uint64
	intentDueNs int64 // of the first attempt; all attempts are signed for it
	dueNs       int64
	readyNs     int64
	slotFreeNs  int64
	partner     uint16
	attempt     uint8 // 0 = first; retries count up
	duplicate   bool  // a deliberate further attempt; never retried
}

// first reports whether this is the attempt that the response latency times.
func (t *ticket) first() bool { return t.attempt == 0 && !t.duplicate }

// ticketHeap orders pending tickets by due time.
type ticketHeap []ticket

func (h ticketHeap) Len() int           { return len(h) }
func (h ticketHeap) Less(i, j int) bool { return h[i].dueNs < h[j].dueNs }
func (h ticketHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *ticketHeap) Push(x any) { *h = append(*h, x.(ticket)) }

// Pop implements heap.Interface.
func (h *ticketHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

var _ heap.Interface = (*ticketHeap)(nil)

// ticketQueue is a first-in first-out ring that grows up to a limit.
type ticketQueue struct {
	items []ticket
	head  int
	count int
	limit int
}

// push refuses when the queue is full.
func (q *ticketQueue) push(t ticket) bool {
	if q.count == q.limit {
		return false
	}
	if q.count == len(q.items) {
		q.grow()
	}
	q.items[(q.head+q.count)%len(q.items)] = t
	q.count++
	return true
}

func (q *ticketQueue) pop() (ticket, bool) {
	if q.count == 0 {
		return ticket{}, false
	}
	t := q.items[q.head]
	q.head = (q.head + 1) % len(q.items)
	q.count--
	return t, true
}

func (q *ticketQueue) grow() {
	bigger := make([]ticket, min(max(16, 2*len(q.items)), q.limit))
	for i := range q.count {
		bigger[i] = q.items[(q.head+i)%len(q.items)]
	}
	q.items, q.head = bigger, 0
}
