package kernelnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// addressOf an end. Networks are private to their link's namespaces: every link
// has the same addresses.
func addressOf(end int) [4]byte { return [4]byte{10, 0, 0, byte(1 + end)} }

// Link is a network with a client's and a server's end. Listen, Dial and Counts
// are safe for concurrent use.
type Link struct {
	congestion string
	stop       [2]int // a pipe: closing its write end ends the relays
	relays     [ends]*relay
	failed     [ends]error
	running    sync.WaitGroup

	mu         sync.Mutex // guards what follows; held while a namespace works
	closed     bool
	drops      [ends]int64 // at the devices, as last seen
	namespaces [ends]*namespace
	tuns       [ends]int
}

// New makes a network. Close frees it. Errors wrap netem.ErrConfig or, where the
// machine does not have or allow what it needs, ErrUnsupported.
func New(spec Spec) (*Link, error) {
	if err := spec.validate(); err != nil {
		return nil, fmt.Errorf("kernel network: %w", err)
	}
	l := &Link{congestion: spec.CongestionControl, stop: [2]int{-1, -1}, tuns: [ends]int{-1, -1}}
	if l.congestion == "" {
		l.congestion = DefaultCongestionControl
	}
	if err := l.open(); err != nil {
		l.free()
		return nil, fmt.Errorf("kernel network: %w", err)
	}
	start := time.Now()
	for end := range l.relays {
		r := &relay{from: l.tuns[end], to: l.tuns[1-end], stop: l.stop[0], start: start, line: newLine(&spec, end)}
		l.relays[end] = r
		l.running.Go(func() { l.failed[end] = r.run() })
	}
	return l, nil
}

func (l *Link) open() error {
	if err := unix.Pipe2(l.stop[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	for end := range l.namespaces {
		n, err := newNamespace()
		if err != nil {
			return err
		}
		l.namespaces[end] = n
		err = n.do(func() (err error) {
			l.tuns[end], err = openTUN(addressOf(end))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Close ends the network and returns what went wrong in it, if anything.
// Connections still open hear nothing more of each other; their namespaces go
// with them.
func (l *Link) Close() error {
	l.lookForDrops()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	_ = unix.Close(l.stop[1])
	l.stop[1] = -1
	l.running.Wait()
	l.free()
	return errors.Join(l.failed[:]...)
}

func (l *Link) free() {
	for end := range l.namespaces {
		if l.namespaces[end] != nil {
			l.namespaces[end].close()
		}
	}
	for _, fd := range append(l.tuns[:], l.stop[:]...) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Counts is the ground truth so far: of packets from the client's end to the
// server's, and back.
func (l *Link) Counts() (toServer, toClient Counts) {
	toServer, toClient = l.relays[clientEnd].counts(), l.relays[serverEnd].counts()
	drops := l.lookForDrops()
	toServer.DeviceDrops, toClient.DeviceDrops = drops[clientEnd], drops[serverEnd]
	return toServer, toClient
}

// lookForDrops asks the devices; a closed link keeps what it saw last.
func (l *Link) lookForDrops() (drops [ends]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for end := range l.drops {
		if l.closed {
			break
		}
		_ = l.namespaces[end].do(func() error {
			l.drops[end] = deviceDrops()
			return nil
		})
	}
	return l.drops
}

// inside runs call on a thread at that end.
func (l *Link) inside(end int, call func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	return l.namespaces[end].do(call)
}

// socket makes a TCP socket at that end.
func (l *Link) socket(end int) (fd int, err error) {
	err = l.inside(end, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, l.congestion); err != nil {
		return -1, errors.Join(fmt.Errorf("congestion control %q: %w", l.congestion, err), unix.Close(fd))
	}
	return fd, nil
}

// Listen takes connections at the server's end; port 0 is one that is free.
func (l *Link) Listen(port uint16) (net.Listener, error) {
	fd, err := l.socket(serverEnd)
	if err != nil {
		return nil, fmt.Errorf("kernel network: listen: %w", err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close() // the listener has its own descriptor
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, fmt.Errorf("kernel network: listen: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: addressOf(serverEnd), Port: int(port)}); err != nil {
		return nil, fmt.Errorf("kernel network: bind port %d: %w", port, err)
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, fmt.Errorf("kernel network: listen: %w", err)
	}
	return net.FileListener(file)
}

// Dial connects from the client's end to a listener's port.
func (l *Link) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	fd, err := l.socket(clientEnd)
	if err != nil {
		return nil, fmt.Errorf("kernel network: dial: %w", err)
	}
	conn, err := connect(ctx, fd, &unix.SockaddrInet4{Addr: addressOf(serverEnd), Port: int(port)})
	if err != nil {
		return nil, fmt.Errorf("kernel network: dial port %d: %w", port, err)
	}
	return conn, nil
}

// connect owns fd.
func connect(ctx context.Context, fd int, to unix.Sockaddr) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "connection")
	defer file.Close() // the connection has its own descriptor
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	err = raw.Write(func(fd uintptr) (done bool) {
		// Asking again tells how far the first call came.
		failed = unix.Connect(int(fd), to)
		if errors.Is(failed, unix.EISCONN) {
			failed = nil
		}
		return !errors.Is(failed, unix.EINPROGRESS) && !errors.Is(failed, unix.EALREADY) && !errors.Is(failed, unix.EINTR)
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}
