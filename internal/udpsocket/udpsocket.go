// Package udpsocket opens UDP sockets that lose as little as the machine
// allows, and tells what they lost: a datagram that does not fit the receive
// buffer vanishes without any error at the sender.
package udpsocket

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// DefaultReceiveBufferBytes is what is asked for unless the caller knows
// better. The kernel charges about 2,300 bytes for a datagram of 1,200.
const DefaultReceiveBufferBytes = 32 << 20

// Listen binds a UDP socket to an IPv4 address such as "127.0.0.1:0". It asks
// for a receive buffer of wantBytes (0 means DefaultReceiveBufferBytes), past
// the limit of the machine where the process may do that, and returns how many
// bytes the kernel really granted, its own bookkeeping included. Less than
// asked for is no error: it is the caller's to report.
func Listen(addr string, wantBytes int) (conn *net.UDPConn, grantedBytes int, err error) {
	if wantBytes <= 0 {
		wantBytes = DefaultReceiveBufferBytes
	}
	at, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return nil, 0, fmt.Errorf("listen for UDP on %q, expected an IPv4 address such as 127.0.0.1:0: %w", addr, err)
	}
	conn, err = net.ListenUDP("udp4", at)
	if err != nil {
		return nil, 0, fmt.Errorf("listen for UDP: %w", err)
	}
	grantedBytes, err = growReceiveBuffer(conn, wantBytes)
	if err != nil {
		_ = conn.Close()
		return nil, 0, fmt.Errorf("set the receive buffer of UDP %s to %d bytes: %w", conn.LocalAddr(), wantBytes, err)
	}
	return conn, grantedBytes, nil
}

// UnknownDrops is what a DropCounter tells where the system does not tell it.
const UnknownDrops = -1

// DropCounter counts the datagrams that the kernel has thrown away at a socket
// since it was opened. It is safe for concurrent use.
type DropCounter struct {
	conn *net.UDPConn
	mu   sync.Mutex
	last int64
}

// CountDrops makes the counter of a socket.
func CountDrops(conn *net.UDPConn) *DropCounter { return &DropCounter{conn: conn} }

// Load asks the kernel, in datagrams; UnknownDrops if it does not tell. Of a
// closed socket it returns what the last call did.
func (d *DropCounter) Load() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	drops, err := kernelDrops(d.conn)
	switch {
	case err == nil:
		d.last = drops
	case !errors.Is(err, net.ErrClosed):
		d.last = UnknownDrops
	}
	return d.last
}
