package udpsocket

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// memInfoVars and memInfoDrops are SK_MEMINFO_VARS and SK_MEMINFO_DROPS of
	// linux/sock_diag.h: how many figures SO_MEMINFO tells, and which of them
	// counts the drops.
	memInfoVars  = 9
	memInfoDrops = 8
)

// growReceiveBuffer asks with SO_RCVBUFFORCE, which needs CAP_NET_ADMIN and
// knows no limit, else with SO_RCVBUF, which net.core.rmem_max cuts silently.
func growReceiveBuffer(conn *net.UDPConn, wantBytes int) (grantedBytes int, err error) {
	failure := control(conn, func(fd int) {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wantBytes) != nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, wantBytes)
		}
		if err == nil {
			grantedBytes, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
	})
	if failure != nil {
		return 0, failure
	}
	return grantedBytes, err
}

// kernelDrops asks SO_MEMINFO for the same counter that SO_RXQ_OVFL attaches to
// received datagrams. The attached one is as old as its datagram: what was
// dropped behind the last datagram of a burst would never be told.
func kernelDrops(conn *net.UDPConn) (drops int64, err error) {
	var info [memInfoVars]uint32
	size := uint32(unsafe.Sizeof(info))
	var errno unix.Errno
	failure := control(conn, func(fd int) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	switch {
	case failure != nil:
		return 0, failure
	case errno != 0:
		return 0, errno
	case size != uint32(unsafe.Sizeof(info)):
		return 0, fmt.Errorf("SO_MEMINFO told %d bytes, expected %d", size, unsafe.Sizeof(info))
	}
	return int64(info[memInfoDrops]), nil
}

func control(conn *net.UDPConn, f func(fd int)) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}
