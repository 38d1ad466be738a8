// Package accept holds the rules by which every front takes or refuses a
// postback, whatever it then does with it, and the status of each refusal. The
// rules know no HTTP library, so that net/http and fasthttp answer alike.
package accept

import (
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/postbench/postbench/internal/postback"
)

// MaxPastS and MaxFutureS bound a signature's age, in seconds. Partners resend
// old URLs for hours; a replay does no harm, since the identity is kept forever.
const (
	MaxPastS   = 48 * 3600
	MaxFutureS = 5 * 60
)

// RetryAfterS is what a 503 asks a partner to wait, in seconds: the shortest
// that the Retry-After header can say.
const RetryAfterS = "1"

// Reasons for a refusal; Status gives each its status. All but ErrFull are the
// client's to mend.
var (
	ErrMethod   = errors.New("method not allowed here")
	ErrUnsigned = errors.New("unsigned postbacks are not taken here, use /pb/signed")
	ErrStale    = fmt.Errorf("ts is more than %d h in the past or %d min in the future", MaxPastS/3600, MaxFutureS/60)
	ErrBody     = errors.New("a postback carries no body")
	ErrNotText  = errors.New("not printable UTF-8 text")
	ErrNegative = errors.New("negative payout, only a reversal takes money back")
	ErrFull     = errors.New("too many requests in work")
)

// Fresh refuses a signature that is too old, or too far ahead of our clock,
// with ErrStale. Both times are unix seconds.
func Fresh(tsUnixS, receivedUnixS int64) error {
	if ageS := receivedUnixS - tsUnixS; ageS > MaxPastS || ageS < -MaxFutureS {
		return ErrStale
	}
	return nil
}

// Payout refuses a negative payout of an event that does not take money back,
// with a *postback.ParseError around ErrNegative.
func Payout(e postback.Event, m postback.Money) error {
	if m < 0 && !e.Reverses() {
		return &postback.ParseError{Param: "payout", Reason: ErrNegative}
	}
	return nil
}

// IsText tells whether b is UTF-8 without control characters. It keeps
// identities out that the JSON ledger could not give back as they are.
func IsText(b []byte) bool {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError || r < ' ' || r == 0x7f {
			return false
		}
		b = b[size:]
	}
	return true
}

// Status is the HTTP status that answers err: 400, 403, 405, 414 or 503. An
// error that is neither of this package nor of postback is ours: 500.
func Status(err error) int {
	var malformed *postback.ParseError
	switch {
	case errors.Is(err, ErrMethod):
		return http.StatusMethodNotAllowed
	case errors.Is(err, postback.ErrTooLong): // before the ParseError that it comes in
		return http.StatusRequestURITooLong
	case errors.Is(err, postback.ErrBadSignature), errors.Is(err, ErrUnsigned), errors.Is(err, ErrStale):
		return http.StatusForbidden
	case errors.As(err, &malformed), errors.Is(err, ErrBody), errors.Is(err, ErrNotText), errors.Is(err, ErrNegative):
		return http.StatusBadRequest
	case errors.Is(err, ErrFull):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Reason is the line that tells a client why it was answered status. What
// failed inside a server is not for strangers: no paths, no statements.
func Reason(status int, err error) string {
	if status == http.StatusInternalServerError {
		return "internal error"
	}
	return err.Error()
}
