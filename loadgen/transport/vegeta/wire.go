package vegeta

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	lib "github.com/tsenart/vegeta/v12/lib"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/transport"
)

// seqHeader is where vegeta writes the number of a hit. It is known on the
// wire only: two workers may ask for their targets in another order than they
// took their hits.
const seqHeader = "X-Vegeta-Seq"

// hit is what the wire knows of one of vegeta's hits. Hit i carries intent i.
type hit struct{ timedOut bool }

// wire is the last station before the network. It replaces vegeta's request by
// the intent's own, byte for byte, and counts the requests that net/http
// repeats in silence after a dead keep-alive connection (golang/go#48438).
type wire struct {
	base          http.RoundTripper
	cfg           *loadgen.Config
	due           []int64
	hits          []hit
	hiddenRetries atomic.Int64

	mu       sync.Mutex
	renderer *loadgen.Renderer
	rendered transport.Request
	it       intent.Intent
}

func newWire(cfg *loadgen.Config, due []int64, base http.RoundTripper) *wire {
	return &wire{base: base, cfg: cfg, due: due, hits: make([]hit, len(due)),
		renderer: loadgen.NewRenderer(cfg.Intents, 0, &cfg.Partners[0].Template)}
}

// target gives vegeta something to send; RoundTrip knows better.
func (w *wire) target(t *lib.Target) error {
	t.Method, t.URL = http.MethodGet, w.cfg.Partners[0].Origin
	return nil
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	index, err := strconv.ParseUint(r.Header.Get(seqHeader), 10, 32)
	if err != nil {
		panic("BUG: request without " + seqHeader)
	}
	var written atomic.Int64
	trace := &httptrace.ClientTrace{WroteHeaders: func() {
		if written.Add(1) > 1 {
			w.hiddenRetries.Add(1)
		}
	}}
	response, err := w.base.RoundTrip(w.request(httptrace.WithClientTrace(r.Context(), trace), index))
	if err != nil {
		w.hits[index].failed(r.Context())
		return nil, err
	}
	response.Body = &body{ReadCloser: response.Body, hit: &w.hits[index], ctx: r.Context()}
	return response, nil
}

// request renders an intent.
func (w *wire) request(ctx context.Context, index uint64) *http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cfg.Intents.At(index, &w.it)
	w.renderer.Render(&w.it, w.cfg.Intents.Spec().EpochUnixS+w.due[index]/int64(time.Second), &w.rendered)
	w.cfg.Cells[index].DueNs = w.due[index]
	w.cfg.Cells[index].Flags |= audit.Released

	r, err := http.NewRequestWithContext(ctx, w.rendered.Method, w.cfg.Partners[0].Origin, bytes.NewReader(bytes.Clone(w.rendered.Body)))
	if err != nil {
		panic("BUG: checked request: " + err.Error())
	}
	r.URL.Opaque = string(w.rendered.Target) // as it is: net/url would re-encode it
	r.Header.Set("User-Agent", "postbench")
	for line := range bytes.SplitSeq(w.rendered.Header, []byte("\r\n")) {
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok {
			r.Header.Add(string(name), string(value))
		}
	}
	return r
}

// failed notes whether a hit failed because its time was over. Nothing but the
// client's timeout gives a request a deadline; how it ends a request then
// (deadline, cancellation) is a race inside net/http.
func (h *hit) failed(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	h.timedOut = ok && !time.Now().Before(deadline)
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
