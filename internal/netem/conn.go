package netem

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// MaxInFlightBytes is how much of each direction of a connection may be
	// on its way, or arrived and unread: more makes Write wait, or the peer.
	MaxInFlightBytes = 256 << 10
	// maxInFlightSegments bounds the same for writes of a few bytes each.
	maxInFlightSegments = 4096
	// lingerNs is how long a closed connection's last bytes may take: then
	// nobody reads them any more. (Linux gives up an orphan after about as long.)
	lingerNs = int64(60 * time.Second)
	// readBytes is how much is read from the socket at once: full segments, so
	// that a long answer is cut where the peer's kernel would cut it.
	readBytes = 4 * mssBytes
)

// conn is the client's end of a shaped connection. What is written waits in
// outBytes until its segments arrive and then goes to the real socket; what
// the socket has waits in inBytes until its segments arrive and can then be read.
type conn struct {
	path   *Path
	clock  *clock
	socket *net.TCPConn
	raw    syscall.RawConn

	mu                 sync.Mutex
	readable, writable sync.Cond
	room               sync.Cond // for the goroutine that reads the socket
	appointment        appointment

	out, in           flow
	outBytes, inBytes byteQueue
	arrivedOut        int // of outBytes, for the socket
	arrivedIn         int // of inBytes, for Read
	chunk             []byte
	wrote             int
	writeErr          error
	writeChunk        func(fd uintptr) bool // made once: one write of chunk, without waiting

	pumping        bool // a goroutine writes what the socket did not take at once
	finSent        bool // by CloseWrite or Close
	finArrived     bool // at the server
	eof            bool // the server's FIN arrived
	dead           bool // the server's end is gone: what else arrives there is lost
	resetNs        int64
	resetErr       error
	closed         bool
	closedNs       int64
	freed          bool
	readers        int // blocked, and not woken
	writers        int // blocked, and not woken
	readBy         int64
	writeBy        int64
	local, distant net.Addr
}

func newConn(p *Path, socket *net.TCPConn, h *handshake) (*conn, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{
		path: p, clock: p.network.clock, socket: socket, raw: raw, resetNs: neverNs,
		out: newFlow(&p.out, h.rttNs(), h.window(&h.syn)), in: newFlow(&p.in, h.rttNs(), h.window(&h.synAck)),
		local: socket.LocalAddr(), distant: socket.RemoteAddr(),
	}
	c.readable.L, c.writable.L, c.room.L = &c.mu, &c.mu, &c.mu
	c.appointment.call = c.tick
	c.writeChunk = func(fd uintptr) bool {
		c.wrote, c.writeErr = writeNow(fd, c.chunk)
		return true
	}
	return c, nil
}

// Read is net.Conn's.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		nowNs := c.clock.now()
		c.arrive(nowNs)
		switch {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.readBy != 0 && c.readBy <= nowNs:
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case c.arrivedIn > 0:
			n := copy(p, c.inBytes.front(min(len(p), c.arrivedIn)))
			c.inBytes.drop(n)
			c.arrivedIn -= n
			c.room.Signal()
			return n, nil
		case c.eof:
			return 0, io.EOF
		case c.resetNs <= nowNs:
			return 0, c.fail("read", c.resetErr)
		}
		c.readers++
		c.schedule()
		c.readable.Wait()
	}
}

// Write is net.Conn's. It returns when all of p is on its way, which is long
// before it arrives.
func (c *conn) Write(p []byte) (written int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		nowNs := c.clock.now()
		room := MaxInFlightBytes - c.outBytes.len()
		switch {
		case c.closed:
			return written, c.fail("write", net.ErrClosed)
		case c.writeBy != 0 && c.writeBy <= nowNs:
			return written, c.fail("write", os.ErrDeadlineExceeded)
		case c.finSent:
			return written, c.fail("write", os.NewSyscallError("write", syscall.EPIPE))
		case c.resetNs <= nowNs:
			return written, c.fail("write", c.resetErr)
		case len(p) == 0:
			return written, nil
		case room > 0 && c.out.undelivered() < maxInFlightSegments:
			n := min(room, len(p))
			c.outBytes.push(p[:n])
			c.send(nowNs, &c.out, &c.in, n)
			p = p[n:]
			written += n
			continue
		}
		c.writers++
		c.schedule()
		c.writable.Wait()
	}
}

// send puts bytes of one direction on their way; 0 are a FIN. They carry an
// acknowledgement of what the other direction has brought.
func (c *conn) send(nowNs int64, to, from *flow, bytes int) {
	from.receiver.reply(from, nowNs)
	to.send(nowNs, bytes)
	c.schedule()
}

// arrive takes what has arrived for Read.
func (c *conn) arrive(nowNs int64) {
	bytes, fin := c.in.take(nowNs)
	c.arrivedIn += bytes
	c.eof = c.eof || fin
}

// tick is what the clock calls: something arrived, or somebody has waited for long enough.
func (c *conn) tick(nowNs int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.freed {
		return
	}
	c.arrive(nowNs)
	if c.readers > 0 && (c.arrivedIn > 0 || c.eof || c.resetNs <= nowNs || c.readBy != 0 && c.readBy <= nowNs) {
		c.wakeReaders()
	}
	bytes, fin := c.out.take(nowNs)
	c.arrivedOut += bytes
	c.finArrived = c.finArrived || fin
	c.deliver()
	c.wakeWriters()
	if c.closed && nowNs >= c.closedNs+lingerNs {
		c.end()
	}
	c.schedule()
}

// deliver hands what arrived at the server to the socket, without waiting.
func (c *conn) deliver() {
	if c.dead {
		c.outBytes.drop(c.arrivedOut)
		c.arrivedOut = 0
	}
	if c.pumping {
		return
	}
	if c.arrivedOut > 0 {
		c.chunk, c.wrote, c.writeErr = c.outBytes.front(c.arrivedOut), 0, nil
		if err := c.raw.Write(c.writeChunk); err != nil {
			c.writeErr = err
		}
		c.chunk = nil
		c.delivered(c.wrote, c.writeErr)
		if c.arrivedOut > 0 {
			c.pumping = true
			c.path.network.tasks.Go(c.pump)
			return
		}
	}
	c.finish()
}

// delivered notes what the socket took.
func (c *conn) delivered(n int, err error) {
	c.outBytes.drop(n)
	c.arrivedOut -= n
	if err != nil {
		c.die(err)
	}
}

// die notes that the server's end is gone: the client learns of it half a round trip later.
func (c *conn) die(err error) {
	if !c.dead {
		c.dead = true
		c.resetNs = c.clock.now() + c.path.spec.RTTNs/2
		c.resetErr = resetError(err)
	}
	c.outBytes.drop(c.arrivedOut)
	c.arrivedOut = 0
}

// resetError is the bare system error behind what the socket said.
func resetError(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return os.NewSyscallError("netem", number)
	}
	return err
}

// pump writes what the socket did not take at once, and waits for it.
func (c *conn) pump() {
	var chunk []byte
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.arrivedOut > 0 && !c.freed {
		chunk = append(chunk[:0], c.outBytes.front(c.arrivedOut)...)
		c.mu.Unlock()
		n, err := c.socket.Write(chunk)
		c.mu.Lock()
		c.delivered(n, err)
		c.wakeWriters()
	}
	c.pumping = false
	c.finish()
	c.schedule()
}

// finish lets the FIN follow the data into the socket.
func (c *conn) finish() {
	switch {
	case c.freed || !c.finArrived && !c.dead || c.arrivedOut > 0:
	case c.closed:
		c.end()
	case c.finArrived:
		_ = c.socket.CloseWrite() // an error is the reader's to find
	}
}

// read takes what the server sends, from the socket, at once: the time at
// which it was sent is part of the truth.
func (c *conn) read() {
	buffer := make([]byte, readBytes)
	for {
		n, err := c.socket.Read(buffer)
		c.mu.Lock()
		nowNs := c.clock.now()
		if n > 0 && !c.closed {
			c.inBytes.push(buffer[:n])
			c.send(nowNs, &c.in, &c.out, n)
		}
		if err != nil {
			c.peerEnds(nowNs, err)
			c.mu.Unlock()
			return
		}
		for !c.closed && (c.inBytes.len() >= MaxInFlightBytes || c.in.undelivered() >= maxInFlightSegments) {
			c.room.Wait()
		}
		c.mu.Unlock()
	}
}

// peerEnds notes the server's FIN or reset.
func (c *conn) peerEnds(nowNs int64, err error) {
	switch {
	case c.closed || c.freed:
	case errors.Is(err, io.EOF):
		c.send(nowNs, &c.in, &c.out, 0)
	default:
		c.die(err)
		c.schedule()
	}
}

// schedule makes the clock call when the next thing is to be done.
func (c *conn) schedule() {
	if c.freed {
		return
	}
	dueNs := c.out.deadline()
	if c.readers > 0 { // without a reader, what arrives is found when somebody looks
		dueNs = min(dueNs, c.in.deadline(), c.resetNs)
		if c.readBy != 0 {
			dueNs = min(dueNs, c.readBy)
		}
	}
	if c.writers > 0 {
		dueNs = min(dueNs, c.resetNs)
		if c.writeBy != 0 {
			dueNs = min(dueNs, c.writeBy)
		}
	}
	if c.closed {
		dueNs = min(dueNs, c.closedNs+lingerNs)
	}
	c.clock.schedule(&c.appointment, dueNs)
}
