package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// HTTP2 is one partner's HTTP/2 connections: each carries up to
// SharedConfig.Streams requests at once, fewer if the server allows fewer, and
// another one is opened when all are full. It uses net/http's client
// connections directly, because a pooled http.Transport sends requests again
// without telling: a request that the server refuses or that a GOAWAY leaves
// out is an error here. Without TLS it speaks HTTP/2 from the first byte (prior
// knowledge). Safe for concurrent use.
type HTTP2 struct {
	cfg    SharedConfig
	scheme string
	pool   pool[*http2Conn]
}

// http2Conn is a connection and the requests on it.
type http2Conn struct {
	client *http.ClientConn
	limit  int

	mu   sync.Mutex
	used int
}

// NewHTTP2 returns a client that connects when the first request is sent.
func NewHTTP2(cfg SharedConfig) *HTTP2 {
	h := &HTTP2{cfg: cfg, scheme: "http"}
	if cfg.TLS != nil {
		h.scheme = "https"
	}
	h.pool.open = h.open
	return h
}

// Sender returns a sender of one request at a time. The connections are closed
// with the last sender.
func (h *HTTP2) Sender() *HTTP2Sender {
	h.pool.join()
	return &HTTP2Sender{member: newMember(h.pool.leave), shared: h}
}

// HTTP2Sender sends one request at a time. Not safe for concurrent use, Close
// excepted.
type HTTP2Sender struct {
	*member
	shared *HTTP2
	body   bytes.Buffer
	timing []byte
}

// errBodyTooLong says that an answer is longer than maxBodyBytes.
var errBodyTooLong = fmt.Errorf("the answer has more than %d bytes", maxBodyBytes)

// Send sends one request at most once and reads the whole answer, not later
// than deadline. The error is an *Error.
func (s *HTTP2Sender) Send(ctx context.Context, req *Request, deadline time.Time) (Reply, error) {
	var reply Reply
	start := time.Now()
	ctx, done, err := s.begin(ctx, deadline)
	if err != nil {
		return reply, err
	}
	defer done()
	conn, err := s.shared.pool.acquire(ctx, &reply.Phases)
	if err != nil {
		return reply, s.failure(ClassConnect, err)
	}
	err = s.exchange(ctx, conn, req, start, &reply)
	conn.giveBack()
	s.shared.pool.freed()
	switch {
	case errors.Is(err, errBodyTooLong):
		return reply, fail(ClassResponse, err)
	case err != nil:
		return reply, s.failure(ClassClosed, err)
	}
	return reply, nil
}

// reserve implements carrier. A connection without requests that takes none is
// of no use: the server has said goodbye, or does not even answer the pings
// that follow requests which timed out.
func (c *http2Conn) reserve() (ok, alive bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.client.Err() != nil:
		return false, false
	case c.used >= c.limit:
		return false, true
	case c.client.Reserve() != nil:
		return false, c.used > 0
	}
	c.used++
	return true, true
}

// giveBack ends a request. Its place within the server's limit is RoundTrip's
// to free.
func (c *http2Conn) giveBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used--
}

// close implements carrier.
func (c *http2Conn) close() {
	c.client.Close() // nobody needs to know how a connection ended that nobody uses
}

// open connects and speaks HTTP/2.
func (h *HTTP2) open(ctx context.Context, phases *Phases) (*http2Conn, error) {
	socket, err := h.cfg.connect(ctx, phases)
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(h.cfg.TLS != nil)
	protocols.SetUnencryptedHTTP2(h.cfg.TLS == nil)
	opened := func(context.Context, string, string) (net.Conn, error) { return socket, nil }
	transport := &http.Transport{Protocols: protocols, DisableCompression: true, DialContext: opened, DialTLSContext: opened}
	deadline, _ := ctx.Deadline()
	_ = socket.SetWriteDeadline(deadline) // net/http greets without one; what this fails on, that fails on
	client, err := transport.NewClientConn(ctx, h.scheme, h.cfg.Address)
	if err != nil {
		socket.Close()
		return nil, fail(ClassConnect, err)
	}
	_ = socket.SetWriteDeadline(time.Time{})
	conn := &http2Conn{client: client, limit: h.cfg.streams()}
	if ok, _ := conn.reserve(); !ok {
		conn.close()
		return nil, fail(ClassClosed, errors.New("the server takes no request on a new connection"))
	}
	return conn, nil
}

// exchange sends the request on the connection and reads the answer.
func (s *HTTP2Sender) exchange(ctx context.Context, conn *http2Conn, req *Request, start time.Time, reply *Reply) error {
	var wroteNs, firstNs atomic.Int64 // since start; the hooks run on the connection's goroutines
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { wroteNs.Store(int64(time.Since(start))) },
		GotFirstResponseByte: func() { firstNs.Store(int64(time.Since(start))) },
	})
	request := (&http.Request{
		Method: req.Method, Proto: "HTTP/2.0", ProtoMajor: 2, Host: s.shared.cfg.Host,
		// Opaque keeps the target byte for byte: it may be malformed on purpose.
		URL:    &url.URL{Scheme: s.shared.scheme, Host: s.shared.cfg.Host, Opaque: "//" + s.shared.cfg.Host + string(req.Target)},
		Header: headerOf(req.Header, s.shared.cfg.UserAgent),
	}).WithContext(ctx)
	if len(req.Body) > 0 {
		// A copy, because the connection may read it when Send is over.
		request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(bytes.Clone(req.Body))), int64(len(req.Body))
	}
	handedNs := int64(time.Since(start))
	response, err := conn.client.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	reply.FirstByteNs = firstNs.Load()
	// The goroutine that writes may come to note the time after the answer has.
	if wrote := wroteNs.Load(); handedNs < wrote && wrote <= reply.FirstByteNs {
		handedNs = wrote
	}
	reply.Phases.WaitNs = reply.FirstByteNs - handedNs
	s.body.Reset()
	if n, err := io.Copy(&s.body, io.LimitReader(response.Body, maxBodyBytes+1)); err != nil {
		return err
	} else if n > maxBodyBytes {
		return errBodyTooLong
	}
	reply.Phases.BodyNs = int64(time.Since(start)) - reply.FirstByteNs
	reply.Status, reply.Body = response.StatusCode, s.body.Bytes()
	s.timing = s.timing[:0]
	for _, line := range response.Header[serverTiming] {
		var cut bool
		s.timing, cut = addTiming(s.timing, line)
		reply.TimingCut = reply.TimingCut || cut
	}
	reply.ServerTiming = s.timing
	return nil
}
