package proc

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent has the kernel kill the child when the forking thread ends.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// lowerPriority lowers that of the calling thread; children that it forks inherit
// it. It can fail only in ways that leave everything as it is.
func lowerPriority(by int) {
	if by > 0 {
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), by)
	}
}

// awaitExit waits for the process's end and leaves it unreaped; false if that
// cannot be done.
func awaitExit(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}
