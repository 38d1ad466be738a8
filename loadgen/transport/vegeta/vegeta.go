// Package vegeta is the second, independent engine: vegeta's attacker sends
// the same requests on the same schedule, so that the native engine's service
// latency can be checked against a tool that people know.
//
// Service is vegeta's own figure. The other latencies are put together from
// the schedule's due times, since vegeta itself starts its clock when a worker
// takes the request and not when it was due.
package vegeta

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	lib "github.com/tsenart/vegeta/v12/lib"

	"github.com/postbench/postbench/loadgen"
)

// ErrUnsupported is wrapped when a configuration asks for what vegeta cannot
// play.
var ErrUnsupported = errors.New("the vegeta engine cannot play this")

// maxWorkers bounds vegeta's workers; without a bound it starts one for every
// tick that is not taken at once, until memory ends.
const maxWorkers = 1024

// Run plays a configuration of one partner without retries and duplicates,
// against Partners[0].Origin.
func Run(ctx context.Context, cfg loadgen.Config, observe loadgen.Observe) (*loadgen.Outcome, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := supported(&cfg); err != nil {
		return nil, err
	}
	var due []int64
	for dueNs, more := cfg.Schedule.Next(); more && len(due) < len(cfg.Cells); dueNs, more = cfg.Schedule.Next() {
		due = append(due, dueNs)
	}
	return run(ctx, &cfg, due, observe), nil
}

func supported(cfg *loadgen.Config) error {
	mix := cfg.Intents.Spec().Mix
	switch {
	case len(cfg.Partners) != 1:
		return fmt.Errorf("%w: it plays one partner, not %d", ErrUnsupported, len(cfg.Partners))
	case len(cfg.Partners[0].Retry.DelaysNs) > 0 || mix.Duplicates > 0:
		return fmt.Errorf("%w: retries and duplicates", ErrUnsupported)
	case cfg.Partners[0].Breaker.Failures > 0:
		return fmt.Errorf("%w: a partner that deactivates its postback", ErrUnsupported)
	case cfg.Partners[0].Path != "":
		return fmt.Errorf("%w: network paths", ErrUnsupported)
	case cfg.Replay != nil:
		return fmt.Errorf("%w: --replay", ErrUnsupported)
	case cfg.Partners[0].Origin == "":
		return fmt.Errorf("%w: no origin", ErrUnsupported)
	}
	if _, err := http.NewRequest(cfg.Partners[0].Template.Method, cfg.Partners[0].Origin, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
}

func run(ctx context.Context, cfg *loadgen.Config, due []int64, observe loadgen.Observe) *loadgen.Outcome {
	partner := &cfg.Partners[0]
	base := &http.Transport{MaxIdleConnsPerHost: maxWorkers, DisableCompression: true,
		DisableKeepAlives: partner.CloseEach, TLSClientConfig: partner.TLS}
	defer base.CloseIdleConnections()
	wire := newWire(cfg, due, base)
	client := &http.Client{Transport: wire, Timeout: partner.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	connections := uint64(maxWorkers)
	if partner.Connections > 0 {
		connections = min(connections, uint64(partner.Connections))
	}
	attacker := lib.NewAttacker(lib.Client(client), lib.MaxWorkers(connections), lib.Workers(min(connections, 64)), lib.MaxBody(wantedBody(partner)))

	recorder := newRecorder(cfg, due, time.Now())
	if observe != nil {
		observe(recorder.start, recorder.progress)
	}
	stop := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer stop()
	pacer := &pacer{ctx: ctx, start: recorder.start, due: due, sleepUntil: cfg.SleepUntil}
	// vegeta's own limit on the duration is off (0): the pacer ends the attack.
	for result := range attacker.Attack(wire.target, pacer, 0, "") {
		recorder.result(&wire.hits[result.Seq], result)
	}
	return recorder.outcome(wire.hiddenRetries.Load(), ctx.Err() != nil)
}

// wantedBody is how many bytes of a body the partner's success rule looks at.
func wantedBody(partner *loadgen.Partner) int64 {
	longest := 0
	for _, body := range partner.Success.Bodies {
		longest = max(longest, len(body))
	}
	return int64(longest)
}

// pacer follows a list of due times. vegeta calls it from one goroutine and
// would sleep as coarsely as a Go timer does, so that it sleeps itself.
type pacer struct {
	ctx        context.Context
	start      time.Time
	due        []int64
	sleepUntil func(time.Time)
}

// coarseMargin is how much of a wait is left to the exact sleeper, which
// cannot be interrupted.
const coarseMargin = 2 * time.Millisecond

// Pace implements vegeta's Pacer: it returns when hit number hits is due, or
// true when there is none.
func (p *pacer) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	if hits >= uint64(len(p.due)) {
		return 0, true
	}
	due := p.start.Add(time.Duration(p.due[hits]))
	if wait := time.Until(due) - coarseMargin; wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-p.ctx.Done():
			return 0, true
		case <-timer.C:
		}
	}
	p.sleepUntil(due)
	return 0, p.ctx.Err() != nil
}

// Rate implements vegeta's Pacer; only its plots ask for it.
func (p *pacer) Rate(time.Duration) float64 { return 0 }
