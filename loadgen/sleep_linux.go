package loadgen

import (
	"time"

	"golang.org/x/sys/unix"
)

// spinTail is how long before the wanted time the kernel is asked to wake us:
// the default timer slack of 50 µs and a wake-up. A Go timer would round up to
// about 1 ms on an idle machine (golang/go#44343).
const spinTail = 90 * time.Microsecond

// SleepUntil sleeps in the kernel and spins through the rest, so that it
// returns within a few microseconds of t without keeping a core busy.
func SleepUntil(t time.Time) {
	if wait := time.Until(t) - spinTail; wait > 0 {
		left := unix.NsecToTimespec(int64(wait))
		// An interrupted sleep is shorter; the spin makes up for it.
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &left, nil)
	}
	for time.Until(t) > 0 {
	}
}
