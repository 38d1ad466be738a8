package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/store"
)

var errNotFound = errors.New("offer was never loaded")

// Counts is what an Admin refused since its start, in requests.
type Counts struct {
	Malformed int64 `json:"malformed"`  // 400
	WrongVerb int64 `json:"wrong_verb"` // 405
	TooLarge  int64 `json:"too_large"`  // 413
	Full      int64 `json:"full"`       // 503: the limit of reports in work was reached
	StoreBusy int64 `json:"store_busy"` // 503: the store did not get to it in time
	Failed    int64 `json:"failed"`     // 500
}

type counters struct {
	malformed, wrongVerb, tooLarge, storeBusy, failed atomic.Int64
}

// Counts reads the counters; they are not one instant's.
func (a *Admin) Counts() Counts {
	return Counts{
		Malformed: a.counts.malformed.Load(), WrongVerb: a.counts.wrongVerb.Load(), TooLarge: a.counts.tooLarge.Load(),
		Full: a.reports.Refused(), StoreBusy: a.counts.storeBusy.Load(), Failed: a.counts.failed.Load(),
	}
}

// refuse answers with the status that err stands for, one line of reason, and
// counts it.
func (a *Admin) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, counter := a.classify(err)
	if counter != nil {
		n := counter.Add(1)
		// A failing disk fails every request; the doubling keeps the log short.
		if status == http.StatusInternalServerError && n&(n-1) == 0 {
			a.config.Log.Error("request failed", "path", r.URL.Path, "failures", n, "error", err)
		}
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", accept.RetryAfterS)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff") // a reason may repeat the sender's bytes
	w.WriteHeader(status)
	_, _ = io.WriteString(w, accept.Reason(status, err))
}

func (a *Admin) classify(err error) (status int, counter *atomic.Int64) {
	var badCSV *csvError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, accept.ErrMethod):
		return http.StatusMethodNotAllowed, &a.counts.wrongVerb
	case errors.As(err, &badCSV):
		return http.StatusBadRequest, &a.counts.malformed
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, &a.counts.tooLarge
	case errors.Is(err, errNotFound):
		return http.StatusNotFound, nil
	case errors.Is(err, accept.ErrFull): // counted by its gate
		return http.StatusServiceUnavailable, nil
	case errors.Is(err, store.ErrBusy):
		return http.StatusServiceUnavailable, &a.counts.storeBusy
	}
	return http.StatusInternalServerError, &a.counts.failed
}

// writeJSON answers 200. A client that has gone away is no error of ours.
func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
