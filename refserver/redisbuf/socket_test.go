package redisbuf

import (
	"net"
	"sync"
)

// roomySocket is a net.Pipe with room for what was written and not yet read, as
// the kernel has for a socket; without it, a client that writes a long pipeline
// and a server that answers its beginning wait for each other.
type roomySocket struct {
	net.Conn
	queue chan []byte
	once  sync.Once
	ended chan struct{}
}

func newRoomySocket(conn net.Conn) *roomySocket {
	s := &roomySocket{Conn: conn, queue: make(chan []byte, 64), ended: make(chan struct{})}
	go func() {
		for {
			select {
			case p := <-s.queue:
				_, _ = s.Conn.Write(p)
			case <-s.ended:
				return
			}
		}
	}()
	return s
}

func (s *roomySocket) Write(p []byte) (int, error) {
	select {
	case s.queue <- append([]byte(nil), p...):
		return len(p), nil
	case <-s.ended:
		return 0, net.ErrClosed
	}
}

func (s *roomySocket) Close() error {
	s.once.Do(func() { close(s.ended) })
	return s.Conn.Close()
}
