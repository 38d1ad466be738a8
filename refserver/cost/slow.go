package cost

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// MaxSlow bounds how much later a slow server answers, and for how long it is
// slow.
const MaxSlow = time.Hour

// ErrSlow is wrapped by Slow's error.
var ErrSlow = errors.New("slow")

// slow is the fault that holds every request back while it lasts.
type slow struct {
	mu     sync.RWMutex
	addNs  int64
	tillNs int64         // of the clock; 0 means that nothing was ever slow
	ended  chan struct{} // closed when another fault takes its place
}

// CheckSlow refuses what Slow refuses. The error wraps ErrSlow.
func CheckSlow(addNs, forNs int64) error {
	if addNs < 0 || forNs < 0 || addNs > int64(MaxSlow) || forNs > int64(MaxSlow) {
		return fmt.Errorf("%w: %v later for %v, expected neither below 0 or above %v",
			ErrSlow, time.Duration(addNs), time.Duration(forNs), MaxSlow)
	}
	return nil
}

// Slow makes every request that comes within the next forNs wait addNs at
// first, whatever it waits for later. It replaces an earlier one, and ends the
// waits of that; 0 for both only does that. The error wraps ErrSlow.
func (s *Stages) Slow(addNs, forNs int64) error {
	if err := CheckSlow(addNs, forNs); err != nil {
		return err
	}
	s.slow.mu.Lock()
	defer s.slow.mu.Unlock()
	if s.slow.ended != nil {
		close(s.slow.ended)
	}
	s.slow.addNs, s.slow.tillNs, s.slow.ended = addNs, s.clock.NowNs()+forNs, make(chan struct{})
	return nil
}

// Idle tells whether nothing costs anything now: no stage, no Slow.
func (s *Stages) Idle() bool {
	s.slow.mu.RLock()
	defer s.slow.mu.RUnlock()
	return len(s.stages) == 0 && (s.slow.tillNs == 0 || s.clock.NowNs() >= s.slow.tillNs)
}

// wait tells whether it waited: not while nothing is slow. The request is not refused, and
// goes on when its client has gone: a slow server gets to it all the same.
func (s *slow) wait(clock Clock) bool {
	s.mu.RLock()
	addNs, tillNs, ended := s.addNs, s.tillNs, s.ended
	s.mu.RUnlock()
	if tillNs == 0 {
		return false
	}
	nowNs := clock.NowNs()
	if nowNs >= tillNs {
		return false
	}
	clock.SleepUntil(nowNs+addNs, ended)
	return true
}
