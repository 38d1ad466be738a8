package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"sync"
	"time"
)

// SharedConfig says where and how the connections lead that the senders of one
// partner share, because many requests travel on each at once.
type SharedConfig struct {
	Address string      // host:port to dial
	Host    string      // name of the server in requests
	TLS     *tls.Config // nil: plain text. The protocol is added here
	// Streams is how many requests may be under way on one connection; 0 means
	// DefaultStreams.
	Streams   int
	UserAgent string
	// Dial and Resolve are those of HTTP1Config.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Resolve func(ctx context.Context) (looked bool, err error)
}

// DefaultStreams is what HTTP/2 recommends as the least that a server allows
// (RFC 9113 §6.5.2).
const DefaultStreams = 100

// alpnHTTP2 is the protocol's name in a TLS handshake (RFC 9113 §3.2).
const alpnHTTP2 = "h2"

func (c *SharedConfig) streams() int {
	if c.Streams == 0 {
		return DefaultStreams
	}
	return c.Streams
}

// connect resolves, connects and shakes hands for HTTP/2, timing each; ctx
// needs a deadline.
func (c *SharedConfig) connect(ctx context.Context, phases *Phases) (net.Conn, error) {
	phases.Opened = true
	// Names and addresses are tried as over HTTP/1.1.
	as := HTTP1{cfg: HTTP1Config{Address: c.Address, Dial: c.Dial, Resolve: c.Resolve}}
	addresses, err := as.resolve(ctx, phases)
	if err != nil {
		return nil, fail(ClassDNS, err)
	}
	start := time.Now()
	deadline, _ := ctx.Deadline()
	socket, err := as.connect(ctx, addresses, deadline)
	phases.ConnectNs = int64(time.Since(start))
	if err != nil {
		return nil, fail(ClassConnect, err)
	}
	if c.TLS == nil {
		return socket, nil
	}
	config := c.TLS.Clone()
	config.NextProtos = []string{alpnHTTP2}
	start = time.Now()
	secured := tls.Client(socket, config)
	err = secured.HandshakeContext(ctx)
	phases.TLSNs = int64(time.Since(start))
	if err == nil && secured.ConnectionState().NegotiatedProtocol != alpnHTTP2 {
		err = errors.New("the server does not speak HTTP/2: it did not choose h2 by ALPN")
	}
	if err != nil {
		socket.Close()
		return nil, fail(ClassTLS, err)
	}
	phases.Secured, phases.Resumed = true, secured.ConnectionState().DidResume
	return secured, nil
}

// member is what the senders of shared connections have in common: a life that
// ends with Close.
type member struct {
	life   context.Context
	end    context.CancelFunc
	closed sync.Once
	leave  func()
}

func newMember(leave func()) *member {
	m := &member{leave: leave}
	m.life, m.end = context.WithCancel(context.Background())
	return m
}

// Close ends a Send that is under way, whose error is then of ClassCanceled,
// and refuses further ones. The connections are closed with the last sender.
// It may be called from any goroutine, more than once.
func (m *member) Close() error {
	m.closed.Do(func() {
		m.end()
		m.leave()
	})
	return nil
}

// begin returns the context of one Send, which ends with done, at the deadline
// or with Close.
func (m *member) begin(ctx context.Context, deadline time.Time) (within context.Context, done func(), err error) {
	if m.life.Err() != nil {
		return nil, nil, &Error{Class: ClassCanceled, Err: net.ErrClosed}
	}
	within, cancel := context.WithDeadline(ctx, deadline)
	stop := context.AfterFunc(m.life, cancel)
	return within, func() { stop(); cancel() }, nil
}

// failure classes an error of a Send on a shared connection. Close is told by
// the member's own life: the errors of a connection that others share, and may
// have closed, say nothing about this sender.
func (m *member) failure(class Class, err error) *Error {
	var classed *Error
	switch {
	case m.life.Err() != nil:
		return &Error{Class: ClassCanceled, Err: net.ErrClosed}
	case errors.As(err, &classed):
		return classed
	case errors.Is(err, net.ErrClosed):
		return &Error{Class: class, Err: err}
	}
	return fail(class, err)
}

// headerOf reads the header lines of a request.
func headerOf(lines []byte, userAgent string) http.Header {
	header := http.Header{"User-Agent": {userAgent}}
	for line := range bytes.SplitSeq(lines, []byte("\r\n")) {
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok {
			header.Add(textproto.CanonicalMIMEHeaderKey(string(name)), string(value))
		}
	}
	return header
}
