package refserver

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConnections bounds the open connections, below the usual limits of
	// open files.
	maxConnections = 8_192
	// refusalWriteLimit bounds the farewell to a connection too many; it fits
	// into the empty send buffer, so the write returns at once.
	refusalWriteLimit = 100 * time.Millisecond
	// refusal is the answer to it.
	refusal = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)

// limitedListener answers connections beyond its limit with 503 instead of
// letting them wait unseen in the kernel.
type limitedListener struct {
	net.Listener
	slots   chan struct{}
	refused atomic.Int64
	// silent closes one connection too many without an answer, which over TLS
	// nobody could read.
	silent bool
}

func limitConnections(inner net.Listener, limit int) *limitedListener {
	return &limitedListener{Listener: inner, slots: make(chan struct{}, limit)}
}

// beside is a listener of connections for TLS within l's limit.
func (l *limitedListener) beside(inner net.Listener) *limitedListener {
	return &limitedListener{Listener: inner, slots: l.slots, silent: true}
}

// Accept returns the next connection that fits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			l.refused.Add(1)
			if !l.silent && conn.SetWriteDeadline(time.Now().Add(refusalWriteLimit)) == nil {
				_, _ = conn.Write([]byte(refusal))
			}
			_ = conn.Close()
		}
	}
}

// limitedConn gives its place back when it is closed, once.
type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
