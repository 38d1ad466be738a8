package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Limits of the HTTP/1.1 client.
const (
	maxBodyBytes    = 64 << 10
	readBufferBytes = 8 << 10 // also the longest header of an answer
)

// HTTP1Config says where and how an HTTP1 client connects.
type HTTP1Config struct {
	Address string      // host:port to dial
	Host    string      // Host header
	TLS     *tls.Config // nil: plain text
	// CloseEach opens a connection for every request.
	CloseEach bool
	UserAgent string
	// Dial opens the connection; nil dials the address over TCP. The
	// connection may have a method Stale() bool: it is then asked, instead of
	// its socket, whether an idle connection can no longer be used.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolve stands for the look-up of the host before each connect; its time
	// counts as DNS if it says that it looked. nil: a host that is no number is looked up, nothing else.
	Resolve func(ctx context.Context) (looked bool, err error)
}

// HTTP1 is one HTTP/1.1 connection. It writes requests byte for byte as they
// are given and parses answers with fasthttp. It holds the connection itself
// instead of using fasthttp's client, whose pool resends GETs up to five times
// without telling. Not safe for concurrent use, Close excepted.
type HTTP1 struct {
	cfg      HTTP1Config
	resolver net.Resolver
	dialer   net.Dialer
	life     context.Context // ends with Close
	end      context.CancelFunc

	current  atomic.Pointer[net.Conn] // the socket, below TLS, for Close
	conn     net.Conn
	reader   *bufio.Reader
	readErr  error // how reading from conn ended
	out      []byte
	timing   []byte // of an answer with several lines of it
	response fasthttp.Response
}

// NewHTTP1 returns a client that connects at its first Send.
func NewHTTP1(cfg HTTP1Config) *HTTP1 {
	c := &HTTP1{cfg: cfg}
	c.life, c.end = context.WithCancel(context.Background())
	c.reader = bufio.NewReaderSize(nil, readBufferBytes)
	return c
}

// Send sends one request and reads the whole answer, not later than deadline.
// The request is written at most once. ctx ends connecting; once the request
// is on its way, deadline and Close do. The error is an *Error.
func (c *HTTP1) Send(ctx context.Context, req *Request, deadline time.Time) (Reply, error) {
	start := time.Now()
	var reply Reply
	if c.life.Err() != nil {
		return reply, fail(ClassCanceled, net.ErrClosed)
	}
	// The server may have closed the connection since the last answer, or have
	// sent something that would be taken for the next one.
	if c.conn != nil && spent(c.conn) {
		c.drop()
	}
	if c.conn == nil {
		if err := c.open(ctx, deadline, &reply.Phases); err != nil {
			return reply, err
		}
	}
	if err := c.exchange(req, deadline, start, &reply); err != nil {
		c.abort()
		return reply, err
	}
	if c.cfg.CloseEach || c.response.ConnectionClose() || c.reader.Buffered() > 0 {
		c.drop()
	}
	return reply, nil
}

// exchange writes the request and reads the answer on the open connection.
func (c *HTTP1) exchange(req *Request, deadline, start time.Time, reply *Reply) error {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return fail(ClassClosed, err)
	}
	c.out = c.appendRequest(c.out[:0], req)
	wrote := time.Now()
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
		// The parser hides what the connection said in errors of its own.
		if c.readErr != nil {
			return fail(ClassClosed, c.readErr)
		}
		return fail(ClassResponse, err)
	}
	reply.Phases.BodyNs = int64(time.Since(firstByte))
	reply.Status, reply.Body = c.response.StatusCode(), c.response.Body()
	c.readTiming(reply)
	return nil
}

// readTiming hands on the answer's Server-Timing; a single line, which is
// nearly every one, without a copy.
func (c *HTTP1) readTiming(reply *Reply) {
	lines := c.response.Header.PeekAll(serverTiming)
	if len(lines) == 1 {
		reply.ServerTiming = lines[0]
		return
	}
	c.timing = c.timing[:0]
	for _, line := range lines {
		var cut bool
		c.timing, cut = addTiming(c.timing, line)
		reply.TimingCut = reply.TimingCut || cut
	}
	reply.ServerTiming = c.timing
}

// reader reads a client's connection and remembers how that ended.
type reader struct{ client *HTTP1 }

func (r reader) Read(p []byte) (int, error) {
	n, err := r.client.conn.Read(p)
	if err != nil {
		r.client.readErr = err
	}
	return n, err
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
	defer context.AfterFunc(c.life, cancel)()
	phases.Opened = true
	addresses, err := c.resolve(ctx, phases)
	if err != nil {
		return fail(ClassDNS, err)
	}
	start := time.Now()
	socket, err := c.connect(ctx, addresses, deadline)
	phases.ConnectNs = int64(time.Since(start))
	if err != nil {
		return fail(ClassConnect, err)
	}
	c.conn = socket
	c.current.Store(&socket)
	if c.life.Err() != nil { // Close came before it could see the socket
		c.abort()
		return fail(ClassCanceled, net.ErrClosed)
	}
	if c.cfg.TLS != nil {
		start = time.Now()
		secured := tls.Client(socket, c.cfg.TLS)
		err := secured.HandshakeContext(ctx)
		phases.TLSNs = int64(time.Since(start))
		if err != nil {
			c.abort()
			return fail(ClassTLS, err)
		}
		c.conn = secured
		phases.Secured, phases.Resumed = true, secured.ConnectionState().DidResume
	}
	c.readErr = nil
	c.reader.Reset(reader{c})
	return nil
}

// connect tries the addresses of the host one after the other, as every client
// does. No request has been sent yet, so that this repeats none.
func (c *HTTP1) connect(ctx context.Context, addresses []string, deadline time.Time) (net.Conn, error) {
	dial := c.cfg.Dial
	if dial == nil {
		dial = c.dialer.DialContext
	}
	var first error
	for i, address := range addresses {
		// A silent address must leave the others their share of the time.
		share := time.Until(deadline) / time.Duration(len(addresses)-i)
		shared, cancel := context.WithTimeout(ctx, share)
		socket, err := dial(shared, "tcp", address)
		cancel()
		if err == nil {
			return socket, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, first
}

// resolve returns the addresses to try, with numeric hosts.
func (c *HTTP1) resolve(ctx context.Context, phases *Phases) ([]string, error) {
	start := time.Now()
	if c.cfg.Resolve != nil {
		looked, err := c.cfg.Resolve(ctx)
		if looked {
			phases.DNSNs = int64(time.Since(start))
		}
		if err != nil {
			return nil, err
		}
	}
	host, port, err := net.SplitHostPort(c.cfg.Address)
	if err != nil || net.ParseIP(host) != nil {
		return []string{c.cfg.Address}, err
	}
	addresses, err := c.resolver.LookupHost(ctx, host)
	phases.DNSNs = int64(time.Since(start))
	for i := range addresses {
		addresses[i] = net.JoinHostPort(addresses[i], port)
	}
	return addresses, err
}

// spent reports whether an idle connection can no longer be used. A connection
// that is not a socket knows for itself what its peer would see of it by now.
func spent(conn net.Conn) bool {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if shaped, ok := conn.(interface{ Stale() bool }); ok {
		return shaped.Stale()
	}
	return stale(conn)
}

// drop closes the connection in good order.
func (c *HTTP1) drop() {
	if c.conn != nil {
		c.conn.Close()
		c.forget()
	}
}

// abort closes the socket at once. TLS would say goodbye first, which may
// block for seconds on a peer that does not listen.
func (c *HTTP1) abort() {
	(*c.current.Load()).Close()
	c.forget()
}

func (c *HTTP1) forget() {
	c.conn = nil
	c.current.Store(nil)
}

// Close ends a Send that is under way, whose error is then of ClassCanceled,
// and refuses further ones. It may be called from any goroutine.
func (c *HTTP1) Close() error {
	c.end()
	if socket := c.current.Load(); socket != nil {
		return (*socket).Close()
	}
	return nil
}
