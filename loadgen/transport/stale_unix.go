//go:build unix

package transport

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stale reports whether an idle socket can no longer be used: the peer has
// closed it, or has sent bytes that no request asked for. It does not block.
// Between this look and the request the peer may still close; that is then
// counted as an error, never repaired by a hidden second request.
func stale(conn net.Conn) bool {
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return true
	}
	// The last request's deadline must not make this look like an error.
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return true
	}
	readable := true
	err = control.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		// An idle, open connection has nothing to read.
		readable = err != unix.EAGAIN
		return true
	})
	return err != nil || readable
}
