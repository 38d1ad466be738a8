package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Limits of the HTTP/1.1 client.
const (
	maxBodyBytes    = 64 << 10
	readBufferBytes = 4 << 10
	// A connection idle for longer is looked at before it is used: the server
	// may have closed it meanwhile. Shorter gaps are not worth a system call.
	staleAfter = 50 * time.Millisecond
)

// HTTP1Config says where and how an HTTP1 client connects.
type HTTP1Config struct {
	Address string      // host:port to dial
	Host    string      // Host header
	TLS     *tls.Config // nil: plain text
	// CloseEach opens a connection for every request.
	CloseEach bool
	UserAgent string
}

// HTTP1 is one HTTP/1.1 connection. It writes requests byte for byte as they
// are given and parses answers with fasthttp. It holds the connection itself
// instead of using fasthttp's client, whose pool resends GETs up to five times
// without telling. Not safe for concurrent use, Close excepted.
type HTTP1 struct {
	cfg      HTTP1Config
	resolver net.Resolver
	dialer   net.Dialer

	current  atomic.Pointer[net.Conn]
	conn     net.Conn
	reader   *bufio.Reader
	out      []byte
	response fasthttp.Response
	lastUse  time.Time
	closed   atomic.Bool
}

// NewHTTP1 returns a client that connects at its first Send.
func NewHTTP1(cfg HTTP1Config) *HTTP1 {
	c := &HTTP1{cfg: cfg, reader: bufio.NewReaderSize(nil, readBufferBytes)}
	// A GET that is retried on another address is a second attempt that
	// nobody counts; one address at a time.
	c.dialer.FallbackDelay = -1
	return c
}

// Send sends one request and reads the whole answer, not later than deadline.
// The request is written at most once. The error is an *Error.
func (c *HTTP1) Send(ctx context.Context, req *Request, deadline time.Time) (Reply, error) {
	start := time.Now()
	var reply Reply
	if c.conn != nil && start.Sub(c.lastUse) > staleAfter && stale(c.conn) {
		c.drop()
	}
	if c.conn == nil {
		if err := c.open(ctx, deadline, &reply.Phases); err != nil {
			return reply, err
		}
	}
	if err := c.exchange(req, deadline, start, &reply); err != nil {
		c.drop()
		return reply, err
	}
	if c.cfg.CloseEach || c.response.ConnectionClose() {
		c.drop()
	}
	c.lastUse = time.Now()
	return reply, nil
}

// exchange writes the request and reads the answer on the open connection.
func (c *HTTP1) exchange(req *Request, deadline, start time.Time, reply *Reply) error {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return fail(ClassClosed, err)
	}
	wrote := time.Now()
	c.out = c.appendRequest(c.out[:0], req)
	if _, err := c.conn.Write(c.out); err != nil {
		return fail(ClassClosed, err)
	}
	if _, err := c.reader.Peek(1); err != nil {
		return fail(ClassClosed, err)
	}
	firstByte := time.Now()
	reply.FirstByteNs = int64(firstByte.Sub(start))
	reply.Phases.WaitNs = int64(firstByte.Sub(wrote))
	c.response.Reset()
	c.response.SkipBody = req.Method == fasthttp.MethodHead
	if err := c.response.ReadLimitBody(c.reader, maxBodyBytes); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fail(ClassClosed, err)
		}
		return fail(ClassResponse, err)
	}
	reply.Phases.BodyNs = int64(time.Since(firstByte))
	reply.Status = c.response.StatusCode()
	return nil
}

// appendRequest writes the wire image of a request. Nothing in it depends on
// anything but the request and the configuration.
func (c *HTTP1) appendRequest(dst []byte, req *Request) []byte {
	dst = append(dst, req.Method...)
	dst = append(dst, ' ')
	dst = append(dst, req.Target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, c.cfg.Host...)
	dst = append(dst, "\r\nUser-Agent: "...)
	dst = append(dst, c.cfg.UserAgent...)
	dst = append(dst, "\r\n"...)
	dst = append(dst, req.Header...)
	if len(req.Body) > 0 || req.Method == fasthttp.MethodPost {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(req.Body)), 10)
		dst = append(dst, "\r\n"...)
	}
	if c.cfg.CloseEach {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, req.Body...)
}

// open resolves, connects and shakes hands, timing each.
func (c *HTTP1) open(ctx context.Context, deadline time.Time, phases *Phases) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	phases.Opened = true
	address, err := c.resolve(ctx, phases)
	if err != nil {
		return fail(ClassDNS, err)
	}
	start := time.Now()
	conn, err := c.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fail(ClassConnect, err)
	}
	phases.ConnectNs = int64(time.Since(start))
	if c.cfg.TLS != nil {
		start = time.Now()
		secured := tls.Client(conn, c.cfg.TLS)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return fail(ClassTLS, err)
		}
		phases.TLSNs = int64(time.Since(start))
		conn = secured
	}
	c.conn = conn
	c.current.Store(&conn)
	c.reader.Reset(conn)
	if c.closed.Load() { // Close came while we were connecting
		c.drop()
		return fail(ClassCanceled, net.ErrClosed)
	}
	return nil
}

// resolve returns an address with a numeric host.
func (c *HTTP1) resolve(ctx context.Context, phases *Phases) (string, error) {
	host, port, err := net.SplitHostPort(c.cfg.Address)
	if err != nil || net.ParseIP(host) != nil {
		return c.cfg.Address, err
	}
	start := time.Now()
	addresses, err := c.resolver.LookupHost(ctx, host)
	phases.DNSNs = int64(time.Since(start))
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(addresses[0], port), nil
}

func (c *HTTP1) drop() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
		c.current.Store(nil)
	}
}

// Close ends a Send that is under way, whose error is then of ClassCanceled,
// and refuses further ones. It may be called from any goroutine.
func (c *HTTP1) Close() error {
	c.closed.Store(true)
	if conn := c.current.Load(); conn != nil {
		return (*conn).Close()
	}
	return nil
}
