package edge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
)

const (
	// plainHeaderBytes bounds request line and headers, with 4 KiB that
	// net/http adds; more is answered 431.
	plainHeaderBytes = 8 << 10

	// maxAmountBytes is the longest payout in a query; the longest amount has 21.
	maxAmountBytes = 32
)

// plain is the front on net/http. It is ordinary on purpose.
type plain struct {
	edge   *Edge
	server *http.Server
}

// connKey is where a request's context holds its *conn.
type connKey struct{}

func newPlain(e *Edge) *plain {
	p := &plain{edge: e}
	p.server = &http.Server{
		Handler:           p,
		ReadHeaderTimeout: readLimit,
		ReadTimeout:       readLimit,
		WriteTimeout:      writeLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    plainHeaderBytes,
		ErrorLog:          slog.NewLogLogger(e.config.Log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	return p
}

// Serve blocks until l is closed.
func (p *plain) Serve(l net.Listener) error { return p.server.Serve(l) }

// Shutdown finishes the requests in work.
func (p *plain) Shutdown(ctx context.Context) error { return p.server.Shutdown(ctx) }

// ServeHTTP answers one request.
func (p *plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The bytes of the request line, as the other front goes by them.
	path, _, _ := strings.Cut(r.RequestURI, "?")
	read := p.readPlain
	switch path {
	case plainPath:
	case signedPath:
		read = p.readSigned
	default:
		p.handOver(w, r)
		return
	}
	received := p.edge.config.Now()
	t := &timing{now: p.edge.config.Now, last: received}
	a := p.edge.answerTo(p.take(r, received, t, read))
	p.log(r, received, t, a.status)
	if len(t.stages) > 0 {
		w.Header().Set("Server-Timing", string(t.stages))
	}
	p.send(w, a)
}

// reader turns a request into a record, or says why not.
type reader func(r *http.Request, received time.Time, t *timing) (*postback.Record, error)

// take takes one postback up to the buffer.
func (p *plain) take(r *http.Request, received time.Time, t *timing, read reader) error {
	switch {
	case r.Method != http.MethodGet:
		return accept.ErrMethod
	case !p.edge.inFlight.TryEnter():
		return accept.ErrFull
	}
	record, err := p.encode(r, received, t, read)
	if err != nil {
		p.edge.inFlight.Leave()
		return err
	}
	t.last = p.edge.config.Now()
	err = p.edge.deliver(r.Context().Value(connKey{}).(*conn), record)
	t.mark("buffer")
	return err
}

func (p *plain) encode(r *http.Request, received time.Time, t *timing, read reader) ([]byte, error) {
	switch {
	case r.ContentLength != 0:
		return nil, accept.ErrBody
	case len(r.URL.RawQuery) > postback.MaxQueryBytes:
		return nil, postback.ErrTooLong
	}
	fields, err := read(r, received, t)
	if err != nil {
		return nil, err
	}
	if err := accept.Payout(fields.Event, fields.Payout); err != nil {
		return nil, err
	}
	fields.ReceivedUnixNs = received.UnixNano()
	return postback.AppendRecord(nil, fields)
}

// readSigned reads strictly and believes nothing before the signature is checked.
func (p *plain) readSigned(r *http.Request, received time.Time, t *timing) (*postback.Record, error) {
	rawQuery := []byte(r.URL.RawQuery)
	var pb postback.Postback
	err := pb.ParseSigned(rawQuery)
	t.mark("parse")
	if err != nil {
		return nil, err
	}
	err = p.edge.verify([]byte(signedPath), rawQuery, &pb, received)
	t.mark("verify")
	if err != nil {
		return nil, err
	}
	return &postback.Record{
		ClickID: pb.ClickID, TxID: pb.TxID, OfferID: pb.OfferID, Event: pb.Event, Payout: pb.Payout, Currency: pb.Currency,
		KID: pb.KID,
	}, nil
}

// readPlain is what a tracker's handler looks like: a map of everything, then
// one field after another.
func (p *plain) readPlain(r *http.Request, _ time.Time, t *timing) (*postback.Record, error) {
	if p.edge.config.SignedOnly {
		return nil, accept.ErrUnsigned
	}
	record, err := parsePlain(r.URL.RawQuery)
	t.mark("parse")
	return record, err
}

func parsePlain(rawQuery string) (*postback.Record, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, &postback.ParseError{Reason: postback.ErrBadEscape}
	}
	r := &postback.Record{}
	for _, field := range []struct {
		name     string
		maxBytes int
		set      func(value string) error
	}{
		{"click_id", postback.MaxClickIDBytes, func(v string) error { r.ClickID = []byte(v); return nil }},
		{"txid", postback.MaxTxIDBytes, func(v string) error { r.TxID = []byte(v); return nil }},
		{"offer_id", postback.MaxOfferIDBytes, func(v string) error { r.OfferID = []byte(v); return nil }},
		{"event", maxAmountBytes, func(v string) (err error) { r.Event, err = parseEvent(v); return err }},
		{"payout", maxAmountBytes, func(v string) (err error) { r.Payout, err = postback.ParseMoney([]byte(v)); return err }},
		{"currency", maxAmountBytes, func(v string) (err error) { r.Currency, err = postback.ParseCurrency([]byte(v)); return err }},
	} {
		if err := setOnce(values[field.name], field.maxBytes, field.set); err != nil {
			return nil, &postback.ParseError{Param: field.name, Reason: err}
		}
	}
	if len(r.ClickID) == 0 {
		return nil, &postback.ParseError{Param: "click_id", Reason: postback.ErrMissing}
	}
	return r, nil
}

func parseEvent(v string) (postback.Event, error) {
	event, ok := postback.ParseEvent([]byte(v))
	if !ok {
		return 0, fmt.Errorf("%w: unknown event", postback.ErrBadValue)
	}
	return event, nil
}

// setOnce sets a field from its only value; an empty value counts as absent.
func setOnce(values []string, maxBytes int, set func(string) error) error {
	switch {
	case len(values) > 1:
		return postback.ErrDuplicateKey // either choice would be a guess about money
	case len(values) == 0 || values[0] == "":
		return nil
	case len(values[0]) > maxBytes:
		return postback.ErrTooLong
	case !accept.IsText([]byte(values[0])):
		return accept.ErrNotText
	}
	return set(values[0])
}

// log is a stage of its own: the entry is taken before the answer.
func (p *plain) log(r *http.Request, received time.Time, t *timing, status int) {
	if p.edge.config.AccessLog == nil {
		return
	}
	t.last = p.edge.config.Now()
	p.edge.config.AccessLog.Log(&accesslog.Entry{
		UnixNs: received.UnixNano(), DurationNs: t.last.Sub(received).Nanoseconds(),
		Status: status, Method: []byte(r.Method), URI: []byte(r.RequestURI),
	})
	t.mark("log")
}

// send answers with one line of plain text.
func (p *plain) send(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff") // a reason may repeat the sender's bytes
	switch a.status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", accept.RetryAfterS)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.line) // a client that has gone away is no error of ours
}

// timing collects the stages of one request for the Server-Timing header.
type timing struct {
	now    func() time.Time
	last   time.Time
	stages []byte
}

// mark ends the stage that began at the last mark.
func (t *timing) mark(stage string) {
	now := t.now()
	t.add(stage, now.Sub(t.last).Nanoseconds())
	t.last = now
}

func (t *timing) add(stage string, durationNs int64) {
	if len(t.stages) > 0 {
		t.stages = append(t.stages, ", "...)
	}
	t.stages = append(t.stages, stage...)
	t.stages = append(t.stages, ";dur="...)
	t.stages = strconv.AppendFloat(t.stages, float64(durationNs)/1e6, 'f', 3, 64) // milliseconds
}
