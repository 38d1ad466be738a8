package consumer

import (
	"context"
	"time"
)

const (
	// DefaultEvery is how often the lanes are visited, as the post has it.
	DefaultEvery = 10 * time.Millisecond
	// DrainLimit is how long a process that was told to stop goes on sending
	// what the lanes hold. What is left then is sent after the next start.
	DrainLimit = 4 * time.Second
)

// Loop is the life of a process that empties lanes. Its functions are called one
// after the other; both return how many slots are not free.
type Loop[E any] struct {
	Every  time.Duration // from Tick to Tick
	Tick   func() (left int64)
	Events <-chan E // what happens between ticks; nil if nothing does
	Take   func(E) (left int64)
}

// Run goes on until ctx ends, then until no slot is left, at most for DrainLimit.
// It keeps its pace to the end: a burst of all that is left would overrun central.
func (l Loop[E]) Run(ctx context.Context) (left int64) {
	ticker := time.NewTicker(l.Every)
	defer ticker.Stop()
	if ctx.Err() == nil {
		l.Tick()
	}
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			l.Tick()
		case e := <-l.Events:
			l.Take(e)
		case <-ctx.Done():
		}
	}
	limit := time.NewTimer(DrainLimit)
	defer limit.Stop()
	for left = l.Tick(); left > 0; {
		select {
		case <-ticker.C:
			left = l.Tick()
		case e := <-l.Events:
			left = l.Take(e)
		case <-limit.C:
			return left
		}
	}
	return 0
}
