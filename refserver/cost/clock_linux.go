package cost

import (
	"container/heap"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// preciseClock wakes sleepers by one timer of the kernel, which the runtime's
// poller waits for like for a socket: the runtime's own timers are up to 1 ms
// late on an idle machine.
type preciseClock struct {
	start time.Time
	timer *os.File

	mu       sync.Mutex // guards what follows
	sleepers sleepers
	armedNs  int64 // 0 while the timer is off
	broken   bool  // closed
}

// sleeper is a goroutine that waits. There are never more than requests in work.
type sleeper struct {
	atNs  int64
	woken chan struct{}
	place int // in the heap; -1 outside
}

// newPreciseClock starts the clock, which Close ends.
func newPreciseClock() (*preciseClock, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	c := &preciseClock{start: time.Now(), timer: os.NewFile(uintptr(fd), "timer")}
	go c.run()
	return c, nil
}

// NowNs is the time since the clock's start, never 0.
func (c *preciseClock) NowNs() int64 { return int64(time.Since(c.start)) + 1 }

// SleepUntil returns at ns, or when cut or the clock is closed.
func (c *preciseClock) SleepUntil(ns int64, cut <-chan struct{}) {
	s := &sleeper{atNs: ns, woken: make(chan struct{})}
	c.mu.Lock()
	if c.broken || ns <= c.NowNs() {
		c.mu.Unlock()
		return
	}
	heap.Push(&c.sleepers, s)
	c.arm()
	c.mu.Unlock()
	select {
	case <-s.woken:
		return
	case <-cut:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.place >= 0 {
		heap.Remove(&c.sleepers, s.place)
	}
}

// Close ends all sleeps.
func (c *preciseClock) Close() error {
	err := c.timer.Close() // ends run
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	c.wake(1<<63 - 1)
	return err
}

// run wakes who is due whenever the timer fires.
func (c *preciseClock) run() {
	var expirations [8]byte // how often it fired does not matter
	for {
		if _, err := c.timer.Read(expirations[:]); err != nil {
			return // closed
		}
		c.mu.Lock()
		c.armedNs = 0
		c.wake(c.NowNs())
		c.arm()
		c.mu.Unlock()
	}
}

// wake needs the lock.
func (c *preciseClock) wake(nowNs int64) {
	for len(c.sleepers) > 0 && c.sleepers[0].atNs <= nowNs {
		close(heap.Pop(&c.sleepers).(*sleeper).woken)
	}
}

// arm sets the timer to the first sleeper, if it is not set to an earlier one
// already. It needs the lock.
func (c *preciseClock) arm() {
	if c.broken || len(c.sleepers) == 0 || c.armedNs != 0 && c.armedNs <= c.sleepers[0].atNs {
		return
	}
	c.armedNs = c.sleepers[0].atNs
	wait := unix.NsecToTimespec(max(c.armedNs-c.NowNs(), 1)) // 0 would switch it off
	raw, err := c.timer.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			if e := unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: wait}, nil); e != nil {
				panic("BUG: cost: set the timer: " + e.Error())
			}
		})
	}
	if err != nil { // closed at this moment
		c.armedNs = 0
	}
}

// sleepers is a heap: the first to wake is first.
type sleepers []*sleeper

func (l sleepers) Len() int           { return len(l) }
func (l sleepers) Less(i, j int) bool { return l[i].atNs < l[j].atNs }
func (l sleepers) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].place, l[j].place = i, j
}

// Push is heap.Interface's.
func (l *sleepers) Push(x any) {
	s := x.(*sleeper)
	s.place = len(*l)
	*l = append(*l, s)
}

// Pop is heap.Interface's.
func (l *sleepers) Pop() any {
	last := len(*l) - 1
	s := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	s.place = -1
	return s
}
