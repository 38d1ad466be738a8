package acked

// queue is first in, first out, of a fixed size that is never exceeded: no
// place of a record is in a queue twice.
type queue struct {
	refs []ref
	head int
	size int
}

func newQueue(size int) queue { return queue{refs: make([]ref, size)} }

func (q *queue) len() int { return q.size }

func (q *queue) push(r ref) {
	if q.size == len(q.refs) {
		panic("BUG: acked: more records are queued than there are")
	}
	q.refs[(q.head+q.size)%len(q.refs)] = r
	q.size++
}

func (q *queue) front() ref { return q.refs[q.head] }

func (q *queue) pop() {
	q.head = (q.head + 1) % len(q.refs)
	q.size--
}
