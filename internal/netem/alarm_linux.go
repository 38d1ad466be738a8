package netem

import (
	"os"

	"golang.org/x/sys/unix"
)

// timerAlarm is a timerfd in the runtime's own poller: the kernel wakes it to
// the microsecond, where the runtime's timers are rounded up to the
// millisecond of epoll_wait, and no thread of ours sleeps in a system call.
type timerAlarm struct {
	fd   int
	file *os.File
}

// newAlarm makes one and what frees it. Without file descriptors left it is
// the runtime's.
func newAlarm() (alarm, func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		a := newRuntimeAlarm()
		return a, func() { a.timer.Stop() }
	}
	a := timerAlarm{fd, os.NewFile(uintptr(fd), "timerfd")}
	return a, func() { _ = a.file.Close() }
}

func (a timerAlarm) set(delayNs int64) {
	value := unix.ItimerSpec{Value: unix.NsecToTimespec(max(delayNs, 1))} // 0 would switch it off
	if err := unix.TimerfdSettime(a.fd, 0, &value, nil); err != nil {
		panic("BUG: netem: timerfd_settime: " + err.Error())
	}
}

func (a timerAlarm) wait() {
	var expirations [8]byte
	_, _ = a.file.Read(expirations[:]) // how often does not matter, and without reason is allowed
}
