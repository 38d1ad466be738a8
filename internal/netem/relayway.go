package netem

import (
	"sync"
	"time"
)

// way is one direction of a relay: a core, a delay line, and the clock that
// lets go of what either holds.
type way struct {
	write func(peer uint64, payload []byte) error
	start time.Time

	mu     sync.Mutex // guards what follows
	core   *Core
	line   *delayLine
	failed Counts // what the relay itself could not do
	clock  *clock // nil before run
	next   appointment
}

func newWay(config Config, stream uint64, start time.Time) (*way, error) {
	core, err := newCore(config, stream)
	if err != nil {
		return nil, err
	}
	if stream != udpStream {
		config.Seed ^= stream // jitter of its own, too
	}
	line, err := newDelayLine(config)
	if err != nil {
		return nil, err
	}
	return &way{start: start, core: core, line: line}, nil
}

// run has the clock send what was held back or delayed for long enough.
func (w *way) run(clock *clock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next.call = func(nowNs int64) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.deliver(nowNs, w.core.Expire(nowNs))
		w.sendArrived(nowNs)
		w.arm()
	}
	w.clock = clock
}

// take passes a datagram on, or not, as the core decides.
func (w *way) take(peer uint64, datagram []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	nowNs := time.Since(w.start).Nanoseconds()
	w.deliver(nowNs, w.core.StepOf(nowNs, peer, datagram))
	w.arm()
}

// stranger counts a datagram that is not of this way.
func (w *way) stranger() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed.Strangers++
}

// finish sends all that is held back or delayed. The clock has stopped.
func (w *way) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deliver(time.Since(w.start).Nanoseconds(), w.core.Flush())
	w.sendArrived(neverNs - 1)
}

// deliver sends at once or puts on the line.
func (w *way) deliver(nowNs int64, deliveries []Delivery) {
	for _, d := range deliveries {
		switch {
		case w.line.idle():
			w.send(d.Peer, d.Payload)
		case !w.line.push(nowNs, d.Peer, d.Payload):
			w.failed.Overflowed++
			w.failed.OverflowedRecords += int64(w.core.records(d.Payload))
		}
	}
}

func (w *way) send(peer uint64, payload []byte) {
	if err := w.write(peer, payload); err != nil {
		w.failed.SendFailed++
		w.failed.SendFailedRecords += int64(w.core.records(payload))
	}
}

func (w *way) sendArrived(nowNs int64) {
	for {
		d, ok := w.line.pop(nowNs)
		if !ok {
			return
		}
		w.send(d.peer, d.payload)
	}
}

func (w *way) arm() {
	dueNs := w.line.deadline()
	if heldNs, ok := w.core.Deadline(); ok {
		dueNs = min(dueNs, heldNs)
	}
	w.clock.schedule(&w.next, dueNs)
}

func (w *way) counts() Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := w.core.Counts()
	counts.SendFailed, counts.SendFailedRecords = w.failed.SendFailed, w.failed.SendFailedRecords
	counts.Overflowed, counts.OverflowedRecords = w.failed.Overflowed, w.failed.OverflowedRecords
	counts.Strangers = w.failed.Strangers
	counts.Delayed = int64(w.line.len())
	counts.Forwarded -= counts.SendFailed + counts.Overflowed + counts.Delayed
	return counts
}
