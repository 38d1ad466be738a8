package monolith

import (
	"context"
	"net/http"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
	"github.com/postbench/postbench/refserver/store"
)

// storeWait bounds the waits for the store within one postback.
const storeWait = 5 * time.Second

// reader turns a request into a record, or says why not.
type reader func(r *http.Request, received time.Time, t *accept.Timing) (*postback.Record, error)

// postback takes one postback from handler entry to answer.
func (s *Server) postback(read reader) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		received := s.config.Now()
		t := accept.NewTiming(received, s.config.Now)
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
		if stages := t.String(); stages != "" {
			w.Header().Set("Server-Timing", stages)
		}
		reply.send(w)
	}
}

func (s *Server) answer(r *http.Request, received time.Time, t *accept.Timing, read reader) answer {
	outcome, err := s.take(r, received, t, read)
	if err != nil {
		return s.refused(r, err)
	}
	return s.accepted(outcome)
}

// log is a stage of its own: the entry is written before the answer.
func (s *Server) log(r *http.Request, received time.Time, t *accept.Timing, status int) {
	s.config.AccessLog.Log(&accesslog.Entry{
		UnixNs: received.UnixNano(), DurationNs: t.Begin().Sub(received).Nanoseconds(),
		Status: status, Method: []byte(r.Method), URI: []byte(r.RequestURI),
	})
	t.Mark("log")
}

func (s *Server) take(r *http.Request, received time.Time, t *accept.Timing, read reader) (store.Outcome, error) {
	switch {
	case r.ContentLength != 0:
		return store.Outcome{}, accept.ErrBody
	case len(r.URL.RawQuery) > postback.MaxQueryBytes:
		return store.Outcome{}, postback.ErrTooLong
	}
	fields, err := read(r, received, t)
	if err != nil {
		return store.Outcome{}, err
	}
	if err := accept.Payout(fields.Event, fields.Payout); err != nil {
		return store.Outcome{}, err
	}
	c := &store.Conversion{
		ClickID: string(fields.ClickID), TxID: string(fields.TxID), ClaimedOfferID: string(fields.OfferID),
		Event: fields.Event, Payout: fields.Payout, Currency: fields.Currency, ReceivedUnixNs: received.UnixNano(),
	}
	// A partner that hangs up early has sent its postback nonetheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeWait)
	defer cancel()
	if c.Attribution, err = s.config.Conversions.Attribute(ctx, c.ClickID); err != nil {
		return store.Outcome{}, err
	}
	t.Mark("attribution")
	outcome, err := s.config.Conversions.Commit(ctx, c)
	if err != nil {
		return store.Outcome{}, err
	}
	t.Add("cap", outcome.CapNs)
	t.Add("insert", outcome.InsertNs)
	return outcome, nil
}

// readSigned reads strictly and believes nothing before the signature is checked.
func (s *Server) readSigned(r *http.Request, received time.Time, t *accept.Timing) (*postback.Record, error) {
	rawQuery := []byte(r.URL.RawQuery)
	var p postback.Postback
	err := p.ParseSigned(rawQuery)
	t.Mark("parse")
	if err != nil {
		return nil, err
	}
	err = s.keyring.Load().Verify([]byte(r.Method), []byte(r.URL.EscapedPath()), rawQuery, &p)
	t.Mark("verify")
	if err != nil {
		return nil, err
	}
	if err := accept.Fresh(p.TSUnixS, received.Unix()); err != nil {
		return nil, err
	}
	record := accept.RecordOf(&p)
	return &record, nil
}

func (s *Server) readPlain(r *http.Request, _ time.Time, t *accept.Timing) (*postback.Record, error) {
	if s.config.SignedOnly {
		return nil, accept.ErrUnsigned
	}
	record, err := accept.ParsePlain(r.URL.RawQuery)
	t.Mark("parse")
	return record, err
}
