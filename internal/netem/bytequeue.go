package netem

// keepBytes is how large an empty queue's buffer may be to be kept: most
// connections carry some hundred bytes each way.
const keepBytes = 16 << 10

// byteQueue is bytes in order. Its bounds are its user's.
type byteQueue struct {
	buffer []byte
	head   int
}

func (q *byteQueue) len() int { return len(q.buffer) - q.head }

func (q *byteQueue) push(b []byte) {
	if q.head > 0 && len(q.buffer)+len(b) > cap(q.buffer) {
		n := copy(q.buffer, q.buffer[q.head:])
		q.buffer, q.head = q.buffer[:n], 0
	}
	q.buffer = append(q.buffer, b...)
}

// front is the first n bytes, valid until the next push or drop.
func (q *byteQueue) front(n int) []byte { return q.buffer[q.head : q.head+n] }

func (q *byteQueue) drop(n int) {
	q.head += n
	if q.head < len(q.buffer) {
		return
	}
	q.buffer, q.head = q.buffer[:0], 0
	if cap(q.buffer) > keepBytes {
		q.buffer = nil
	}
}
