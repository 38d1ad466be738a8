// Package exchange is the smallest workload that feels a network as a postback
// does: a request, an answer, and the time between the two, on connections that
// are kept or made anew, plain or under TLS. It runs over any connections, so
// that two networks can be compared by it.
package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A postback's request and its answer, in bytes: one TCP segment each.
const (
	RequestBytes = 350
	AnswerBytes  = 200
)

// patience ends an exchange that lost its way: more than six SYNs in a row take.
const patience = 90 * time.Second

// workload says how exchanges are done.
type workload struct {
	exchanges   int // in all
	connections int // at once; each does one exchange at a time
	// newConnections opens one for every exchange; its cost is then part of
	// the sample.
	newConnections bool
	// tls of the client; nil speaks plainly.
	tls *tls.Config
	// resume keeps sessions; one that is not resumed ends the run. The first
	// connections are not sampled.
	resume bool
}

// Sample is one exchange. Connect and Handshake are 0 on a kept connection.
type Sample struct {
	Connect, Handshake, Wait time.Duration
}

// Total is from the wish to the answer.
func (s Sample) Total() time.Duration { return s.Connect + s.Handshake + s.Wait }

// Dial opens a connection to the server.
type Dial func(context.Context) (net.Conn, error)

// run does the exchanges of w over connections from dial. It returns w.exchanges
// samples, in no order, or the first error.
func run(ctx context.Context, dial Dial, w workload) ([]Sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		left    atomic.Int64
		mu      sync.Mutex // guards samples
		samples []Sample
		workers sync.WaitGroup
	)
	left.Store(int64(w.exchanges))
	for range w.connections {
		workers.Go(func() {
			c := client{dial: dial, w: w, left: &left}
			if w.tls != nil {
				c.tls = w.tls.Clone()
				if w.resume {
					c.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				}
			}
			if err := c.run(ctx); err != nil {
				cancel(err)
			}
			mu.Lock()
			samples = append(samples, c.samples...)
			mu.Unlock()
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("exchange: %w", context.Cause(ctx))
	}
	return samples, nil
}

// client is one of the connections at once.
type client struct {
	dial    Dial
	w       workload
	left    *atomic.Int64
	tls     *tls.Config
	samples []Sample
}

func (c *client) run(ctx context.Context) error {
	if c.w.newConnections {
		return c.renew(ctx)
	}
	conn, err := c.open(ctx, &Sample{})
	if err != nil {
		return err
	}
	defer conn.Close()
	for c.left.Add(-1) >= 0 {
		wait, err := ask(ctx, conn)
		if err != nil {
			return err
		}
		c.samples = append(c.samples, Sample{Wait: wait})
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// renew does every exchange on a connection of its own.
func (c *client) renew(ctx context.Context) error {
	if c.w.resume {
		if _, err := c.once(ctx); err != nil && !errors.Is(err, errNotResumed) {
			return err
		}
	}
	for c.left.Add(-1) >= 0 {
		sample, err := c.once(ctx)
		if err != nil {
			return err
		}
		c.samples = append(c.samples, sample)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

var errNotResumed = errors.New("the session was not resumed")

// once does an exchange on a connection of its own.
func (c *client) once(ctx context.Context) (sample Sample, err error) {
	conn, err := c.open(ctx, &sample)
	if err != nil {
		return Sample{}, err
	}
	defer conn.Close()
	sample.Wait, err = ask(ctx, conn)
	if secure, ok := conn.(*tls.Conn); err == nil && c.w.resume && ok && !secure.ConnectionState().DidResume {
		err = errNotResumed
	}
	return sample, err
}

func (c *client) open(ctx context.Context, sample *Sample) (net.Conn, error) {
	begin := time.Now()
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	connected := time.Now()
	sample.Connect = connected.Sub(begin)
	if c.tls == nil {
		return conn, nil
	}
	if err := conn.SetDeadline(connected.Add(patience)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	secure := tls.Client(conn, c.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	sample.Handshake = time.Since(connected)
	return secure, nil
}

// ask does one exchange. The end of ctx closes conn.
func ask(ctx context.Context, conn net.Conn) (time.Duration, error) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := conn.Write(make([]byte, RequestBytes)); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(conn, make([]byte, AnswerBytes))
	return time.Since(begin), err
}

// serve answers requests on connections of listener until it is closed, and
// returns when all its connections are. A nil config speaks plainly.
func serve(listener net.Listener, config *tls.Config) error {
	var (
		mu    sync.Mutex // guards conns
		conns = map[net.Conn]bool{}
		open  sync.WaitGroup
	)
	defer open.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			for conn := range conns {
				_ = conn.Close()
			}
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("exchange server: %w", err)
		}
		mu.Lock()
		conns[conn] = true
		mu.Unlock()
		open.Go(func() {
			answer(conn, config)
			mu.Lock()
			delete(conns, conn)
			mu.Unlock()
		})
	}
}

// answer serves one connection until it ends, in whatever way.
func answer(conn net.Conn, config *tls.Config) {
	defer conn.Close()
	if config != nil {
		conn = tls.Server(conn, config)
	}
	request, reply := make([]byte, RequestBytes), make([]byte, AnswerBytes)
	for {
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}
