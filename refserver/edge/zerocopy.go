package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
)

const (
	// zerocopyHeaderBytes bounds request line and headers; more is answered 431.
	zerocopyHeaderBytes = 4_096

	// zerocopyConnections bounds the open connections, below the usual limits
	// of open files; the next one is answered 503 and closed.
	zerocopyConnections = 15_000

	// zerocopyBodyBytes is how much of a body fasthttp reads before the
	// handler: the least that it can be told. Nobody but Config.Admin gets more.
	zerocopyBodyBytes = 1
)

// zerocopy is the front on fasthttp.
type zerocopy struct {
	edge   *Edge
	server *fasthttp.Server
	idle   sync.Pool // of *work
}

// work is what one postback needs, and keeps for the next.
type work struct {
	postback postback.Postback
	fields   postback.Record
	record   []byte
	entry    accesslog.Entry
	uri      []byte // for the log
}

func newZerocopy(e *Edge) *zerocopy {
	z := &zerocopy{edge: e}
	z.idle.New = func() any { return &work{record: make([]byte, 0, postback.MaxRecordBytes)} }
	z.server = &fasthttp.Server{
		Handler:            z.serve,
		Logger:             fasthttpLog{e.config.Log},
		Concurrency:        zerocopyConnections,
		ReadBufferSize:     zerocopyHeaderBytes,
		ReadTimeout:        readLimit,
		WriteTimeout:       writeLimit,
		IdleTimeout:        idleLimit,
		MaxRequestBodySize: zerocopyBodyBytes,
		StreamRequestBody:  true, // not GetOnly: Config.Admin takes bodies

		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		LazyRequestTime:              true, // Config.Now is asked instead
	}
	return z
}

// Serve blocks until l is closed.
func (z *zerocopy) Serve(l net.Listener) error { return z.server.Serve(l) }

// Shutdown finishes the requests in work. That the listener is closed already
// is what Serve wants, not an error.
func (z *zerocopy) Shutdown(ctx context.Context) error {
	err := z.server.ShutdownWithContext(ctx)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// serve answers one request. fasthttp recovers no panic: neither may what is
// on this path.
func (z *zerocopy) serve(ctx *fasthttp.RequestCtx) {
	path, rawQuery, _ := bytes.Cut(ctx.Request.Header.RequestURI(), []byte{'?'})
	r := request{path: path, rawQuery: rawQuery, signed: string(path) == signedPath, inDialect: postback.IsDialectPath(path)}
	if !r.signed && !r.inDialect && string(path) != plainPath {
		z.handOver(ctx)
		return
	}
	if r.inDialect {
		r.dialect = z.edge.dialects.Find(path)
	}
	r.received = z.edge.config.Now()
	w := z.idle.Get().(*work)
	z.answer(ctx, w, &r)
	z.idle.Put(w)
}

// answer takes one postback from here to its answer.
func (z *zerocopy) answer(ctx *fasthttp.RequestCtx, w *work, r *request) {
	waiting, cancel := z.edge.waiting()
	defer cancel()
	if z.edge.config.Costs != nil { // else there is nothing worth its memory
		r.timing = accept.NewTiming(r.received, z.edge.config.Now)
	}
	leave, err := z.edge.enterLog(waiting, r.timing, z.take(waiting, ctx, w, r))
	a := z.edge.answerTo(err, r.dialect)
	z.log(ctx, w, r, a.status)
	leave()
	if r.timing != nil {
		ctx.Response.Header.Set("Server-Timing", r.timing.String())
	}
	z.send(ctx, a)
}

// request is what of a postback's request is needed to read it.
type request struct {
	path, rawQuery    []byte
	signed, inDialect bool
	dialect           *postback.DialectReader // nil: not in one, or in an unknown partner's
	received          time.Time
	timing            *accept.Timing // of stages that cost something; nil without
}

// take takes one postback up to the buffer.
func (z *zerocopy) take(waiting context.Context, ctx *fasthttp.RequestCtx, w *work, r *request) error {
	err := z.edge.slow(waiting, r.timing)
	switch {
	case err != nil:
		return err
	case !ctx.IsGet():
		return accept.ErrMethod
	case !z.edge.inFlight.TryEnter():
		return accept.ErrFull
	}
	err = z.edge.enter(waiting, r.timing)
	if err == nil {
		err = z.encode(ctx, w, r)
	}
	if err != nil {
		z.edge.inFlight.Leave()
		return err
	}
	return z.edge.deliver(connOf(ctx.Conn()), w.record, r.timing)
}

// encode makes the request w.record.
func (z *zerocopy) encode(ctx *fasthttp.RequestCtx, w *work, r *request) error {
	const noBody = -2 // neither Content-Length nor Transfer-Encoding
	switch n := ctx.Request.Header.ContentLength(); {
	case n != 0 && n != noBody:
		return accept.ErrBody
	case len(r.rawQuery) > postback.MaxQueryBytes:
		return postback.ErrTooLong
	}
	if err := z.read(w, r); err != nil {
		return err
	}
	p := &w.postback
	if err := accept.Payout(p.Event, p.Payout); err != nil {
		return err
	}
	w.fields = accept.RecordOf(p)
	w.fields.ReceivedUnixNs = r.received.UnixNano()
	var err error
	w.record, err = postback.AppendRecord(w.record[:0], &w.fields)
	return err
}

func (z *zerocopy) readSigned(w *work, r *request) error {
	if err := w.postback.ParseSigned(r.rawQuery); err != nil {
		return err
	}
	return z.edge.verify(r.path, r.rawQuery, &w.postback, r.received)
}

func (z *zerocopy) read(w *work, r *request) error {
	switch {
	case r.signed:
		return z.readSigned(w, r)
	case r.inDialect:
		return z.readDialect(w, r)
	}
	return z.readPlain(w, r)
}

func (z *zerocopy) readDialect(w *work, r *request) error {
	if err := accept.ParseDialect(r.dialect, &w.postback, r.rawQuery, z.edge.config.SignedOnly); err != nil {
		return err
	}
	return accept.VerifyDialect(r.dialect, &w.postback, methodGET, r.path, r.rawQuery, r.received.Unix())
}

// readPlain parses in place what the ordinary parser would accept. Of what it
// would not, the ordinary parser says why, so that both fronts give one reason.
func (z *zerocopy) readPlain(w *work, r *request) error {
	if z.edge.config.SignedOnly {
		return accept.ErrUnsigned
	}
	p := &w.postback
	err := p.ParsePlain(r.rawQuery)
	if err == nil && isWellEscaped(r.rawQuery) &&
		accept.IsText(p.ClickID) && accept.IsText(p.TxID) && accept.IsText(p.OfferID) {
		return nil
	}
	if _, reason := accept.ParsePlain(string(r.rawQuery)); reason != nil {
		return reason
	}
	if err == nil {
		err = &postback.ParseError{Reason: postback.ErrBadEscape}
	}
	return err
}

// isWellEscaped is what url.ParseQuery asks of the parameters that ParsePlain
// does not look at: no bad escape, no ";".
func isWellEscaped(rawQuery []byte) bool {
	if bytes.IndexByte(rawQuery, ';') >= 0 {
		return false
	}
	for {
		i := bytes.IndexByte(rawQuery, '%')
		if i < 0 {
			return true
		}
		rawQuery = rawQuery[i+1:]
		if len(rawQuery) < 2 || !isHex(rawQuery[0]) || !isHex(rawQuery[1]) {
			return false
		}
		rawQuery = rawQuery[2:]
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// log logs before the answer is sent, if anything at all.
func (z *zerocopy) log(ctx *fasthttp.RequestCtx, w *work, r *request, status int) {
	to := z.edge.config.AccessLog
	if to == nil {
		return
	}
	w.uri = r.dialect.AppendRedacted(w.uri[:0], ctx.Request.Header.RequestURI())
	w.entry = accesslog.Entry{
		UnixNs: r.received.UnixNano(), DurationNs: z.edge.config.Now().Sub(r.received).Nanoseconds(),
		Status: status, Method: ctx.Method(), URI: w.uri,
	}
	to.Log(&w.entry)
}

// send answers with one line of plain text, which is fasthttp's default type.
func (z *zerocopy) send(ctx *fasthttp.RequestCtx, a answer) {
	h := &ctx.Response.Header
	h.Set("X-Content-Type-Options", "nosniff") // a reason may repeat the sender's bytes
	switch a.status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", accept.RetryAfterS)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodGet)
	}
	ctx.Response.SetStatusCode(a.status)
	ctx.Response.SetBodyString(a.line)
}

// fasthttpLog takes what fasthttp has to say.
type fasthttpLog struct{ log *slog.Logger }

func (l fasthttpLog) Printf(format string, args ...any) {
	l.log.Warn(fmt.Sprintf(format, args...))
}
