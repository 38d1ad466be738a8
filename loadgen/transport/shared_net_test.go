package transport_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/loadgen/transport"
)

// pipes is a network in memory, so that these tests run on the virtual clock
// of a synctest bubble, whose end no goroutine may outlive. Its connections
// buffer nothing: a peer that does not read blocks the writer at once.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	// connect is called before each connection with its number, from 0.
	connect func(ctx context.Context, number int) error

	mu          sync.Mutex
	dials, open int
}

// counted is a connection that its network counts until it is closed.
type counted struct {
	net.Conn
	closing sync.Once
	network *pipes
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.closing.Do(func() { c.network.count(0, -1) })
	return c.Conn.Close()
}

func newPipes() *pipes {
	return &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	number := p.count(1, 0) - 1
	if p.connect != nil {
		if err := p.connect(ctx, number); err != nil {
			return nil, err
		}
	}
	client, server := net.Pipe()
	select {
	case p.accepted <- server:
		p.count(0, 1)
		return &counted{Conn: client, network: p}, nil
	case <-p.closed:
		return nil, errRefused
	}
}

// count returns how many connections were tried, those that begin included.
func (p *pipes) count(dials, open int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials += dials
	p.open += open
	return p.dials
}

func (p *pipes) dialled() int { return p.count(0, 0) }

// mustHaveOpen wants so many connections once everything has come to rest.
func (p *pipes) mustHaveOpen(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != want {
		t.Errorf("%d connections are open, want %d", p.open, want)
	}
}

var errRefused = errors.New("connection refused")

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) config() transport.SharedConfig {
	return transport.SharedConfig{Address: "127.0.0.1:1", Host: "me.example", UserAgent: "postbench", Dial: p.dial}
}

// pause waits on the bubble's clock, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sender is what the senders of both protocols are.
type sender interface {
	Send(ctx context.Context, req *transport.Request, deadline time.Time) (transport.Reply, error)
	Close() error
}

// sent is what became of a Send.
type sent struct {
	reply transport.Reply
	err   error
	took  time.Duration
}

// class is the error's, "" without one.
func (s *sent) class() transport.Class {
	if s.err == nil {
		return ""
	}
	return transport.ClassOf(s.err)
}

func sendOne(s sender, target string, timeout time.Duration) sent {
	start := time.Now()
	reply, err := s.Send(context.Background(), &transport.Request{Method: "GET", Target: []byte(target)}, start.Add(timeout))
	return sent{reply: reply, err: err, took: time.Since(start)}
}

// clients makes the senders of one partner, by protocol.
func clients() map[string]func(transport.SharedConfig) func() sender {
	return map[string]func(transport.SharedConfig) func() sender{
		"http2": func(cfg transport.SharedConfig) func() sender {
			shared := transport.NewHTTP2(cfg)
			return func() sender { return shared.Sender() }
		},
		"grpc": func(cfg transport.SharedConfig) func() sender {
			shared := transport.NewGRPCStream(cfg)
			return func() sender { return shared.Sender() }
		},
	}
}

// both runs a test with either protocol, each in a bubble with a server of
// serveSlowly.
func both(t *testing.T, streams int, test func(t *testing.T, network *pipes, client func() sender)) {
	t.Helper()
	for name, client := range clients() {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				network := newPipes()
				stop := serveSlowly(network, name)
				defer stop()
				cfg := network.config()
				cfg.Streams = streams
				test(t, network, client(cfg))
				network.mustHaveOpen(t, 0)
			})
		})
	}
}
