package loadgen

import (
	"fmt"
	"time"
)

// Limits of DESIGN §2 beyond which a run says nothing about the server.
const (
	maxLagP99      = time.Millisecond
	maxLagShare    = 0.05 // of the response p99
	minReadyInTime = 0.99
	maxSteal       = 0.02
	maxSinglePause = 250 * time.Millisecond
)

// Environment is what the machine did to a run.
type Environment struct {
	StealShare float64 // of all CPU time; negative when not known
}

// Invalid returns the reasons for which a run measured the generator and not
// the server; none means valid.
func (o *Outcome) Invalid(env Environment) []string {
	var reasons []string
	add := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }

	// A p99 that falls on a postback without an ack is slower than every ack.
	p99, acked := o.Latencies.Response.Percentile(99)
	if !acked {
		p99 = o.Latencies.Response.MaxNs()
	}
	limit := max(maxLagP99, time.Duration(float64(p99)*maxLagShare))
	if lag, ok := o.Latencies.LagGenerator.Percentile(99); ok && time.Duration(lag) > limit {
		add("the generator was late: lag_generator p99 %v > %v", time.Duration(lag).Round(time.Microsecond), limit.Round(time.Microsecond))
	}
	if o.Intents > 0 {
		if inTime := 1 - float64(o.ReadyLate)/float64(o.Intents); inTime < minReadyInTime {
			add("only %.1f %% of the intents were made ready in time, want %.0f %%", 100*inTime, 100*minReadyInTime)
		}
	}
	if o.MaxPause > maxSinglePause {
		add("the generator stood still for %v", o.MaxPause.Round(time.Millisecond))
	}
	if env.StealShare > maxSteal {
		add("the hypervisor took %.1f %% of the CPU time (steal), limit %.0f %%", 100*env.StealShare, 100*maxSteal)
	}
	if o.HiddenRetries > 0 {
		add("the client sent %d requests without being asked", o.HiddenRetries)
	}
	if o.LimitWaits > 0 {
		add("%d attempts waited because the generator opens at most %d connections", o.LimitWaits, MaxConnections)
	}
	if n := o.Latencies.clamped(); n > 0 {
		add("%d latencies were above the histogram's range", n)
	}
	return reasons
}

// Imbalances checks the loop's own books; none means that they balance. An
// imbalance is a bug of this program and nothing that a server or a machine
// can cause, which is why Invalid does not repeat it.
func (o *Outcome) Imbalances() []string {
	var reasons []string
	a := o.Attempts
	if a.Total != a.Acked+a.Refused+a.TimedOut+a.Errored {
		reasons = append(reasons, fmt.Sprintf("books do not balance: attempts %d ≠ acked %d + refused %d + timed out %d + errored %d",
			a.Total, a.Acked, a.Refused, a.TimedOut, a.Errored))
	}
	ofPartners := Attempts{}
	for i := range o.Partners {
		ofPartners.add(o.Partners[i].Attempts)
	}
	if len(o.Partners) > 0 && ofPartners != a {
		reasons = append(reasons, fmt.Sprintf("books do not balance: the attempts of the partners %+v ≠ those of the run %+v", ofPartners, a))
	}
	response := o.Latencies.Response
	if entries := response.Count() + response.Censored(); entries != o.Timed {
		reasons = append(reasons, fmt.Sprintf("books do not balance: %d response latencies for %d legitimate intents", entries, o.Timed))
	}
	return reasons
}
