package monolith

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
	"github.com/postbench/postbench/refserver/store"
)

const (
	// storeWait bounds the waits for the store within one postback.
	storeWait = 5 * time.Second

	// maxAmountBytes is the longest payout in a query; the longest amount has 21.
	maxAmountBytes = 32
)

// reader turns a request into a conversion, or says why not.
type reader func(r *http.Request, received time.Time, t *timing) (*store.Conversion, error)

// postback takes one postback from handler entry to answer.
func (s *Server) postback(read reader) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		received := s.config.Now()
		t := &timing{now: s.config.Now, last: received}
		var reply answer
		switch {
		case r.Method != http.MethodGet: // HEAD too: a probe must not record anything
			reply = s.refused(r, accept.ErrMethod)
		case !s.inFlight.TryEnter():
			reply = s.refused(r, accept.ErrFull)
		default:
			defer s.inFlight.Leave()
			reply = s.answer(r, received, t, read)
		}
		if s.config.AccessLog != nil {
			s.log(r, received, t, reply.status)
		}
		if len(t.stages) > 0 {
			w.Header().Set("Server-Timing", string(t.stages))
		}
		reply.send(w)
	}
}

func (s *Server) answer(r *http.Request, received time.Time, t *timing, read reader) answer {
	outcome, err := s.take(r, received, t, read)
	if err != nil {
		return s.refused(r, err)
	}
	return s.accepted(outcome)
}

// log is a stage of its own: the entry is written before the answer.
func (s *Server) log(r *http.Request, received time.Time, t *timing, status int) {
	t.last = t.now()
	s.config.AccessLog.Log(&accesslog.Entry{
		UnixNs: received.UnixNano(), DurationNs: t.last.Sub(received).Nanoseconds(),
		Status: status, Method: []byte(r.Method), URI: []byte(r.RequestURI),
	})
	t.mark("log")
}

func (s *Server) take(r *http.Request, received time.Time, t *timing, read reader) (store.Outcome, error) {
	switch {
	case r.ContentLength != 0:
		return store.Outcome{}, accept.ErrBody
	case len(r.URL.RawQuery) > postback.MaxQueryBytes:
		return store.Outcome{}, postback.ErrTooLong
	}
	c, err := read(r, received, t)
	if err != nil {
		return store.Outcome{}, err
	}
	if err := accept.Payout(c.Event, c.Payout); err != nil {
		return store.Outcome{}, err
	}
	// A partner that hangs up early has sent its postback nonetheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeWait)
	defer cancel()
	if c.Attribution, err = s.config.Conversions.Attribute(ctx, c.ClickID); err != nil {
		return store.Outcome{}, err
	}
	t.mark("attribution")
	outcome, err := s.config.Conversions.Commit(ctx, c)
	if err != nil {
		return store.Outcome{}, err
	}
	t.add("cap", outcome.CapNs)
	t.add("insert", outcome.InsertNs)
	return outcome, nil
}

// readSigned reads strictly and believes nothing before the signature is checked.
func (s *Server) readSigned(r *http.Request, received time.Time, t *timing) (*store.Conversion, error) {
	rawQuery := []byte(r.URL.RawQuery)
	var p postback.Postback
	err := p.ParseSigned(rawQuery)
	t.mark("parse")
	if err != nil {
		return nil, err
	}
	err = s.keyring.Load().Verify([]byte(r.Method), []byte(r.URL.EscapedPath()), rawQuery, &p)
	t.mark("verify")
	if err != nil {
		return nil, err
	}
	if err := accept.Fresh(p.TSUnixS, received.Unix()); err != nil {
		return nil, err
	}
	return &store.Conversion{
		ClickID: string(p.ClickID), TxID: string(p.TxID), ClaimedOfferID: string(p.OfferID),
		Event: p.Event, Payout: p.Payout, Currency: p.Currency, ReceivedUnixNs: received.UnixNano(),
	}, nil
}

// readPlain is what a tracker's handler looks like: a map of everything, then
// one field after another.
func (s *Server) readPlain(r *http.Request, received time.Time, t *timing) (*store.Conversion, error) {
	if s.config.SignedOnly {
		return nil, accept.ErrUnsigned
	}
	c, err := parsePlain(r.URL.RawQuery)
	t.mark("parse")
	if err != nil {
		return nil, err
	}
	c.ReceivedUnixNs = received.UnixNano()
	return c, nil
}

func parsePlain(rawQuery string) (*store.Conversion, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, &postback.ParseError{Reason: postback.ErrBadEscape}
	}
	c := &store.Conversion{}
	for _, field := range []struct {
		name     string
		maxBytes int
		set      func(value string) error
	}{
		{"click_id", postback.MaxClickIDBytes, func(v string) error { c.ClickID = v; return nil }},
		{"txid", postback.MaxTxIDBytes, func(v string) error { c.TxID = v; return nil }},
		{"offer_id", postback.MaxOfferIDBytes, func(v string) error { c.ClaimedOfferID = v; return nil }},
		{"event", maxAmountBytes, func(v string) (err error) { c.Event, err = parseEvent(v); return err }},
		{"payout", maxAmountBytes, func(v string) (err error) { c.Payout, err = postback.ParseMoney([]byte(v)); return err }},
		{"currency", maxAmountBytes, func(v string) (err error) { c.Currency, err = postback.ParseCurrency([]byte(v)); return err }},
	} {
		if err := setOnce(values[field.name], field.maxBytes, field.set); err != nil {
			return nil, &postback.ParseError{Param: field.name, Reason: err}
		}
	}
	if c.ClickID == "" {
		return nil, &postback.ParseError{Param: "click_id", Reason: postback.ErrMissing}
	}
	return c, nil
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
