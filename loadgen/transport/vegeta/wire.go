package vegeta

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
)

// Headers that carry an intent from the target to the wire, where they are
// taken off again.
const (
	indexHeader  = "X-Postbench-Index"
	targetHeader = "X-Postbench-Target"
	seqHeader    = "X-Vegeta-Seq" // vegeta's own
)

// hit is what the wire knows of one of vegeta's hits.
type hit struct {
	index    uint64
	timedOut bool
}

// wire is the last station before the network: it takes off the headers that
// are not part of the postback, puts the target on the request line byte for
// byte, remembers which hit carries which intent, and counts the requests that
// net/http repeats in silence after a dead keep-alive connection
// (golang/go#48438).
type wire struct {
	base          http.RoundTripper
	hits          []hit // by vegeta's sequence number
	hiddenRetries atomic.Int64
}

func newWire(base http.RoundTripper, hits int) *wire {
	return &wire{base: base, hits: make([]hit, hits)}
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	h := &w.hits[mustNumber(r, seqHeader)]
	h.index = mustNumber(r, indexHeader)
	var written atomic.Int64
	trace := &httptrace.ClientTrace{WroteHeaders: func() {
		if written.Add(1) > 1 {
			w.hiddenRetries.Add(1)
		}
	}}
	clean := r.Clone(httptrace.WithClientTrace(r.Context(), trace))
	clean.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Opaque: r.Header.Get(targetHeader)}
	for _, name := range []string{seqHeader, indexHeader, targetHeader} {
		clean.Header.Del(name)
	}
	clean.Header.Set("User-Agent", "postbench")
	response, err := w.base.RoundTrip(clean)
	if err != nil {
		h.failed(r.Context())
		return nil, err
	}
	response.Body = &body{ReadCloser: response.Body, hit: h, ctx: r.Context()}
	return response, nil
}

// mustNumber reads a header that target or vegeta has set.
func mustNumber(r *http.Request, header string) uint64 {
	n, err := strconv.ParseUint(r.Header.Get(header), 10, 32)
	if err != nil {
		panic("BUG: request without " + header)
	}
	return n
}

// failed notes whether a hit failed because its time was over. Nothing but the
// client's timeout gives a request a deadline.
func (h *hit) failed(ctx context.Context) {
	h.timedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// body tells its hit when it could not be read to the end.
type body struct {
	io.ReadCloser
	hit *hit
	ctx context.Context
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.hit.failed(b.ctx)
	}
	return n, err
}
