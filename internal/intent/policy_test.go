package intent

import "testing"

func TestRetryPolicyNext(t *testing.T) {
	all := RetryPolicy{DelaysNs: []int64{10, 20}, OnTimeout: true, OnServerError: true, OnRefused: true, OnError: true}
	only := func(rule RetryRule) RetryPolicy {
		p := RetryPolicy{DelaysNs: []int64{10, 20}}
		if err := p.Set(rule); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		name    string
		policy  RetryPolicy
		attempt int
		outcome Outcome
		status  int
		delayNs int64
		again   bool
		reason  Reason
	}{
		{"acked", all, 0, Acked, 200, 0, false, NoReason},
		{"never sent", all, 0, NotSent, 0, 0, false, QueueFull},

		{"first timeout", all, 0, TimedOut, 0, 10, true, NoReason},
		{"second timeout", all, 1, TimedOut, 0, 20, true, NoReason},
		{"third timeout", all, 2, TimedOut, 0, 0, false, RetriesExhausted},
		{"far beyond", all, 200, Errored, 0, 0, false, RetriesExhausted},
		{"error", all, 0, Errored, 0, 10, true, NoReason},
		{"refused", all, 0, Refused, 404, 10, true, NoReason},
		{"server error", all, 1, Refused, 503, 20, true, NoReason},

		{"timeout, rule off", only(RetryError), 0, TimedOut, 0, 0, false, ReasonTimedOut},
		{"error, rule off", only(RetryTimeout), 0, Errored, 0, 0, false, ReasonErrored},
		{"refused, rule off", only(Retry5xx), 0, Refused, 400, 0, false, ReasonRefused},
		{"refused, rule off, retries used up", only(RetryTimeout), 2, Refused, 400, 0, false, ReasonRefused},
		{"499 is no server error", only(Retry5xx), 0, Refused, 499, 0, false, ReasonRefused},
		{"500", only(Retry5xx), 0, Refused, 500, 10, true, NoReason},
		{"599", only(Retry5xx), 0, Refused, 599, 10, true, NoReason},
		{"600 is no server error", only(Retry5xx), 0, Refused, 600, 0, false, ReasonRefused},
		{"a server error is no refusal", only(RetryRefused), 0, Refused, 503, 0, false, ReasonRefused},
		{"refusal", only(RetryRefused), 0, Refused, 302, 10, true, NoReason},
		{"only timeouts", only(RetryTimeout), 0, TimedOut, 0, 10, true, NoReason},
		{"only errors", only(RetryError), 0, Errored, 0, 10, true, NoReason},

		{"no retries at all", RetryPolicy{}, 0, TimedOut, 0, 0, false, ReasonTimedOut},
		{"rules without delays", RetryPolicy{OnTimeout: true, OnError: true, OnServerError: true}, 0, Refused, 500, 0, false, ReasonRefused},
	} {
		delayNs, again, reason := c.policy.Next(c.attempt, c.outcome, c.status)
		if delayNs != c.delayNs || again != c.again || reason != c.reason {
			t.Errorf("%s: %d ns, %v, %q; want %d ns, %v, %q", c.name, delayNs, again, reason, c.delayNs, c.again, c.reason)
		}
	}
}

func TestSetRefusesUnknownRules(t *testing.T) {
	for _, rule := range []RetryRule{"", "Timeout", "503"} {
		p := RetryPolicy{}
		if err := p.Set(rule); err == nil || p.OnTimeout || p.OnServerError || p.OnRefused || p.OnError {
			t.Errorf("rule %q: %+v, %v", rule, p, err)
		}
	}
}

func TestOutcomeAndReasonWords(t *testing.T) {
	for outcome, want := range []string{"acked", "refused", "timed_out", "errored", "not_sent", "invalid"} {
		if got := Outcome(outcome).String(); got != want {
			t.Errorf("outcome %d is %q, want %q", outcome, got, want)
		}
	}
	for reason, want := range []string{"", "queue_full", "timed_out", "refused", "errored", "retries_exhausted", "run_ended", "invalid"} {
		if got := Reason(reason).String(); got != want {
			t.Errorf("reason %d is %q, want %q", reason, got, want)
		}
	}
}
