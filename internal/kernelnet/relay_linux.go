package kernelnet

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxPacketBytes is more than the device's MTU.
const maxPacketBytes = 2048

// relay carries packets from one device to the other, one way. Descriptors are
// the link's.
type relay struct {
	from, to, stop int // stop is readable when the link closes
	start          time.Time

	mu   sync.Mutex // guards line
	line *line
}

func (r *relay) counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.line.counts
	counts.Waiting = int64(len(r.line.waiting))
	return counts
}

// run carries packets until stop. It waits in ppoll, not on a Go timer: those
// are up to 1 ms late on an idle machine.
func (r *relay) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buffer := make([]byte, maxPacketBytes)
	poll := []unix.PollFd{{Fd: int32(r.from), Events: unix.POLLIN}, {Fd: int32(r.stop), Events: unix.POLLIN}}
	for {
		if err := r.wait(poll); err != nil {
			return err
		}
		if poll[1].Revents != 0 {
			return nil
		}
		r.mu.Lock()
		err := errors.Join(r.read(buffer), r.write())
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// wait returns when a packet may have come, one is due, or the end is near.
func (r *relay) wait(poll []unix.PollFd) error {
	var timeout *unix.Timespec
	if due, ok := r.line.next(); ok { // without the lock: only this goroutine changes it
		ts := unix.NsecToTimespec(max(0, due-r.now()))
		timeout = &ts
	}
	if _, err := unix.Ppoll(poll, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("packet relay: ppoll: %w", err)
	}
	return nil
}

func (r *relay) now() int64 { return time.Since(r.start).Nanoseconds() }

// maxReads keeps a flood from the one side from holding up what is due at the
// other.
const maxReads = 64

func (r *relay) read(buffer []byte) error {
	for range maxReads {
		n, err := unix.Read(r.from, buffer)
		switch {
		case err == nil:
			r.line.offer(r.now(), buffer[:n])
		case errors.Is(err, unix.EAGAIN):
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("packet relay: read: %w", err)
		}
	}
	return nil
}

func (r *relay) write() error {
	for {
		packet := r.line.take(r.now())
		if packet == nil {
			return nil
		}
		if _, err := unix.Write(r.to, packet); err != nil {
			r.line.counts.SendFailed++
			continue
		}
		r.line.counts.Delivered++
	}
}
