package intent

import (
	"slices"
	"testing"
)

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
	for reason, want := range []string{"", "queue_full", "timed_out", "refused", "errored", "retries_exhausted", "run_ended", "deactivated", "invalid"} {
		if got := Reason(reason).String(); got != want {
			t.Errorf("reason %d is %q, want %q", reason, got, want)
		}
	}
}

func TestSuccessRule(t *testing.T) {
	words := []string{"OK", "success=true;"}
	for _, c := range []struct {
		bodies []string
		status int
		body   string
		want   bool
	}{
		{nil, 200, "", true},
		{nil, 299, "whatever", true},
		{nil, 199, "", false},
		{nil, 300, "", false},
		{nil, 503, "OK", false},
		{words, 200, "OK", true},
		{words, 204, "OK\r\n", true},
		{words, 200, "success=true;msg=", true},
		{words, 200, "success=true", false},
		{words, 200, "success=false;", false},
		{words, 200, "DUP", false},
		{words, 200, " OK", false},
		{words, 200, "", false},
		{words, 404, "OK", false},
		{[]string{""}, 200, "whatever", true},
	} {
		rule := SuccessRule{Bodies: c.bodies}
		if got := rule.Accepts(c.status, []byte(c.body)); got != c.want {
			t.Errorf("%q for %d %q: %v, want %v", c.bodies, c.status, c.body, got, c.want)
		}
	}
}

func TestBreaker(t *testing.T) {
	type end struct {
		atNs    int64
		outcome Outcome
	}
	failures := func(atNs ...int64) (list []end) {
		for i, at := range atNs {
			list = append(list, end{at, []Outcome{Refused, TimedOut, Errored}[i%3]})
		}
		return list
	}
	acked := []end{{50, Acked}}
	for _, c := range []struct {
		name    string
		breaker Breaker
		ends    []end
		opensAt int // number of the attempt, from 1; 0 = never
	}{
		{"never", Breaker{}, failures(1, 2, 3, 4, 5), 0},
		{"the first failure", Breaker{Failures: 1}, failures(1, 2), 1},
		{"three in a row", Breaker{Failures: 3}, failures(1, 1000, 1_000_000), 3},
		{"one too few", Breaker{Failures: 4}, failures(1, 2, 3), 0},
		{"a success between", Breaker{Failures: 3}, slices.Concat(failures(1, 2), acked, failures(61, 62)), 0},
		{"again after a success", Breaker{Failures: 3}, slices.Concat(failures(1, 2), acked, failures(61, 62, 63)), 6},
		{"a success does not reopen", Breaker{Failures: 1}, slices.Concat(failures(1), acked), 1},
		{"within the window, to the ns", Breaker{Failures: 3, WithinNs: 10}, failures(100, 105, 110), 3},
		{"just outside", Breaker{Failures: 3, WithinNs: 10}, failures(100, 105, 111), 0},
		{"the window slides", Breaker{Failures: 3, WithinNs: 10}, failures(100, 105, 111, 114, 116), 4},
		{"a success empties the window", Breaker{Failures: 2, WithinNs: 10}, slices.Concat(failures(49), acked, failures(51)), 0},
		{"one within a window", Breaker{Failures: 1, WithinNs: 1}, failures(100), 1},
	} {
		var state BreakerState
		openedAt := 0
		for i, e := range c.ends {
			if open := state.Ended(&c.breaker, e.atNs, e.outcome); open && openedAt == 0 {
				openedAt = i + 1
			} else if !open && openedAt > 0 {
				t.Errorf("%s: active again after attempt %d", c.name, i+1)
			}
		}
		if openedAt != c.opensAt {
			t.Errorf("%s: deactivated by attempt %d, want %d", c.name, openedAt, c.opensAt)
		}
	}
}

func TestBreakerLimits(t *testing.T) {
	for b, fine := range map[Breaker]bool{
		{}: true, {Failures: MaxBreakerFailures, WithinNs: 1}: true,
		{Failures: -1}: false, {Failures: MaxBreakerFailures + 1}: false, {Failures: 1, WithinNs: -1}: false,
	} {
		if err := b.Validate(); (err == nil) != fine {
			t.Errorf("%+v: %v", b, err)
		}
	}
}
