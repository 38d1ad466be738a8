package edge

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/postbench/postbench/refserver/accept"
)

// handOver lets Config.Admin answer, on a goroutine of its own. fasthttp's
// RequestCtx is never used by both goroutines at once: the admin's reads the
// request's body up to the moment when it begins to answer, this one does the
// rest, and the answer's body goes through a pipe that holds nothing.
func (z *zerocopy) handOver(ctx *fasthttp.RequestCtx) {
	if !ctx.Request.Header.IsHTTP11() { // fasthttp would send it chunks that it cannot read
		z.send(ctx, answer{http.StatusHTTPVersionNotSupported, errHTTP11.Error()})
		return
	}
	if !z.edge.admins.TryEnter() {
		z.send(ctx, answer{http.StatusServiceUnavailable, accept.ErrFull.Error()})
		return
	}
	working, cancel := context.WithTimeout(z.edge.working, adminLimit)
	x, r, err := newExchange(working, cancel, ctx)
	if err != nil {
		cancel()
		z.edge.admins.Leave()
		z.send(ctx, answer{http.StatusBadRequest, "request target: " + err.Error()})
		return
	}
	go func() {
		defer z.edge.admins.Leave()
		defer cancel()
		defer x.end(z.edge)
		z.edge.config.Admin.ServeHTTP(x, r)
	}()
	<-x.begun
	x.answer(ctx)
}

// exchange is one request that Config.Admin answers behind fasthttp. It is the
// handler's http.ResponseWriter.
type exchange struct {
	conn   net.Conn
	cancel context.CancelFunc
	body   *lentBody
	head   bool // the answer has no body, whatever is written

	header http.Header // the handler's, who may change it to the end
	reader *io.PipeReader
	writer *io.PipeWriter

	begin sync.Once
	begun chan struct{} // closed when sent and status are final
	// status is 0 when the handler gave up before it began.
	status int
	sent   http.Header
}

// newExchange makes net/http's request of fasthttp's. Nothing of it points into
// ctx but the body.
func newExchange(working context.Context, cancel context.CancelFunc, ctx *fasthttp.RequestCtx) (*exchange, *http.Request, error) {
	target := string(ctx.Request.Header.RequestURI())
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, nil, err
	}
	r := (&http.Request{
		Method: string(ctx.Method()), URL: u, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), Host: string(ctx.Request.Header.Host()), RemoteAddr: ctx.RemoteAddr().String(),
		Body: http.NoBody,
	}).WithContext(working)
	for name, value := range ctx.Request.Header.All() {
		switch key := http.CanonicalHeaderKey(string(name)); key {
		case "Host", "Transfer-Encoding", "Trailer":
		default:
			r.Header.Add(key, string(value))
		}
	}
	x := &exchange{
		conn: ctx.Conn(), cancel: cancel, head: ctx.IsHead(), header: make(http.Header), begun: make(chan struct{}),
		body: &lentBody{conn: ctx.Conn(), stream: ctx.RequestBodyStream()},
	}
	x.reader, x.writer = io.Pipe()
	if x.body.stream != nil {
		r.Body, r.ContentLength = x.body, int64(ctx.Request.Header.ContentLength()) // -1 is chunked in both libraries
		if r.ContentLength < 0 {
			r.TransferEncoding = []string{"chunked"}
		}
	}
	return x, r, nil
}

// Header is the answer's header, until it begins.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader begins the answer. Interim ones are not passed on.
func (x *exchange) WriteHeader(status int) {
	if status >= http.StatusOK {
		x.start(status)
	}
}

// Flush begins the answer; what was written is on its way already.
func (x *exchange) Flush() { x.start(http.StatusOK) }

// Write waits until the client's connection has taken p.
func (x *exchange) Write(p []byte) (int, error) {
	x.start(http.StatusOK)
	if x.head {
		return len(p), nil
	}
	if !hasBody(x.status) {
		return 0, http.ErrBodyNotAllowed
	}
	return x.writer.Write(p)
}

// start takes the request's body from the handler and lets fasthttp answer.
func (x *exchange) start(status int) {
	x.begin.Do(func() {
		_ = x.body.Close()
		x.status, x.sent = status, x.header.Clone()
		close(x.begun)
	})
}

// end ends the answer, the handler's panic included: as net/http does, it cuts
// the connection rather than let half an answer pass for a whole one.
func (x *exchange) end(e *Edge) {
	switch problem := recover(); problem {
	case nil:
		x.start(http.StatusOK)
		_ = x.writer.Close()
	default:
		if problem != http.ErrAbortHandler {
			e.config.Log.Error("admin handler panicked", "panic", problem)
		}
		x.start(0)
		_ = x.writer.CloseWithError(errAborted)
	}
}

// answer is called by fasthttp's goroutine when the answer has begun.
func (x *exchange) answer(ctx *fasthttp.RequestCtx) {
	if x.status == 0 {
		x.cancel()
		ctx.Error(errAborted.Error(), http.StatusBadGateway)
		ctx.SetConnectionClose()
		return
	}
	length := -1
	h := &ctx.Response.Header
	h.SetNoDefaultContentType(true)
	for name, values := range x.sent {
		switch name {
		case "Transfer-Encoding", "Trailer", "Keep-Alive", "Date": // fasthttp's own business
		case "Connection":
			if values[0] == "close" {
				ctx.SetConnectionClose()
			}
		case "Content-Length":
			if n, err := strconv.Atoi(values[0]); err == nil && n >= 0 {
				length = n
			}
		default:
			for _, value := range values {
				h.Add(name, value)
			}
		}
	}
	ctx.Response.SetStatusCode(x.status)
	if x.head || !hasBody(x.status) {
		_ = x.reader.Close()
		if length >= 0 {
			h.SetContentLength(length)
		}
		return
	}
	ctx.Response.SetBodyStream(x, length)
}

// hasBody tells whether an answer of this status may have a body.
func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// Read is fasthttp's: it takes what the handler writes.
func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.reader.Read(p)
	if err == nil {
		err = x.conn.SetWriteDeadline(time.Now().Add(adminIOLimit))
	}
	return n, err
}

// CloseWithError is fasthttp's: the answer is out, or err stopped it. A handler
// whose answer is out comes to its end undisturbed: it may be a proxy that
// wants to keep its connection.
func (x *exchange) CloseWithError(err error) error {
	if err != nil {
		x.cancel()
	}
	return x.reader.CloseWithError(err)
}

// lentBody is the request's body, lent to the handler until its answer begins:
// then fasthttp wants its memory and its connection back.
type lentBody struct {
	conn net.Conn

	mu     sync.Mutex
	stream io.Reader // nil when it was taken back
}

// Read reads, within adminIOLimit.
func (b *lentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	if err := b.conn.SetReadDeadline(time.Now().Add(adminIOLimit)); err != nil {
		return 0, err
	}
	return b.stream.Read(p)
}

// Close takes the body back. It waits for a Read in work.
func (b *lentBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stream = nil
	return nil
}
