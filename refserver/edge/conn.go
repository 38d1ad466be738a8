package edge

import (
	"crypto/tls"
	"net"
	"sync"
)

// maxPendingPerConn bounds the records that a connection holds between their
// answers and the buffer. Only pipelined requests make it more than one.
const maxPendingPerConn = 16

// listener hands out connections that know the edge, and closes on demand
// those that are still open.
type listener struct {
	net.Listener
	edge *Edge

	mu   sync.Mutex
	open map[*conn]struct{} // as many as the fronts and the inner listener let in
}

func newListener(inner net.Listener, e *Edge) *listener {
	return &listener{Listener: inner, edge: e, open: make(map[*conn]struct{})}
}

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	secure, overTLS := inner.(tlsToBe)
	if overTLS {
		inner = secure.Conn
	}
	c := &conn{Conn: inner, edge: l.edge, closed: l.forget}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	if overTLS { // on top: an answer is written when c has written its bytes
		return tls.Server(c, secure.config), nil
	}
	return c, nil
}

func (l *listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// closeAll closes what is still open, and returns how many that were.
func (l *listener) closeAll() int {
	l.mu.Lock()
	var open []*conn
	for c := range l.open {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
	return len(open)
}

// conn is a client's connection. In before-buffer it holds the records that
// were accepted until their answers are written: both HTTP libraries write an
// answer with a Write, after its handler has returned.
type conn struct {
	net.Conn
	edge   *Edge
	closed func(*conn)

	mu      sync.Mutex
	pending []byte                 // the records, one after the other
	ends    [maxPendingPerConn]int // of the records in pending
	n       int                    // records in pending, each with a place in the gate
}

// keep copies a record to put it after the next Write. False means that there
// is no room.
func (c *conn) keep(record []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == len(c.ends) {
		return false
	}
	c.pending = append(c.pending, record...)
	c.ends[c.n] = len(c.pending)
	c.n++
	return true
}

// Write writes, and then puts what was accepted. An answer that could not be
// written takes nothing back: the partner has sent its postback, and will
// hardly know that we have it.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n > 0 && err == nil {
		c.edge.config.Crash(CrashAnsweredNotBuffered)
	}
	c.putPending()
	return n, err
}

// Close closes, and puts what no Write has put.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.closed(c)
	// Somebody else's Close must not wait behind a put. Who holds the lock
	// puts what there is, or comes back here: both fronts close a connection
	// at the end of the goroutine that serves it.
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		c.putPending()
	}
	return err
}

// CloseWrite lets net/http tell a client the answer before the rest of a body
// that nobody wants is cut off.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// putPending needs the lock.
func (c *conn) putPending() {
	start := 0
	for _, end := range c.ends[:c.n] {
		if c.edge.put(c.edge.working, c.pending[start:end], nil) != nil {
			c.edge.counts.droppedAfterAnswer.Add(1)
		}
		c.edge.inFlight.Leave()
		start = end
	}
	c.pending, c.n = c.pending[:0], 0
}
