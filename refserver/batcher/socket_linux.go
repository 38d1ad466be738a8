package batcher

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendTries bounds how often a datagram is offered to the kernel in a row. One
// refusal per datagram sent before is what a closed port makes.
const sendTries = 3

// udpSocket is connected, so that the kernel reports closed ports to it.
type udpSocket struct {
	conn *net.UDPConn
	raw  syscall.RawConn
}

// dial resolves the collector's address, once.
func dial(collector string) (*udpSocket, error) {
	addr, err := net.ResolveUDPAddr("udp", collector)
	if err != nil {
		return nil, fmt.Errorf("batcher: collector: %w", err)
	}
	conn, err := net.DialUDP("udp", nil, addr)
	if err != nil {
		return nil, fmt.Errorf("batcher: collector: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("batcher: collector: %w", err), conn.Close())
	}
	return &udpSocket{conn: conn, raw: raw}, nil
}

// send goes past package net, whose Write waits while the socket is full.
func (s *udpSocket) send(datagrams [][]byte) (taken, portClosed int, err error) {
	if len(datagrams) == 0 {
		return 0, 0, nil
	}
	closedErr := s.raw.Write(func(fd uintptr) bool {
		for taken < len(datagrams) {
			var refused int
			refused, err = write(int(fd), datagrams[taken])
			portClosed += refused
			if err != nil {
				break
			}
			taken++
		}
		return true
	})
	if err = errors.Join(err, closedErr); err != nil {
		return taken, portClosed, fmt.Errorf("batcher: send: %w", err)
	}
	return taken, portClosed, nil
}

// write offers one datagram to the kernel. ECONNREFUSED tells of an earlier one,
// but the kernel reports it instead of taking this one: so it is offered again.
func write(fd int, datagram []byte) (refused int, err error) {
	for range sendTries {
		_, err = unix.Write(fd, datagram)
		switch {
		case errors.Is(err, unix.ECONNREFUSED):
			refused++
		case !errors.Is(err, unix.EINTR):
			return refused, err
		}
	}
	return refused, err
}

func (s *udpSocket) receive(buffer []byte) (int, error) {
	n, err := s.conn.Read(buffer)
	if errors.Is(err, unix.ECONNREFUSED) {
		return 0, errPortClosed
	}
	return n, err
}

// Close closes the socket.
func (s *udpSocket) Close() error { return s.conn.Close() }
