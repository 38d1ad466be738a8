//go:build !linux

package loadgen

import "time"

// spinTail covers the coarseness of the runtime's timers.
const spinTail = 1200 * time.Microsecond

// SleepUntil sleeps with the runtime's timer and spins through the rest.
func SleepUntil(t time.Time) {
	if wait := time.Until(t) - spinTail; wait > 0 {
		time.Sleep(wait)
	}
	for time.Until(t) > 0 {
	}
}
