package netem

import (
	"bytes"
	"fmt"

	"github.com/postbench/postbench/internal/dist"
)

// MaxDelayed is how many datagrams a relay with a delay has on their way at
// once: 85 ms of 190,000 a second. Beyond it they are lost, and counted as
// Overflowed.
const MaxDelayed = 1 << 14

// delayed is a delivery on its way.
type delayed struct {
	dueNs   int64
	peer    uint64
	payload []byte
}

// delayLine keeps deliveries for as long as a path takes, in order. It has no
// clock.
type delayLine struct {
	delayNs int64
	jitter  dist.Dist
	seed    uint64

	queue  []delayed // in order; queue[head:] are on their way
	head   int
	count  uint64 // that were pushed
	lastNs int64  // when the last of them is due
}

func newDelayLine(config Config) (*delayLine, error) {
	if config.DelayNs < 0 || config.DelayNs > MaxRTTNs {
		return nil, fmt.Errorf("%w: a delay of %d ns, expected 0 to %d", ErrConfig, config.DelayNs, int64(MaxRTTNs))
	}
	return &delayLine{delayNs: config.DelayNs, jitter: config.Jitter, seed: config.Seed}, nil
}

// idle is whether the line delays nothing.
func (l *delayLine) idle() bool { return l.delayNs == 0 && l.jitter.Zero() }

func (l *delayLine) len() int { return len(l.queue) - l.head }

// push copies a peer's payload that is sent at nowNs; false if the line is full.
func (l *delayLine) push(nowNs int64, peer uint64, payload []byte) bool {
	if l.len() == MaxDelayed {
		return false
	}
	if l.head > 0 && len(l.queue) == cap(l.queue) {
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	l.count++
	l.lastNs = max(l.lastNs, nowNs+l.delayNs+l.jitter.At(chance(l.seed, streamDatagram, l.count, 1)))
	l.queue = append(l.queue, delayed{l.lastNs, peer, bytes.Clone(payload)})
	return true
}

// pop is the next delivery that has arrived until nowNs; false if there is none.
func (l *delayLine) pop(nowNs int64) (d delayed, ok bool) {
	if l.deadline() > nowNs {
		return delayed{}, false
	}
	d = l.queue[l.head]
	l.queue[l.head] = delayed{}
	if l.head++; l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
	}
	return d, true
}

// deadline is when pop has something; neverNs if nothing is on its way.
func (l *delayLine) deadline() int64 {
	if l.len() == 0 {
		return neverNs
	}
	return l.queue[l.head].dueNs
}
