package monolith

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
)

// retryAfterS is what a 503 asks a partner to wait, in seconds: the shortest
// that the header can say.
const retryAfterS = "1"

// Reasons for a refusal. All but the last are the client's to mend.
var (
	errMethod   = errors.New("method not allowed here")
	errUnsigned = errors.New("unsigned postbacks are not taken here, use /pb/signed")
	errStale    = fmt.Errorf("ts is more than %d h in the past or %d min in the future", maxPastS/3600, maxFutureS/60)
	errBody     = errors.New("a postback carries no body")
	errNotText  = errors.New("not printable UTF-8 text")
	errNegative = errors.New("negative payout, only a reversal takes money back")
	errNotFound = errors.New("offer was never loaded")
	errFull     = errors.New("too many requests in work")
)

// refuse answers with the status that err stands for, one line of reason, and
// counts it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, counter := s.classify(err)
	if counter != nil {
		n := counter.Add(1)
		// A failing disk fails every request; the doubling keeps the log short.
		if status == http.StatusInternalServerError && n&(n-1) == 0 {
			s.config.Log.Error("request failed", "path", r.URL.Path, "failures", n, "error", err)
		}
	}
	reason := err.Error()
	switch status {
	case http.StatusInternalServerError:
		reason = "internal error" // no paths and statements for strangers
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfterS)
	}
	writeText(w, status, reason)
}

func (s *Server) classify(err error) (status int, counter interface{ Add(int64) int64 }) {
	var malformed *postback.ParseError
	var badCSV *csvError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed, &s.counts.wrongVerb
	case errors.Is(err, postback.ErrTooLong):
		return http.StatusRequestURITooLong, &s.counts.tooLong
	case errors.Is(err, postback.ErrBadSignature), errors.Is(err, errUnsigned), errors.Is(err, errStale):
		return http.StatusForbidden, &s.counts.forbidden
	case errors.As(err, &malformed), errors.As(err, &badCSV), errors.Is(err, errBody):
		return http.StatusBadRequest, &s.counts.malformed
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, &s.counts.tooLong
	case errors.Is(err, errNotFound):
		return http.StatusNotFound, nil
	case errors.Is(err, errFull): // counted by its gate
		return http.StatusServiceUnavailable, nil
	case errors.Is(err, store.ErrBusy):
		return http.StatusServiceUnavailable, &s.counts.storeBusy
	}
	return http.StatusInternalServerError, &s.counts.failed
}

// writeText answers with one line of plain text. A client that has gone away
// is no error of ours: what was recorded stays recorded.
func writeText(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff") // a reason may repeat the sender's bytes
	w.WriteHeader(status)
	_, _ = io.WriteString(w, line)
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
