package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
)

// gated is a Buffer whose Put waits to be let through.
type gated struct {
	memory
	entered chan struct{} // one for each Put that waits
	pass    chan struct{} // one for each Put that may go on; closed: all
}

func newGated() *gated { return &gated{entered: make(chan struct{}, 64), pass: make(chan struct{})} }

func (g *gated) Put(ctx context.Context, record []byte) error {
	g.entered <- struct{}{}
	select {
	case <-g.pass:
		return g.memory.Put(ctx, record)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pipes is a listener in memory. Its connections hold nothing: what one side
// has written, the other has read. It counts the server's writes.
type pipes struct {
	dialled chan net.Conn
	closed  chan struct{}
	once    sync.Once
	writes  chan struct{} // one for each Write that the server has begun
}

func newPipes() *pipes {
	return &pipes{dialled: make(chan net.Conn), closed: make(chan struct{}), writes: make(chan struct{}, 64)}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialled:
		return watched{c, p.writes}, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

type watched struct {
	net.Conn
	writes chan struct{}
}

func (w watched) Write(b []byte) (int, error) {
	select {
	case w.writes <- struct{}{}:
	default:
	}
	return w.Conn.Write(b)
}

func (w watched) RemoteAddr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(t *testing.T) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	p.dialled <- theirs
	t.Cleanup(func() { _ = ours.Close() })
	return newClient(t, ours)
}

// This is the difference between the two answers: what the client knows while
// the buffer is blocked.
func TestBlockedBuffer(t *testing.T) {
	for _, front := range fronts() {
		t.Run(front+" before-buffer", func(t *testing.T) {
			buffer := newGated()
			config := testConfig(front, buffer)
			config.Answer = AnswerBeforeBuffer
			s := serve(t, config)
			c := dial(t, s.addr)
			c.send(t, httpGet("/pb?click_id=c"))
			if got := c.receive(t, "GET"); got.status != 200 || got.body != "OK" {
				t.Fatalf("%+v", got)
			}
			await(t, buffer.entered) // and waits there: the answer was first
			if n, counts := len(buffer.take()), s.Counts(); n != 0 || counts.InFlight != 1 {
				t.Errorf("answered: %d records, %+v", n, counts)
			}
			close(buffer.pass)
			waitFor(t, func() bool { return s.Counts().InFlight == 0 })
			if n := len(buffer.take()); n != 1 {
				t.Errorf("afterwards: %d records", n)
			}
		})
		t.Run(front+" after-buffer", func(t *testing.T) {
			buffer, l := newGated(), newPipes()
			serveOn(t, testConfig(front, buffer), l)
			c := l.dial(t)
			c.send(t, httpGet("/pb?click_id=c"))
			await(t, buffer.entered)
			select { // the one goroutine of this connection is in Put
			case <-l.writes:
				t.Fatal("answered before the record was in the buffer")
			default:
			}
			close(buffer.pass)
			if got := c.receive(t, "GET"); got.status != 200 || len(buffer.take()) != 1 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestCrashPoint(t *testing.T) {
	for _, front := range fronts() {
		reached, goOn := make(chan string), make(chan struct{})
		buffer := &memory{}
		config := testConfig(front, buffer)
		config.Answer = AnswerBeforeBuffer
		config.Crash = func(point string) {
			reached <- point
			<-goOn
		}
		s := serve(t, config)
		c := dial(t, s.addr)
		c.send(t, httpGet("/pb?click_id=c"))
		point := await(t, reached)
		if got := c.receive(t, "GET"); got.status != 200 || point != "answered-not-buffered" || len(buffer.take()) != 0 {
			t.Errorf("%s: at %s the answer is %+v", front, point, got)
		}
		close(goOn)
		waitFor(t, func() bool { return len(buffer.take()) == 1 })
		c.send(t, httpGet("/pb?payout=x")) // a refusal is no such point
		if got := c.receive(t, "GET"); got.status != 400 {
			t.Errorf("%s: %+v", front, got)
		}
		s.stop()
		await(t, s.served)
	}
}

func TestDroppedAfterAnswer(t *testing.T) {
	for _, front := range fronts() {
		for _, problem := range []error{ErrFull, errors.New("connection refused")} {
			buffer := &memory{err: problem}
			config := testConfig(front, buffer)
			config.Answer = AnswerBeforeBuffer
			s := serve(t, config)
			if got := s.get(t, "/pb?click_id=c"); got.status != 200 {
				t.Errorf("%s: %+v", front, got)
			}
			waitFor(t, func() bool { return s.Counts().InFlight == 0 })
			if got, want := s.Counts(), (Counts{Accepted: 1, DroppedAfterAnswer: 1}); got != want {
				t.Errorf("%s, %v: %+v", front, problem, got)
			}
		}
	}
}

// Pipelined answers leave together; what does not fit into the connection's
// room is put first.
func TestPipelining(t *testing.T) {
	const requests = maxPendingPerConn + 4
	for _, front := range fronts() {
		for _, how := range []string{AnswerBeforeBuffer, AnswerAfterBuffer} {
			buffer, l := &memory{}, newPipes()
			config := testConfig(front, buffer)
			config.Answer = how
			s := serveOn(t, config, l)
			c := l.dial(t)
			var all strings.Builder
			for i := range requests {
				all.WriteString(httpGet(fmt.Sprintf("/pb?click_id=c%d", i)))
			}
			go func() { _, _ = c.Write([]byte(all.String())) }()
			for range requests {
				if got := c.receive(t, "GET"); got.status != 200 {
					t.Fatalf("%s, %s: %+v", front, how, got)
				}
			}
			waitFor(t, func() bool { return s.Counts().InFlight == 0 })
			ids := map[string]int{}
			for _, record := range buffer.take() {
				ids[string(decode(t, record).ClickID)]++
			}
			for i := range requests {
				if id := fmt.Sprint("c", i); ids[id] != 1 {
					t.Errorf("%s, %s: %s is %d times in the buffer", front, how, id, ids[id])
				}
			}
			want := Counts{Accepted: requests}
			if front == FrontZerocopy && how == AnswerBeforeBuffer { // net/http writes each answer by itself
				want.PutBeforeAnswer = requests - maxPendingPerConn
			}
			if got := s.Counts(); got != want {
				t.Errorf("%s, %s: %+v", front, how, got)
			}
		}
	}
}

func TestMaxInFlight(t *testing.T) {
	for _, front := range fronts() {
		for _, how := range []string{AnswerBeforeBuffer, AnswerAfterBuffer} {
			buffer := newGated()
			config := testConfig(front, buffer)
			config.Answer, config.MaxInFlight = how, 1
			s := serve(t, config)
			first := dial(t, s.addr)
			first.send(t, httpGet("/pb?click_id=c"))
			await(t, buffer.entered)
			if got := s.get(t, "/pb?click_id=d"); got.status != 503 || got.header.Get("Retry-After") != "1" || got.body != accept.ErrFull.Error() {
				t.Errorf("%s, %s: %+v", front, how, got)
			}
			close(buffer.pass)
			if got := first.receive(t, "GET"); got.status != 200 {
				t.Errorf("%s, %s: the first: %+v", front, how, got)
			}
			waitFor(t, func() bool { return s.Counts().InFlight == 0 })
			if got, want := s.Counts(), (Counts{Accepted: 1, Full: 1}); got != want {
				t.Errorf("%s, %s: %+v", front, how, got)
			}
		}
	}
}

// At the end everything that was answered is in the buffer.
func TestServeDrains(t *testing.T) {
	for _, front := range fronts() {
		for _, how := range []string{AnswerBeforeBuffer, AnswerAfterBuffer} {
			buffer := newGated()
			config := testConfig(front, buffer)
			config.Answer = how
			s := serve(t, config)
			c := dial(t, s.addr)
			c.send(t, httpGet("/pb?click_id=c"))
			await(t, buffer.entered)
			s.stop()
			waitFor(t, func() bool { // until nobody listens any more
				late, err := net.Dial("tcp", s.addr)
				if err == nil {
					_ = late.Close()
				}
				return err != nil
			})
			select {
			case err := <-s.served:
				t.Fatalf("%s, %s: served (%v) with a postback in work", front, how, err)
			default:
			}
			close(buffer.pass)
			if got := c.receive(t, "GET"); got.status != 200 {
				t.Errorf("%s, %s: %+v", front, how, got)
			}
			if err := await(t, s.served); err != nil || len(buffer.take()) != 1 || s.Counts().InFlight != 0 {
				t.Errorf("%s, %s: %v, %+v", front, how, err, s.Counts())
			}
		}
	}
}

// brokenConn fails every Write.
type brokenConn struct{ net.Conn }

func (brokenConn) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
func (brokenConn) Close() error              { return nil }

func TestConnPutsInAnyCase(t *testing.T) {
	for name, end := range map[string]func(*conn){
		"a Write that fails": func(c *conn) { _, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) },
		"Close":              func(c *conn) { _ = c.Close() },
		"both":               func(c *conn) { _, _ = c.Write(nil); _ = c.Close(); _ = c.Close() },
	} {
		buffer := &memory{}
		config := testConfig(FrontPlain, buffer)
		config.Answer = AnswerBeforeBuffer
		config.Crash = func(string) { t.Errorf("%s: nothing was answered", name) }
		e, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		c := &conn{Conn: brokenConn{}, edge: e, closed: func(*conn) {}}
		record, _ := postback.AppendRecord(nil, &postback.Record{ClickID: []byte("c")})
		if !e.inFlight.TryEnter() || e.deliver(e.working, c, record, nil) != nil || len(buffer.take()) != 0 {
			t.Fatal("not kept")
		}
		end(c)
		if n := len(buffer.take()); n != 1 || e.Counts().InFlight != 0 {
			t.Errorf("%s: %d records, %+v", name, n, e.Counts())
		}
	}
}

// A buffer that never answers does not hold up the end for longer than its limits.
func TestServeGivesUp(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the drain's limit")
	}
	for _, front := range fronts() {
		t.Run(front, func(t *testing.T) {
			t.Parallel()
			buffer := newGated()
			config := testConfig(front, buffer)
			config.Answer = AnswerBeforeBuffer
			s := serve(t, config)
			if got := s.get(t, "/pb?click_id=c"); got.status != 200 {
				t.Fatalf("%+v", got)
			}
			await(t, buffer.entered)
			start := time.Now()
			s.stop()
			err := await(t, s.served)
			if err != nil || s.Counts().DroppedAfterAnswer != 1 || time.Since(start) < drainLimit {
				t.Errorf("%v after %s, %+v; want the record dropped and counted", err, time.Since(start), s.Counts())
			}
		})
	}
}
