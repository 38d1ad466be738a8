// Package schedule decides when requests are due: at a constant rate, as a
// Poisson process, along a rate that changes, in bursts, or as recorded in a
// traffic file. A schedule is a value
// without a clock. Whoever drives it compares its due times with real time and
// keeps them as the start of every latency.
package schedule

import (
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// MaxRatePerS is the highest rate that can be asked for.
	MaxRatePerS = 1e6
	// MaxIntents is the highest number of due times in one schedule.
	MaxIntents = 1 << 32

	nsPerS = 1_000_000_000
)

var (
	// ErrRate says that a rate is no number above 0 up to MaxRatePerS.
	ErrRate = errors.New("impossible rate")
	// ErrDuration says that a duration is not above 0.
	ErrDuration = errors.New("impossible duration")
	// ErrTooManyIntents says that rate × duration exceeds MaxIntents.
	ErrTooManyIntents = errors.New("too many requests")
)

// Schedule hands out due times in order.
//
// Next returns the next due time in ns since the run's start, never smaller
// than the one before it. ok is false after the last, from then on for ever.
// A Schedule belongs to one goroutine.
type Schedule interface {
	Next() (dueNs int64, ok bool)
}

// Count consumes s and returns how many due times it still had.
func Count(s Schedule) int64 {
	var n int64
	for {
		if _, ok := s.Next(); !ok {
			return n
		}
		n++
	}
}

// Validate tells whether Constant and Poisson accept these arguments. The
// error wraps ErrRate, ErrDuration or ErrTooManyIntents.
func Validate(ratePerS float64, durationNs int64) error {
	if !(ratePerS > 0 && ratePerS <= MaxRatePerS) {
		return fmt.Errorf("%w: %v requests/s; it must be above 0 and at most %d/s", ErrRate, ratePerS, int64(MaxRatePerS))
	}
	if durationNs <= 0 {
		return fmt.Errorf("%w: %v; it must be above 0", ErrDuration, time.Duration(durationNs))
	}
	return checkIntents(ratePerS, durationNs)
}

// checkIntents keeps a schedule of this mean rate within MaxIntents.
func checkIntents(meanRatePerS float64, durationNs int64) error {
	expected := intents(meanRatePerS, durationNs)
	// A Poisson count scatters by the root of its mean. Ten deviations of room
	// keep every draw below the limit.
	if expected+10*math.Sqrt(expected) > MaxIntents {
		return fmt.Errorf("%w: %v/s for %v makes %.4g, about %.4g are possible; lower the rate or the duration",
			ErrTooManyIntents, meanRatePerS, time.Duration(durationNs), expected, float64(MaxIntents))
	}
	return nil
}

func intents(ratePerS float64, durationNs int64) float64 {
	return ratePerS * (float64(durationNs) / nsPerS)
}
