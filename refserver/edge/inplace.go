package edge

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
)

// inPlace takes postbacks without an allocation for each: those of zerocopy,
// and those that come as messages.
type inPlace struct {
	edge *Edge
	idle sync.Pool // of *work
}

// work is what one postback needs, and keeps for the next.
type work struct {
	postback postback.Postback
	fields   postback.Record
	record   []byte
	entry    accesslog.Entry
	uri      []byte // for the log
}

func newInPlace(e *Edge) *inPlace {
	i := &inPlace{edge: e}
	i.idle.New = func() any { return &work{record: make([]byte, 0, postback.MaxRecordBytes)} }
	return i
}

// request is what of a postback's request is needed to read it. method, target,
// hasBody and verified are given, find adds the rest.
type request struct {
	method, target    []byte
	hasBody           bool
	verified          bool // by whom the edge believes
	path, rawQuery    []byte
	signed, inDialect bool
	dialect           *postback.DialectReader // nil: not in one, or in an unknown partner's
	received          time.Time
	timing            *accept.Timing // of stages that cost something; nil without
}

// find finds out what r is; false means no postback.
func (i *inPlace) find(r *request) bool {
	r.path, r.rawQuery, _ = bytes.Cut(r.target, []byte{'?'})
	r.signed, r.inDialect = string(r.path) == signedPath, postback.IsDialectPath(r.path)
	if !r.signed && !r.inDialect && string(r.path) != plainPath {
		return false
	}
	if r.inDialect {
		r.dialect = i.edge.dialects.Find(r.path)
	}
	r.received = i.edge.config.Now()
	return true
}

// answer takes one postback, as find left it, from here to its answer. It waits
// within working. c is nil for a message.
func (i *inPlace) answer(working context.Context, c *conn, r *request) answer {
	waiting, cancel := i.edge.waiting(working)
	defer cancel()
	if i.edge.config.Costs != nil { // else there is nothing worth its memory
		r.timing = accept.NewTiming(r.received, i.edge.config.Now)
	}
	w := i.idle.Get().(*work)
	defer i.idle.Put(w)
	err := i.take(waiting, w, r)
	if err == nil {
		err = i.edge.deliver(working, c, w.record, r.timing)
	}
	leave, err := i.edge.enterLog(waiting, r.timing, err)
	defer leave()
	a := i.edge.answerTo(err, r.dialect)
	i.log(w, r, a.status)
	return a
}

// take reads one postback into w.record. With a nil error it has a place in
// the gate.
func (i *inPlace) take(waiting context.Context, w *work, r *request) error {
	err := i.edge.slow(waiting, r.timing)
	switch {
	case err != nil:
		return err
	case string(r.method) != http.MethodGet:
		return accept.ErrMethod
	case !i.edge.inFlight.TryEnter():
		return accept.ErrFull
	}
	err = i.edge.enter(waiting, r.timing)
	if err == nil {
		err = i.encode(w, r)
	}
	if err != nil {
		i.edge.inFlight.Leave()
	}
	return err
}

// encode makes the request w.record.
func (i *inPlace) encode(w *work, r *request) error {
	switch {
	case r.hasBody:
		return accept.ErrBody
	case len(r.rawQuery) > postback.MaxQueryBytes:
		return postback.ErrTooLong
	}
	if err := i.read(w, r); err != nil {
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

func (i *inPlace) readSigned(w *work, r *request) error {
	if err := w.postback.ParseSigned(r.rawQuery); err != nil {
		return err
	}
	if r.verified {
		return nil
	}
	return i.edge.verify(r.path, r.rawQuery, &w.postback, r.received)
}

func (i *inPlace) read(w *work, r *request) error {
	switch {
	case r.signed:
		return i.readSigned(w, r)
	case r.inDialect:
		return i.readDialect(w, r)
	}
	return i.readPlain(w, r)
}

func (i *inPlace) readDialect(w *work, r *request) error {
	if err := accept.ParseDialect(r.dialect, &w.postback, r.rawQuery, i.edge.config.SignedOnly); err != nil {
		return err
	}
	if r.verified {
		return nil
	}
	return accept.VerifyDialect(r.dialect, &w.postback, methodGET, r.path, r.rawQuery, r.received.Unix())
}

// readPlain parses in place what the ordinary parser would accept. Of what it
// would not, the ordinary parser says why, so that both fronts give one reason.
func (i *inPlace) readPlain(w *work, r *request) error {
	if i.edge.config.SignedOnly {
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
func (i *inPlace) log(w *work, r *request, status int) {
	to := i.edge.config.AccessLog
	if to == nil {
		return
	}
	w.uri = r.dialect.AppendRedacted(w.uri[:0], r.target)
	w.entry = accesslog.Entry{
		UnixNs: r.received.UnixNano(), DurationNs: i.edge.config.Now().Sub(r.received).Nanoseconds(),
		Status: status, Method: r.method, URI: w.uri,
	}
	to.Log(&w.entry)
}
