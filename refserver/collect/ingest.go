package collect

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store"
)

const (
	// MaxIngestBytes bounds the body of one ingest.
	MaxIngestBytes = 1 << 20
	// maxIngests is how many ingests may be in work at once; more are answered
	// 503. Each holds a body and its records, some MiB.
	maxIngests = 4
	// retryAfterS is what a 503 asks a replicator to wait, in seconds.
	retryAfterS = "1"
)

// ingestReason is why an ingest was refused.
type ingestReason int

const (
	wrongMethod ingestReason = iota
	badBody
	tooLarge
	full
	busy
	failed
	ingestReasons
)

// String is the reason's name in Counts.
func (r ingestReason) String() string {
	return [...]string{
		"ingest_method", "ingest_bad_body", "ingest_too_large", "ingest_full", "ingest_store_busy", "ingest_store_failed",
	}[r]
}

func (r ingestReason) status() int {
	return [...]int{
		http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusRequestEntityTooLarge,
		http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusInternalServerError,
	}[r]
}

var (
	errMethod   = errors.New("method not allowed here, POST the records")
	errTooMany  = fmt.Errorf("more than %d records in one ingest, send fewer at once", MaxRecords)
	errTooLarge = fmt.Errorf("more than %d bytes in one ingest, send fewer records at once", MaxIngestBytes)
	errCutOff   = errors.New("the body could not be read to its end")
	errFull     = errors.New("too many ingests in work")
)

// Ingest takes records that a replicator posts, as FORMAT.md says: 204 when
// they are committed and synced.
func (c *Collector) Ingest() http.Handler { return http.HandlerFunc(c.ingest) }

func (c *Collector) ingest(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		c.refuse(w, errMethod)
		return
	}
	select {
	case c.ingests <- struct{}{}:
		defer func() { <-c.ingests }()
	default:
		c.refuse(w, errFull)
		return
	}
	if err := c.take(w, r); err != nil {
		c.refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxIngestBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return errTooLarge
	case err != nil:
		return errCutOff
	}
	b := new(batch)
	bad, reason, err := b.addFrames(body)
	if err != nil {
		return err
	}
	c.countBad(bad, reason)
	if len(b.conversions) == 0 {
		return nil
	}
	return c.commitIngested(r.Context(), b)
}

// addFrames adds the records of a body of frames and counts those that are
// none, with the reason of the last. An error means that the body is to be
// refused as a whole: it is errTooMany or wraps datagram.ErrBadBody.
func (b *batch) addFrames(body []byte) (bad int64, reason, err error) {
	frames := datagram.Frames(body)
	for n := 0; frames.Next(); n++ {
		if n == MaxRecords {
			return 0, nil, errTooMany
		}
		if err := b.add(frames.Record()); err != nil {
			bad, reason = bad+1, err
		}
	}
	return bad, reason, frames.Err()
}

// refuse answers with the status that err stands for, one line of reason, and
// counts it.
func (c *Collector) refuse(w http.ResponseWriter, err error) {
	reason := classify(err)
	n := c.counts.ingestRefused[reason].Add(1)
	text := err.Error()
	if reason == failed {
		text = "internal error" // no paths for strangers
		if n&(n-1) == 0 {       // a failing disk fails every request; the doubling keeps the log short
			c.config.Log.Error("ingest failed", "failures", n, "error", err)
		}
	}
	if reason.status() == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfterS)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(reason.status())
	_, _ = io.WriteString(w, text) // a client that has gone away is no error of ours
}

func classify(err error) ingestReason {
	switch {
	case errors.Is(err, errMethod):
		return wrongMethod
	case errors.Is(err, errFull), errors.Is(err, accept.ErrFull):
		return full
	case errors.Is(err, errTooLarge), errors.Is(err, errTooMany):
		return tooLarge
	case errors.Is(err, errCutOff), errors.Is(err, datagram.ErrBadBody):
		return badBody
	case errors.Is(err, store.ErrBusy):
		return busy
	}
	return failed
}
