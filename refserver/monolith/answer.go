package monolith

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/store"
)

// Counts is what the server answered since its start, in requests: postbacks
// and the judge's questions.
type Counts struct {
	Recorded  int64 `json:"recorded"`   // 200 OK: a new row
	Repeated  int64 `json:"repeated"`   // 200 DUP: nothing new to record
	Malformed int64 `json:"malformed"`  // 400
	Forbidden int64 `json:"forbidden"`  // 403
	WrongVerb int64 `json:"wrong_verb"` // 405
	TooLong   int64 `json:"too_long"`   // 413, 414
	Full      int64 `json:"full"`       // 503: a limit of requests in work was reached, or a stage is busy
	StoreBusy int64 `json:"store_busy"` // 503: the store did not get to it in time
	Failed    int64 `json:"failed"`     // 500
	InFlight  int64 `json:"in_flight"`  // postbacks in work now
}

// counters counts the postbacks; the admin counts what it refused itself.
type counters struct {
	recorded, repeated              atomic.Int64
	malformed, forbidden, wrongVerb atomic.Int64
	tooLong, storeBusy, failed      atomic.Int64
	stageBusy                       atomic.Int64
}

// Counts reads the counters; they are not one instant's.
func (s *Server) Counts() Counts {
	refused := s.admin.Counts()
	return Counts{
		Recorded:  s.counts.recorded.Load(),
		Repeated:  s.counts.repeated.Load(),
		Malformed: s.counts.malformed.Load() + refused.Malformed,
		Forbidden: s.counts.forbidden.Load(),
		WrongVerb: s.counts.wrongVerb.Load() + refused.WrongVerb,
		TooLong:   s.counts.tooLong.Load() + refused.TooLarge,
		Full:      s.inFlight.Refused() + s.counts.stageBusy.Load() + refused.Full,
		StoreBusy: s.counts.storeBusy.Load() + refused.StoreBusy,
		Failed:    s.counts.failed.Load() + refused.Failed,
		InFlight:  s.inFlight.InWork(),
	}
}

// answer is the answer to a postback, once it is known.
type answer struct {
	status int
	line   string
}

// accepted counts what became of a good postback, and answers in the words of
// its dialect if it has one.
func (s *Server) accepted(outcome store.Outcome, dialect *postback.DialectReader) answer {
	if outcome.Repeated {
		s.counts.repeated.Add(1)
		return answer{http.StatusOK, dialect.Duplicate()}
	}
	s.counts.recorded.Add(1)
	return answer{http.StatusOK, dialect.OK()}
}

// refused counts a refusal and gives it its status and reason.
func (s *Server) refused(r *http.Request, err error) answer {
	status := accept.Status(err)
	if errors.Is(err, store.ErrBusy) {
		status = http.StatusServiceUnavailable
	}
	if counter := s.counter(status, err); counter != nil {
		n := counter.Add(1)
		// A failing disk fails every request; the doubling keeps the log short.
		if status == http.StatusInternalServerError && n&(n-1) == 0 {
			s.config.Log.Error("request failed", "path", r.URL.Path, "failures", n, "error", err)
		}
	}
	return answer{status, accept.Reason(status, err)}
}

func (s *Server) counter(status int, err error) *atomic.Int64 {
	switch {
	case errors.Is(err, accept.ErrStage): // before the ErrFull that it wraps
		return &s.counts.stageBusy
	case errors.Is(err, accept.ErrFull): // counted by its gate
		return nil
	case status == http.StatusBadRequest:
		return &s.counts.malformed
	case status == http.StatusForbidden:
		return &s.counts.forbidden
	case status == http.StatusMethodNotAllowed:
		return &s.counts.wrongVerb
	case status == http.StatusRequestURITooLong:
		return &s.counts.tooLong
	case status == http.StatusServiceUnavailable:
		return &s.counts.storeBusy
	}
	return &s.counts.failed
}

// send writes an answer of one line. A client that has gone away is no error
// of ours: what was recorded stays recorded.
func (a answer) send(w http.ResponseWriter) {
	header := w.Header()
	switch a.status {
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodGet)
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", accept.RetryAfterS)
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff") // a reason may repeat the sender's bytes
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.line)
}
