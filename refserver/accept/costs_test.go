package accept_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accept"
)

// enter is a Costs that does as it is told.
type enter func(ctx context.Context, stage string) (func(), error)

func (e enter) Enter(ctx context.Context, stage string) (func(), error) { return e(ctx, stage) }

// ticking is a clock that moves 1 ms each time it is read.
func ticking() func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time {
		now = now.Add(time.Millisecond)
		return now
	}
}

func TestEnter(t *testing.T) {
	left := 0
	works := enter(func(context.Context, string) (func(), error) { return func() { left++ }, nil })
	free := enter(func(context.Context, string) (func(), error) { return nil, nil })
	full := enter(func(context.Context, string) (func(), error) { return nil, accept.ErrFull })
	late := enter(func(ctx context.Context, _ string) (func(), error) { return nil, ctx.Err() })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name   string
		costs  accept.Costs
		want   error
		timing string
		left   int
	}{
		{"no costs", nil, nil, "", 0},
		{"a worker", works, nil, "php;dur=1.000", 1},
		{"a stage that costs nothing", free, nil, "", 0},
		{"no room", full, accept.ErrStage, "", 0},
		{"the end of the wait", late, accept.ErrStage, "", 0},
	} {
		left = 0
		timing := accept.NewTiming(time.Unix(0, 0), ticking())
		leave, err := accept.Enter(ended, test.costs, accept.StagePHP, timing)
		if !errors.Is(err, test.want) || timing.String() != test.timing {
			t.Errorf("%s: %v, %q", test.name, err, timing)
		}
		if err != nil && (!errors.Is(err, accept.ErrFull) || accept.Status(err) != 503) {
			t.Errorf("%s: %v is answered %d", test.name, err, accept.Status(err))
		}
		if left != 0 {
			t.Errorf("%s: left too early", test.name)
		}
		leave()
		if left != test.left {
			t.Errorf("%s: left %d times, want %d", test.name, left, test.left)
		}
		// Nobody has to time it.
		if err := accept.Pass(ended, test.costs, accept.StagePHP, nil); !errors.Is(err, test.want) || left != 2*test.left {
			t.Errorf("%s: passed: %v, left %d times", test.name, err, left)
		}
	}
}
