package machine

import (
	"fmt"
	"math"
	"syscall"
)

// MaxOpenFiles raises this process's soft limit of open files to what the system
// lets it have without privileges and returns the limit then in force. Programs
// started later inherit it. On an error the limit that still holds is returned
// with it.
func MaxOpenFiles() (uint64, error) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	want := min(lim.Max, kernelMaxOpenFiles())
	// Set even when the soft limit has that value already: the Go runtime
	// raises it for this process alone at start-up and gives children the old
	// one back, unless the program itself has set a limit.
	raised := syscall.Rlimit{Cur: max(lim.Cur, want), Max: lim.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		return lim.Cur, fmt.Errorf("raise the limit of open files from %d to %d (see ulimit -n): %w", lim.Cur, want, err)
	}
	return raised.Cur, nil
}

const unlimited = math.MaxUint64
