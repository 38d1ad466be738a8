//go:build !linux

package netem

// newAlarm makes one and what frees it.
func newAlarm() (alarm, func()) {
	a := newRuntimeAlarm()
	return a, func() { a.timer.Stop() }
}
