package cost

import "time"

// runtimeClock sleeps with the runtime's timers.
type runtimeClock struct{ start time.Time }

func newRuntimeClock() *runtimeClock { return &runtimeClock{time.Now()} }

// NowNs is the time since the clock's start, never 0.
func (c *runtimeClock) NowNs() int64 { return int64(time.Since(c.start)) + 1 }

// SleepUntil returns at ns, or when cut is closed.
func (c *runtimeClock) SleepUntil(ns int64, cut <-chan struct{}) {
	timer := time.NewTimer(time.Duration(ns - c.NowNs()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-cut:
	}
}
