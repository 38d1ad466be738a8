package netem

import (
	"net"
	"os"
	"syscall"
	"time"
)

// Close is net.Conn's. What was written still travels, and the FIN behind it;
// then the connection is gone.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed, c.closedNs = true, c.clock.now()
	c.inBytes, c.arrivedIn = byteQueue{}, 0
	c.wake()
	if !c.finSent {
		c.finSent = true
		c.send(c.closedNs, &c.out, &c.in, 0)
	}
	c.finish()
	c.schedule()
	return nil
}

// CloseWrite sends a FIN behind what was written; reading goes on.
func (c *conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return c.fail("close", net.ErrClosed)
	case c.finSent:
		return c.fail("close", os.NewSyscallError("shutdown", syscall.ENOTCONN))
	}
	c.finSent = true
	c.send(c.clock.now(), &c.out, &c.in, 0)
	c.wakeWriters()
	return nil
}

// Stale reports whether an idle connection can no longer be used, as far as
// the client can know: it is closed, by the server too once its FIN or reset
// arrived, or bytes arrived that no request asked for.
func (c *conn) Stale() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	nowNs := c.clock.now()
	if !c.closed {
		c.arrive(nowNs)
	}
	return c.closed || c.finSent || c.eof || c.arrivedIn > 0 || c.resetNs <= nowNs
}

// abort ends the connection here and now.
func (c *conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.wake()
	c.end()
}

// end frees everything.
func (c *conn) end() {
	if c.freed {
		return
	}
	c.freed = true
	c.clock.schedule(&c.appointment, neverNs)
	_ = c.socket.Close() // ends read and pump
	c.outBytes, c.arrivedOut = byteQueue{}, 0
	c.path.leave(c)
}

// wake lets everybody who waits look again.
func (c *conn) wake() {
	c.wakeReaders()
	c.wakeWriters()
	c.room.Broadcast()
}

func (c *conn) wakeReaders() {
	c.readers = 0
	c.readable.Broadcast()
}

func (c *conn) wakeWriters() {
	c.writers = 0
	c.writable.Broadcast()
}

// fail is the error that a real connection would give.
func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.distant, Err: err}
}

// LocalAddr is the real socket's.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the real socket's.
func (c *conn) RemoteAddr() net.Addr { return c.distant }

// SetDeadline is net.Conn's.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadlines("set", t, true, true) }

// SetReadDeadline is net.Conn's.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadlines("set", t, true, false) }

// SetWriteDeadline is net.Conn's.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines("set", t, false, true) }

func (c *conn) setDeadlines(op string, t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail(op, net.ErrClosed)
	}
	ns := c.clock.at(t)
	if read {
		c.readBy = ns
	}
	if write {
		c.writeBy = ns
	}
	if c.readers > 0 || c.writers > 0 { // they may wait for something else now
		c.wake()
	}
	return nil
}
