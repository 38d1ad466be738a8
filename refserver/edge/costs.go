package edge

import (
	"context"
	"time"

	"github.com/postbench/postbench/refserver/accept"
)

// wholeLimit is how long after a request its answer may still be written.
// Stages that cost something take their time before.
func (e *Edge) wholeLimit() time.Duration {
	if e.config.Costs == nil {
		return writeLimit
	}
	return 2*accept.StageLimit + writeLimit
}

// idler is Costs that know when no stage costs anything, so that a context of
// its own need not be made for every postback.
type idler interface{ Idle() bool }

// waiting is the context in which a postback waits for its stages, within
// working. That is not the request's: a partner that hangs up early has sent its
// postback nonetheless, and net/http takes its read limit for a hang-up.
func (e *Edge) waiting(working context.Context) (context.Context, context.CancelFunc) {
	if costs, ok := e.config.Costs.(idler); e.config.Costs == nil || ok && costs.Idle() {
		return working, nothing
	}
	return context.WithTimeout(working, accept.StageLimit)
}

func nothing() {}

// slow waits while the edge is made slow: before the gate, so that it keeps its
// partners waiting instead of sending them away. t may be nil.
func (e *Edge) slow(ctx context.Context, t *accept.Timing) error {
	return accept.Pass(ctx, e.config.Costs, accept.StageSlow, t)
}

// enter spends what comes before the reading. t may be nil.
func (e *Edge) enter(ctx context.Context, t *accept.Timing) error {
	return accept.Pass(ctx, e.config.Costs, accept.StageEdge, t)
}

// enterLog spends what the log costs, if there is one. The log comes before the
// answer, so that err, of what was before, becomes 503 where the log is too
// busy. t may be nil.
func (e *Edge) enterLog(ctx context.Context, t *accept.Timing, err error) (leave func(), _ error) {
	if e.config.AccessLog == nil {
		return nothing, err
	}
	leave, busy := accept.Enter(ctx, e.config.Costs, accept.StageLog, t)
	if err == nil {
		err = busy
	}
	return leave, err
}
