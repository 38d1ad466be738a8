package transport

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// rogue is a server whose misbehaviour is a function of the connection.
type rogue struct {
	address string

	mu          sync.Mutex
	open        []net.Conn
	connections int
	wire        []string // every request, byte for byte
}

// peer is one connection at the rogue's end.
type peer struct {
	net.Conn
	number int // 0 for the first connection
	rogue  *rogue
	reader *bufio.Reader
	raw    bytes.Buffer
}

// startRogue serves every connection with behave, in a goroutine of its own,
// and closes it afterwards. It is over before the test is.
func startRogue(t testing.TB, behave func(*peer)) *rogue {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rogue{address: listener.Addr().String()}
	var goroutines sync.WaitGroup
	goroutines.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			p := &peer{Conn: conn, number: r.connections, rogue: r}
			r.connections++
			r.open = append(r.open, conn)
			r.mu.Unlock()
			p.reader = bufio.NewReader(io.TeeReader(conn, &p.raw))
			goroutines.Go(func() {
				defer conn.Close()
				behave(p)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.hangUp()
		goroutines.Wait()
	})
	return r
}

// hangUp closes every connection.
func (r *rogue) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.open {
		conn.Close()
	}
}

// requests returns every request so far, byte for byte.
func (r *rogue) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.wire)
}

// counts returns how many connections and requests came.
func (r *rogue) counts() (connections, requests int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections, len(r.wire)
}

// awaitRequests returns how many connections and requests came, at the
// earliest when there are so many requests: a client that gives up may be
// quicker than the server.
func (r *rogue) awaitRequests(want int) (connections, requests int) {
	for deadline := patience(); ; time.Sleep(100 * time.Microsecond) { // polls with a deadline
		if connections, requests = r.counts(); requests >= want || time.Now().After(deadline) {
			return connections, requests
		}
	}
}

// read takes one request; false when the client is gone.
func (p *peer) read() bool {
	request, err := http.ReadRequest(p.reader)
	if err != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return false
	}
	p.rogue.mu.Lock()
	defer p.rogue.mu.Unlock()
	p.rogue.wire = append(p.rogue.wire, p.raw.String())
	p.raw.Reset()
	return true
}

// say writes an answer; the client may be gone.
func (p *peer) say(text string) { _, _ = io.WriteString(p, text) }

// untilGone waits until the client has closed the connection.
func (p *peer) untilGone() { _, _ = io.Copy(io.Discard, p) }

// reset closes the connection with a RST instead of a FIN.
func (p *peer) reset() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	p.Close()
}

// answering answers every request with the same text.
func answering(text string) func(*peer) {
	return func(p *peer) {
		for p.read() {
			p.say(text)
		}
	}
}

// clientOf connects to a rogue; Close comes with the test's end.
func clientOf(t testing.TB, cfg HTTP1Config) *HTTP1 {
	t.Helper()
	cfg.Host, cfg.UserAgent = "me.example", "postbench"
	c := NewHTTP1(cfg)
	t.Cleanup(func() { c.Close() })
	return c
}

// get is a request; patience is a deadline that no healthy Send reaches.
func get() *Request { return &Request{Method: "GET", Target: []byte("/pb?x=1")} }

func patience() time.Time { return time.Now().Add(time.Minute) }

// mustSend wants an answer.
func mustSend(t testing.TB, c *HTTP1, req *Request) Reply {
	t.Helper()
	reply, err := c.Send(t.Context(), req, patience())
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// awaitStale returns when the client's idle connection has seen what the
// server did to it.
func awaitStale(t testing.TB, c *HTTP1) {
	t.Helper()
	for deadline := patience(); !spent(c.conn); time.Sleep(100 * time.Microsecond) { // polls with a deadline
		if time.Now().After(deadline) {
			t.Fatal("the connection stayed usable")
		}
	}
}
