package edge

import (
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
)

// Counts is what an Edge answered since its start, in requests. Each postback
// is in one of the counts up to Failed; the further ones tell more of them.
type Counts struct {
	Accepted     int64 `json:"accepted"`      // 200
	Malformed    int64 `json:"malformed"`     // 400
	Forbidden    int64 `json:"forbidden"`     // 403
	WrongVerb    int64 `json:"wrong_verb"`    // 405
	TooLong      int64 `json:"too_long"`      // 414
	Full         int64 `json:"full"`          // 503: too many in work, or the buffer or a stage is full
	BufferErrors int64 `json:"buffer_errors"` // 503: the buffer failed
	Failed       int64 `json:"failed"`        // 500: our own fault

	// DroppedAfterAnswer of the accepted never came into the buffer.
	DroppedAfterAnswer int64 `json:"dropped_after_answer"`
	// PutBeforeAnswer came into the buffer before the answer although
	// before-buffer was asked for: the connection had too many pending.
	PutBeforeAnswer int64 `json:"put_before_answer"`
	// InFlight are the postbacks in work now, those not yet in the buffer included.
	InFlight int64 `json:"in_flight"`
	// AdminFull are the requests that Config.Admin never saw: 503, too many.
	AdminFull int64 `json:"admin_full"`
}

type counters struct {
	accepted, malformed, forbidden, wrongVerb        atomic.Int64
	tooLong, full, bufferErrors, failed              atomic.Int64
	droppedAfterAnswer, putBeforeAnswer, putFailures atomic.Int64
}

// Counts reads the counters; they are not one instant's.
func (e *Edge) Counts() Counts {
	c := &e.counts
	return Counts{
		Accepted: c.accepted.Load(), Malformed: c.malformed.Load(), Forbidden: c.forbidden.Load(),
		WrongVerb: c.wrongVerb.Load(), TooLong: c.tooLong.Load(), Full: c.full.Load(),
		BufferErrors: c.bufferErrors.Load(), Failed: c.failed.Load(),
		DroppedAfterAnswer: c.droppedAfterAnswer.Load(), PutBeforeAnswer: c.putBeforeAnswer.Load(),
		InFlight: e.inFlight.InWork(), AdminFull: e.admins.Refused(),
	}
}

// answer is what a postback is told.
type answer struct {
	status int
	line   string
}

// answerTo counts the outcome of a postback, err or nil, and gives the answer,
// in the words of its dialect if it has one.
func (e *Edge) answerTo(err error, dialect *postback.DialectReader) answer {
	if err == nil {
		e.counts.accepted.Add(1)
		return answer{http.StatusOK, dialect.OK()}
	}
	if errors.Is(err, errBuffer) {
		e.counts.bufferErrors.Add(1)
		return answer{http.StatusServiceUnavailable, errBuffer.Error()}
	}
	status := accept.Status(err)
	switch status {
	case http.StatusBadRequest:
		e.counts.malformed.Add(1)
	case http.StatusForbidden:
		e.counts.forbidden.Add(1)
		err = errForbidden
	case http.StatusMethodNotAllowed:
		e.counts.wrongVerb.Add(1)
	case http.StatusRequestURITooLong:
		e.counts.tooLong.Add(1)
	case http.StatusServiceUnavailable:
		e.counts.full.Add(1)
	default:
		e.counts.failed.Add(1)
		e.config.Log.Error("postback failed", "error", err)
	}
	return answer{status, accept.Reason(status, err)}
}
