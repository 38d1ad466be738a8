package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// lifelineEnv names the descriptor of the reading end in the child's environment.
const lifelineEnv = "POSTBENCH_LIFELINE_FD"

// ErrParentGone is the cause of a lifeline context's end.
var ErrParentGone = errors.New("the parent process is gone")

// LifelineContext is for the child: the returned context is cancelled, with the
// cause ErrParentGone, when the process that started this one by Start is gone.
// In a process that was not started so, the context is ctx itself. The error
// says that the environment names a lifeline which is not there.
func LifelineContext(ctx context.Context) (context.Context, error) {
	value, ok := os.LookupEnv(lifelineEnv)
	if !ok {
		return ctx, nil
	}
	lifeline, err := openLifeline(value)
	if err != nil {
		return nil, fmt.Errorf("open the lifeline %s=%q: %w; do not set it by hand", lifelineEnv, value, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(ctx, func() { _ = lifeline.Close() }) // ends the goroutine below
	go func() {
		// Nobody ever writes: a return means that the pipe was closed.
		_, _ = io.Copy(io.Discard, lifeline)
		cancel(ErrParentGone)
	}()
	return ctx, nil
}

// openLifeline returns a descriptor of its own, so that LifelineContext can be
// called again after the first one's context has ended.
func openLifeline(value string) (*os.File, error) {
	fd, err := strconv.Atoi(value)
	if err != nil || fd < firstExtraFD {
		return nil, fmt.Errorf("not a descriptor: %w", syscall.EBADF)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, fmt.Errorf("not a pipe: %w", syscall.EBADF)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstExtraFD)
	if err != nil {
		return nil, err
	}
	// A program that this child starts has no business with our lifeline.
	unix.CloseOnExec(fd)
	// Non-blocking makes os.NewFile use the poller: Close then ends a Read.
	if err := unix.SetNonblock(own, true); err != nil {
		_ = unix.Close(own)
		return nil, err
	}
	return os.NewFile(uintptr(own), "lifeline"), nil
}
