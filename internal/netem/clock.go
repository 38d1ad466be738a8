package netem

import (
	"container/heap"
	"context"
	"net"
	"sync"
	"time"
)

// appointment is something that a clock is to call at a time.
type appointment struct {
	dueNs int64
	index int // in the clock's heap, plus 1; 0 if not in it
	call  func(nowNs int64)
}

// clock calls many at their times with one goroutine and one alarm. Times are
// ns since its start.
type clock struct {
	start time.Time
	alarm alarm
	free  func()
	ended chan struct{} // closed by stop
	done  chan struct{} // closed when nothing is called any more

	mu      sync.Mutex
	due     appointments
	armedNs int64 // when the alarm goes off; neverNs if it is not set
	stopped bool
}

func newClock(start time.Time) *clock {
	c := &clock{start: start, ended: make(chan struct{}), done: make(chan struct{}), armedNs: neverNs}
	c.alarm, c.free = newAlarm()
	go c.run()
	return c
}

func (c *clock) now() int64 { return time.Since(c.start).Nanoseconds() }

// at is a wall clock's time here; 0 for the zero time.
func (c *clock) at(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, t.Sub(c.start).Nanoseconds())
}

// stop ends the clock: what is not called yet is never called. It returns when
// no call is running.
func (c *clock) stop() {
	c.mu.Lock()
	first := !c.stopped
	c.stopped = true
	if first {
		close(c.ended)
		c.alarm.set(0)
	}
	c.mu.Unlock()
	<-c.done
}

// schedule sets when a is called, once, instead of what was set before;
// neverNs: not at all.
func (c *clock) schedule(a *appointment, dueNs int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped:
		return
	case dueNs == neverNs:
		if a.index > 0 {
			heap.Remove(&c.due, a.index-1)
		}
		return
	case a.index > 0:
		if a.dueNs == dueNs {
			return
		}
		a.dueNs = dueNs
		heap.Fix(&c.due, a.index-1)
	default:
		a.dueNs = dueNs
		heap.Push(&c.due, a)
	}
	if dueNs < c.armedNs {
		c.arm(dueNs)
	}
}

func (c *clock) arm(dueNs int64) {
	c.armedNs = dueNs
	c.alarm.set(dueNs - c.now())
}

func (c *clock) run() {
	defer close(c.done)
	for {
		a := c.next()
		if a == nil {
			return
		}
		a.call(c.now())
	}
}

// next waits for the next appointment that is due; nil at the end.
func (c *clock) next() *appointment {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.stopped {
		if len(c.due) > 0 && c.due[0].dueNs <= c.now() {
			return heap.Pop(&c.due).(*appointment)
		}
		c.armedNs = neverNs
		if len(c.due) > 0 {
			c.arm(c.due[0].dueNs)
		}
		c.mu.Unlock()
		c.alarm.wait()
		c.mu.Lock()
	}
	c.free()
	return nil
}

// sleeper waits for times of a clock, one goroutine's.
type sleeper struct {
	clock *clock
	wake  chan struct{}
	appointment
}

func newSleeper(c *clock) *sleeper {
	s := &sleeper{clock: c, wake: make(chan struct{}, 1)}
	s.call = func(int64) {
		select {
		case s.wake <- struct{}{}:
		default: // it is awake already
		}
	}
	return s
}

// until waits for dueNs. The error is ctx's, or net.ErrClosed if the clock ends.
func (s *sleeper) until(ctx context.Context, dueNs int64) error {
	if s.clock.now() >= dueNs {
		return ctx.Err()
	}
	s.clock.schedule(&s.appointment, dueNs)
	defer s.clock.schedule(&s.appointment, neverNs)
	for s.clock.now() < dueNs {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.clock.ended:
			return net.ErrClosed
		}
	}
	return nil
}

// appointments is a heap, the earliest first.
type appointments []*appointment

// Len, Less, Swap, Push and Pop are heap.Interface's.
func (h appointments) Len() int           { return len(h) }
func (h appointments) Less(i, j int) bool { return h[i].dueNs < h[j].dueNs }
func (h appointments) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *appointments) Push(x any) {
	a := x.(*appointment)
	*h = append(*h, a)
	a.index = len(*h)
}

func (h *appointments) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	a.index = 0
	return a
}
