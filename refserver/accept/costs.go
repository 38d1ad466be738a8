package accept

import (
	"context"
	"fmt"
	"time"
)

// Costs makes the stages of a request cost what they cost elsewhere. Enter
// waits for one of the stage's workers, spends the stage's service time and
// keeps the worker until leave is called, once. Its error means that there is
// no room to wait in, or that ctx ended first; it wraps ErrFull. A nil leave
// without an error means that the stage costs nothing here. Safe for
// concurrent use.
type Costs interface {
	Enter(ctx context.Context, stage string) (leave func(), err error)
}

// The stages that fronts enter.
const (
	StageSlow       = "slow" // a fault: the server as a whole is slow
	StageNginx      = "nginx"
	StagePHP        = "php"
	StageClickHouse = "clickhouse"
	StageMySQL      = "mysql"
	StageEdge       = "edge"
	StageRedis      = "redis"
	StageLog        = "log"
)

// StageLimit bounds what one postback waits for the stages of a server, and
// once more for its buffer: longer than any partner waits for its answer.
const StageLimit = 60 * time.Second

// ErrStage is a stage that had no worker for a postback in time.
var ErrStage = fmt.Errorf("a stage of the server is busy: %w", ErrFull)

// Enter enters a stage and marks its time in t. costs and t may be nil: then
// nothing waits, nothing is marked. leave is never nil. The error wraps ErrStage.
func Enter(ctx context.Context, costs Costs, stage string, t *Timing) (leave func(), err error) {
	if costs == nil {
		return free, nil
	}
	if t != nil {
		t.Begin()
	}
	leave, err = costs.Enter(ctx, stage)
	switch {
	case err != nil:
		return free, fmt.Errorf("%s: %w", stage, ErrStage)
	case leave == nil:
		return free, nil
	}
	if t != nil {
		t.Mark(stage)
	}
	return leave, nil
}

// free leaves a stage that costs nothing.
func free() {}

// Pass enters a stage and leaves it at once: its service time is all it costs.
func Pass(ctx context.Context, costs Costs, stage string, t *Timing) error {
	leave, err := Enter(ctx, costs, stage, t)
	leave()
	return err
}
