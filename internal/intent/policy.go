package intent

import "fmt"

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
	// Reasons is their number, NoReason included.
	Reasons
)

// String returns the word used in results.
func (r Reason) String() string {
	words := [Reasons]string{"", "queue_full", "timed_out", "refused", "errored", "retries_exhausted", "run_ended"}
	if r >= Reasons {
		return "invalid"
	}
	return words[r]
}

// RetryPolicy is what a partner does after a failed attempt.
type RetryPolicy struct {
	// DelaysNs are the waits after the end of attempt 1, 2, …, in ns.
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
