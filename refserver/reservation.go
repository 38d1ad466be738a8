package refserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// reserveAll chooses all addresses before anything starts and keeps them for
// the processes that will listen there. A Worker's program cannot share a port
// with a reservation: its addresses are free again when this returns.
func (s *supervisor) reserveAll() (err error) {
	keep := func(addr string) (string, error) {
		r, err := reserve(addr)
		if err != nil {
			return "", err
		}
		s.freed = append(s.freed, r.close)
		return r.addr, nil
	}
	front := keep
	if s.config.Composition.Front == FrontWorker {
		s.verified = rand.Text()
		if s.edgeAddr, err = keep(anyPort); err != nil {
			return err
		}
		front = choose
	}
	if s.frontAddr, err = front(s.config.Addr); err != nil {
		return err
	}
	if s.edgeAddr == "" {
		s.edgeAddr = s.frontAddr
	}
	if s.config.TLSCertFile != "" {
		if s.tlsAddr, err = front(anyPort); err != nil {
			return err
		}
	}
	if s.config.Composition.Front == FrontGRPC {
		if s.grpcAddr, err = keep(anyPort); err != nil {
			return err
		}
	}
	return s.reserveIngest(keep)
}

// choose is an address that is free now.
func choose(addr string) (string, error) {
	listener, err := listen(context.Background(), addr)
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// reservation keeps an address for the edges: bound, not listening, so that
// the kernel gives connections to the edges alone and the port to nobody else.
type reservation struct {
	addr string
	fd   int
}

func reserve(addr string) (*reservation, error) {
	// With SO_REUSEPORT alone two servers of one user would share the port
	// unnoticed.
	first, err := listen(context.Background(), addr)
	if err != nil {
		return nil, err
	}
	taken := first.Addr().(*net.TCPAddr)
	if err := first.Close(); err != nil {
		return nil, err
	}
	fd, err := bindShared(taken)
	if err != nil {
		return nil, fmt.Errorf("keep %v for the edges: %w", taken, err)
	}
	return &reservation{addr: taken.String(), fd: fd}, nil
}

func bindShared(addr *net.TCPAddr) (fd int, err error) {
	family, sockaddr := unix.AF_INET6, unix.Sockaddr(nil)
	if ip := addr.IP.To4(); ip != nil {
		family, sockaddr = unix.AF_INET, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip)}
	} else {
		sockaddr = &unix.SockaddrInet6{Port: addr.Port, Addr: [16]byte(addr.IP.To16())}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err == nil {
		err = unix.Bind(fd, sockaddr)
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

func (r *reservation) close() { _ = unix.Close(r.fd) }

// listenShared listens at an address that is reserved.
func listenShared(ctx context.Context, addr string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return cmp.Or(err, failed)
	}}
	return config.Listen(ctx, "tcp", addr)
}
