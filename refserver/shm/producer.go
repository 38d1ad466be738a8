package shm

import "sync/atomic"

// maxPushAttempts bounds how often TryPush loses a position to another goroutine
// before it calls the lane full. A damaged word looks like that too.
const maxPushAttempts = 4096

// Producer pushes into a lane.
type Producer struct {
	ring      *Ring
	epoch     uint32
	highWater int64
}

// Producer returns the lane's producing side, which only the holder of its lock
// may have. highWater is the backlog at which a push is refused; 0 or less, and
// anything above Slots(), means Slots().
func (r *Ring) Producer(highWater int) *Producer {
	if highWater <= 0 || highWater > r.Slots() {
		highWater = r.Slots()
	}
	return &Producer{ring: r, epoch: r.Epoch(), highWater: int64(highWater)}
}

// TryPush copies the payload, at most MaxPayloadBytes, into a slot. nil means that
// the record is committed: it survives this process. The error is ErrFull or
// ErrTooLong, and then nothing has happened. It neither blocks nor allocates, and
// any number of goroutines may call it.
func (p *Producer) TryPush(kind uint16, payload []byte) error {
	if len(payload) > MaxPayloadBytes {
		return ErrTooLong
	}
	pos, ok := p.reserve()
	if !ok {
		return ErrFull
	}
	p.ring.fill(pos, p.epoch, kind, payload)
	p.ring.store(p.ring.offset(pos), pos+1)
	return nil
}

// reserve takes the position at the tail.
func (p *Producer) reserve() (pos uint64, ok bool) {
	r := p.ring
	for range maxPushAttempts {
		tail := r.load(tailOffset)
		// Negative if others pushed, and the consumer freed, since the last line.
		if int64(tail-r.load(headOffset)) >= p.highWater {
			return 0, false
		}
		switch ahead := int64(r.load(r.offset(tail)) - tail); {
		case ahead < 0:
			return 0, false // still a record of the lap before
		case ahead > 0:
			continue // somebody else's by now
		}
		if atomic.CompareAndSwapUint64(r.word(tailOffset), tail, tail+1) {
			r.noteStore()
			return tail, true
		}
	}
	return 0, false
}
