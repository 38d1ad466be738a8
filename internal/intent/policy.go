package intent

import (
	"errors"
	"fmt"
)

// Outcome is how an attempt ended.
type Outcome uint8

const (
	// Acked attempts got an answer that the partner takes for success.
	Acked Outcome = iota
	// Refused attempts got any other answer.
	Refused
	// TimedOut attempts got none within the partner's timeout.
	TimedOut
	// Errored attempts failed below HTTP: connect, reset, broken answer.
	Errored
	// NotSent attempts never got a connection slot.
	NotSent
)

// String returns the word used in results.
func (o Outcome) String() string {
	words := [...]string{"acked", "refused", "timed_out", "errored", "not_sent"}
	if int(o) >= len(words) {
		return "invalid"
	}
	return words[o]
}

// Reason says why a legitimate intent without an ack is lost at the partner.
type Reason uint8

// The reasons of DESIGN §2.
const (
	NoReason Reason = iota
	QueueFull
	ReasonTimedOut
	ReasonRefused
	ReasonErrored
	RetriesExhausted
	RunEnded
	// Deactivated: the partner had switched the postback off after failures in
	// a row.
	Deactivated
	// Reasons is their number, NoReason included.
	Reasons
)

// String returns the word used in results.
func (r Reason) String() string {
	words := [Reasons]string{"", "queue_full", "timed_out", "refused", "errored", "retries_exhausted", "run_ended", "deactivated"}
	if r >= Reasons {
		return "invalid"
	}
	return words[r]
}

// MaxRetries is how many retries a policy may have: a run counts at most 255
// attempts of an intent, of which one is the first and one a deliberate
// duplicate.
const MaxRetries = 253

// RetryPolicy is what a partner does after a failed attempt.
type RetryPolicy struct {
	// DelaysNs are the waits after the end of attempt 1, 2, …, in ns, at most
	// MaxRetries of them.
	DelaysNs []int64
	// These say which outcomes are tried again. A refusal with status 500 to
	// 599 counts as a server error.
	OnTimeout, OnServerError, OnRefused, OnError bool
}

// RetryRule names a class of failures as profiles write it.
type RetryRule string

// The rules of RetryPolicy.Set.
const (
	RetryTimeout RetryRule = "timeout"
	Retry5xx     RetryRule = "5xx"
	RetryRefused RetryRule = "refused"
	RetryError   RetryRule = "error"
)

// Set switches a rule on.
func (p *RetryPolicy) Set(rule RetryRule) error {
	switch rule {
	case RetryTimeout:
		p.OnTimeout = true
	case Retry5xx:
		p.OnServerError = true
	case RetryRefused:
		p.OnRefused = true
	case RetryError:
		p.OnError = true
	default:
		return fmt.Errorf("retry rule %q is unknown; want timeout, 5xx, refused or error", rule)
	}
	return nil
}

// Next decides after attempt number attempt (0 = first) of an intent ended
// with outcome and HTTP status: the delay to the next attempt in ns, or the
// reason for which there is none.
func (p *RetryPolicy) Next(attempt int, outcome Outcome, status int) (delayNs int64, again bool, reason Reason) {
	var wanted bool
	switch outcome {
	case Acked:
		return 0, false, NoReason
	case NotSent:
		return 0, false, QueueFull
	case TimedOut:
		wanted, reason = p.OnTimeout, ReasonTimedOut
	case Errored:
		wanted, reason = p.OnError, ReasonErrored
	case Refused:
		reason = ReasonRefused
		wanted = p.OnRefused
		if status >= 500 && status <= 599 {
			wanted = p.OnServerError
		}
	}
	switch {
	case !wanted:
		return 0, false, reason
	case attempt < len(p.DelaysNs):
		return p.DelaysNs[attempt], true, NoReason
	case len(p.DelaysNs) > 0:
		return 0, false, RetriesExhausted
	}
	return 0, false, reason
}

// SuccessRule says which answers a partner takes for success: status 200 to
// 299 and, where Bodies are given, a body that begins with one of them, byte
// for byte.
type SuccessRule struct{ Bodies []string }

// Accepts applies the rule to an answer. It does not allocate.
func (r *SuccessRule) Accepts(status int, body []byte) bool {
	if status < 200 || status > 299 {
		return false
	}
	for _, want := range r.Bodies {
		if len(body) >= len(want) && string(body[:len(want)]) == want {
			return true
		}
	}
	return len(r.Bodies) == 0
}

// MaxBreakerFailures bounds Breaker.Failures, and with it the memory of a
// BreakerState (8 B each).
const MaxBreakerFailures = 1 << 16

// Breaker is when a partner deactivates a postback URL that keeps failing:
// after Failures attempts in a row without a success, if these ended within
// WithinNs of each other (ns; 0: however long they took). 0 failures: never.
type Breaker struct {
	Failures int
	WithinNs int64
}

// Validate checks the limits and changes nothing.
func (b *Breaker) Validate() error {
	switch {
	case b.Failures < 0 || b.Failures > MaxBreakerFailures:
		return fmt.Errorf("breaker: failures must be 0 to %d", MaxBreakerFailures)
	case b.WithinNs < 0:
		return errors.New("breaker: the window must not be negative")
	}
	return nil
}

// BreakerState counts a partner's failures in a row. The zero value is that of
// a partner that has not sent anything yet.
type BreakerState struct {
	inRow  int
	endsNs []int64 // of the last Failures attempts, as a ring
	open   bool
}

// Ended takes the end of an attempt, at atNs, and reports whether the partner
// is deactivated from now on. Nothing activates it again: in the field, that is
// a person's work.
func (s *BreakerState) Ended(b *Breaker, atNs int64, outcome Outcome) bool {
	switch {
	case s.open || b.Failures == 0:
		return s.open
	case outcome == Acked:
		s.inRow = 0
		return false
	}
	if s.endsNs == nil {
		s.endsNs = make([]int64, b.Failures)
	}
	s.endsNs[s.inRow%b.Failures] = atNs
	s.inRow++
	// The slot that the next failure will take holds the oldest one.
	oldestNs := s.endsNs[s.inRow%b.Failures]
	s.open = s.inRow >= b.Failures && (b.WithinNs == 0 || atNs-oldestNs <= b.WithinNs)
	return s.open
}
