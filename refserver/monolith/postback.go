package monolith

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
	"github.com/postbench/postbench/refserver/store"
)

// storeWait bounds each wait for the store.
const storeWait = 5 * time.Second

// reader turns a request into a record, or says why not.
type reader func(r *http.Request, received time.Time, t *accept.Timing) (*postback.Record, error)

// postback takes one postback from handler entry to answer.
func (s *Server) postback(w http.ResponseWriter, r *http.Request, dialect *postback.DialectReader, read reader) {
	received := s.config.Now()
	t := accept.NewTiming(received, s.config.Now)
	// A partner that hangs up early has sent its postback nonetheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), accept.StageLimit)
	defer cancel()
	var outcome store.Outcome
	// Before the gate: a server that was made slow keeps its partners waiting
	// instead of sending them away.
	err := accept.Pass(ctx, s.config.Costs, accept.StageSlow, t)
	switch {
	case err != nil:
	case r.Method != http.MethodGet: // HEAD too: a probe must not record anything
		err = accept.ErrMethod
	case !s.inFlight.TryEnter():
		err = accept.ErrFull
	default:
		defer s.inFlight.Leave()
		outcome, err = s.work(ctx, r, received, t, read)
	}
	reply := s.answerAndLog(ctx, r, received, t, dialect, func(busy error) answer {
		if err := cmp.Or(err, busy); err != nil {
			return s.refused(r, err)
		}
		return s.accepted(outcome, dialect)
	})
	if stages := t.String(); stages != "" {
		w.Header().Set("Server-Timing", stages)
	}
	reply.send(w)
}

// answerAndLog logs the answer, if there is a log: a stage of its own, that
// comes before the answer and may be too busy for one.
func (s *Server) answerAndLog(
	ctx context.Context, r *http.Request, received time.Time, t *accept.Timing, dialect *postback.DialectReader,
	answerTo func(busy error) answer,
) answer {
	if s.config.AccessLog == nil {
		return answerTo(nil)
	}
	began := t.Begin()
	leave, err := accept.Enter(ctx, s.config.Costs, accept.StageLog, nil)
	defer leave()
	reply := answerTo(err)
	s.config.AccessLog.Log(&accesslog.Entry{
		UnixNs: received.UnixNano(), DurationNs: began.Sub(received).Nanoseconds(),
		Status: reply.status, Method: []byte(r.Method), URI: dialect.AppendRedacted(nil, []byte(r.RequestURI)),
	})
	t.Mark("log")
	return reply
}

// work is the request between the web server in front and the answer: nginx
// hands it to one of PHP's workers, who has it until the answer is known.
func (s *Server) work(ctx context.Context, r *http.Request, received time.Time, t *accept.Timing, read reader) (store.Outcome, error) {
	if err := accept.Pass(ctx, s.config.Costs, accept.StageNginx, t); err != nil {
		return store.Outcome{}, err
	}
	leave, err := accept.Enter(ctx, s.config.Costs, accept.StagePHP, t)
	if err != nil {
		return store.Outcome{}, err
	}
	defer leave()
	return s.take(ctx, r, received, t, read)
}

func (s *Server) take(ctx context.Context, r *http.Request, received time.Time, t *accept.Timing, read reader) (store.Outcome, error) {
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
	if err := s.attribute(ctx, c, t); err != nil {
		return store.Outcome{}, err
	}
	return s.commit(ctx, c, t)
}

// attribute asks ClickHouse, which has its own workers.
func (s *Server) attribute(ctx context.Context, c *store.Conversion, t *accept.Timing) error {
	leave, err := accept.Enter(ctx, s.config.Costs, accept.StageClickHouse, t)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	if c.Attribution, err = s.config.Conversions.Attribute(ctx, c.ClickID); err != nil {
		return err
	}
	t.Mark("attribution")
	return nil
}

// commit asks MySQL, which has its own workers.
func (s *Server) commit(ctx context.Context, c *store.Conversion, t *accept.Timing) (store.Outcome, error) {
	leave, err := accept.Enter(ctx, s.config.Costs, accept.StageMySQL, t)
	if err != nil {
		return store.Outcome{}, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
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

// inDialect takes what partners write in their own way.
func (s *Server) inDialect(w http.ResponseWriter, r *http.Request) {
	path, rawQuery, _ := bytes.Cut([]byte(r.RequestURI), []byte{'?'}) // as signed
	d := s.dialects.Find(path)
	s.postback(w, r, d, func(r *http.Request, received time.Time, t *accept.Timing) (*postback.Record, error) {
		var p postback.Postback
		err := accept.ParseDialect(d, &p, rawQuery, s.config.SignedOnly)
		t.Mark("parse")
		if err != nil {
			return nil, err
		}
		err = accept.VerifyDialect(d, &p, []byte(r.Method), path, rawQuery, received.Unix())
		t.Mark("verify")
		if err != nil {
			return nil, err
		}
		record := accept.RecordOf(&p)
		return &record, nil
	})
}

func (s *Server) readPlain(r *http.Request, _ time.Time, t *accept.Timing) (*postback.Record, error) {
	if s.config.SignedOnly {
		return nil, accept.ErrUnsigned
	}
	record, err := accept.ParsePlain(r.URL.RawQuery)
	t.Mark("parse")
	return record, err
}
