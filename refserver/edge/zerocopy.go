package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/valyala/fasthttp"

	"github.com/postbench/postbench/refserver/accept"
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
	*inPlace
	server *fasthttp.Server
}

func newZerocopy(e *Edge) *zerocopy {
	z := &zerocopy{inPlace: e.inPlace}
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
	const noBody = -2 // neither Content-Length nor Transfer-Encoding
	n := ctx.Request.Header.ContentLength()
	r := request{method: ctx.Method(), target: ctx.Request.Header.RequestURI(), hasBody: n != 0 && n != noBody}
	r.verified = z.edge.isVerified(ctx.Request.Header.Peek(VerifiedHeader))
	if !z.find(&r) {
		z.handOver(ctx)
		return
	}
	a := z.answer(z.edge.working, connOf(ctx.Conn()), &r)
	if r.timing != nil {
		ctx.Response.Header.Set("Server-Timing", r.timing.String())
	}
	z.send(ctx, a)
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
