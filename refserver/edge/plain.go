package edge

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
)

// plainHeaderBytes bounds request line and headers, with 4 KiB that net/http
// adds; more is answered 431.
const plainHeaderBytes = 8 << 10

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
		WriteTimeout:      e.wholeLimit(),
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    plainHeaderBytes,
		ErrorLog:          slog.NewLogLogger(e.config.Log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, connOf(c))
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
	var dialect *postback.DialectReader
	switch {
	case path == plainPath:
	case path == signedPath:
		read = p.readSigned
	case postback.IsDialectPath([]byte(path)):
		dialect = p.edge.dialects.Find([]byte(path))
		read = p.dialectReader(dialect)
	default:
		p.handOver(w, r)
		return
	}
	received := p.edge.config.Now()
	t := accept.NewTiming(received, p.edge.config.Now)
	ctx, cancel := p.edge.waiting(p.edge.working)
	defer cancel()
	err := p.take(ctx, r, received, t, read)
	a := p.answerAndLog(ctx, r, received, t, err, dialect)
	if stages := t.String(); stages != "" {
		w.Header().Set("Server-Timing", stages)
	}
	p.send(w, a)
}

// reader turns a request into a record, or says why not.
type reader func(r *http.Request, received time.Time, t *accept.Timing) (*postback.Record, error)

// take takes one postback up to the buffer.
func (p *plain) take(ctx context.Context, r *http.Request, received time.Time, t *accept.Timing, read reader) error {
	err := p.edge.slow(ctx, t)
	switch {
	case err != nil:
		return err
	case r.Method != http.MethodGet:
		return accept.ErrMethod
	case !p.edge.inFlight.TryEnter():
		return accept.ErrFull
	}
	err = p.edge.enter(ctx, t)
	var record []byte
	if err == nil {
		record, err = p.encode(r, received, t, read)
	}
	if err != nil {
		p.edge.inFlight.Leave()
		return err
	}
	t.Begin()
	err = p.edge.deliver(p.edge.working, r.Context().Value(connKey{}).(*conn), record, t)
	t.Mark("buffer")
	return err
}

func (p *plain) encode(r *http.Request, received time.Time, t *accept.Timing, read reader) ([]byte, error) {
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
func (p *plain) readSigned(r *http.Request, received time.Time, t *accept.Timing) (*postback.Record, error) {
	rawQuery := []byte(r.URL.RawQuery)
	var pb postback.Postback
	err := pb.ParseSigned(rawQuery)
	t.Mark("parse")
	if err != nil {
		return nil, err
	}
	if !p.isVerified(r) {
		err = p.edge.verify([]byte(signedPath), rawQuery, &pb, received)
	}
	t.Mark("verify")
	if err != nil {
		return nil, err
	}
	record := accept.RecordOf(&pb)
	return &record, nil
}

// isVerified tells whether somebody in front has verified the request.
func (p *plain) isVerified(r *http.Request) bool {
	return p.edge.isVerified([]byte(r.Header.Get(VerifiedHeader)))
}

func (p *plain) readPlain(r *http.Request, _ time.Time, t *accept.Timing) (*postback.Record, error) {
	if p.edge.config.SignedOnly {
		return nil, accept.ErrUnsigned
	}
	record, err := accept.ParsePlain(r.URL.RawQuery)
	t.Mark("parse")
	return record, err
}

// dialectReader reads what a partner writes in its own way; d is nil for an
// unknown one.
func (p *plain) dialectReader(d *postback.DialectReader) reader {
	return func(r *http.Request, received time.Time, t *accept.Timing) (*postback.Record, error) {
		path, rawQuery, _ := bytes.Cut([]byte(r.RequestURI), []byte{'?'})
		var pb postback.Postback
		err := accept.ParseDialect(d, &pb, rawQuery, p.edge.config.SignedOnly)
		t.Mark("parse")
		if err != nil {
			return nil, err
		}
		if !p.isVerified(r) {
			err = accept.VerifyDialect(d, &pb, methodGET, path, rawQuery, received.Unix())
		}
		t.Mark("verify")
		if err != nil {
			return nil, err
		}
		record := accept.RecordOf(&pb)
		return &record, nil
	}
}

// answerAndLog logs the answer to what came of a postback, err or nil, if there
// is a log: a stage of its own, that comes before the answer.
func (p *plain) answerAndLog(
	ctx context.Context, r *http.Request, received time.Time, t *accept.Timing, err error, dialect *postback.DialectReader,
) answer {
	if p.edge.config.AccessLog == nil {
		return p.edge.answerTo(err, dialect)
	}
	began := t.Begin()
	leave, err := p.edge.enterLog(ctx, nil, err)
	defer leave()
	a := p.edge.answerTo(err, dialect)
	p.edge.config.AccessLog.Log(&accesslog.Entry{
		UnixNs: received.UnixNano(), DurationNs: began.Sub(received).Nanoseconds(),
		Status: a.status, Method: []byte(r.Method), URI: dialect.AppendRedacted(nil, []byte(r.RequestURI)),
	})
	t.Mark("log")
	return a
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
