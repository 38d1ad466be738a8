package edge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
)

// ledger is a Costs that writes down who comes and goes. busy names a stage
// without room, free one that costs nothing.
type ledger struct {
	busy, free string

	mu    sync.Mutex
	steps []string
	limit time.Duration // that the last ctx left
}

func (l *ledger) Enter(ctx context.Context, stage string) (func(), error) {
	l.note("+" + stage)
	if deadline, ok := ctx.Deadline(); ok {
		l.limit = time.Until(deadline)
	}
	switch stage {
	case l.busy:
		return nil, fmt.Errorf("%s: no room: %w", stage, accept.ErrFull)
	case l.free:
		return nil, nil
	}
	return func() { l.note("-" + stage) }, nil
}

func (l *ledger) note(step string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps = append(l.steps, step)
}

func (l *ledger) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.steps = nil }()
	return strings.Join(l.steps, " ")
}

// noting is a Buffer that notes its puts in the same ledger.
type noting struct{ *ledger }

func (n noting) Put(context.Context, []byte) error {
	n.note("put")
	return nil
}

func serveWithCosts(t *testing.T, front, answer string, l *ledger) *server {
	t.Helper()
	config := testConfig(front, noting{l})
	config.Answer, config.Costs, config.BufferStage = answer, l, accept.StageRedis
	config.AccessLog = accesslog.New(io.Discard, accesslog.Options{Background: true})
	s := serve(t, config)
	t.Cleanup(func() { _ = config.AccessLog.Close() })
	return s
}

// stagesOf are the names in a Server-Timing header.
func stagesOf(header http.Header) []string {
	return slices.Collect(func(yield func(string) bool) {
		for _, m := range regexp.MustCompile(`(\w+);dur=[0-9.]+`).FindAllStringSubmatch(header.Get("Server-Timing"), -1) {
			if !yield(m[1]) {
				return
			}
		}
	})
}

func TestStagesOfBothFronts(t *testing.T) {
	timings := map[string][]string{
		FrontPlain:    {"edge", "parse", "redis", "buffer", "log"},
		FrontZerocopy: {"edge", "redis", "log"},
	}
	for _, front := range fronts() {
		l := &ledger{free: accept.StageSlow}
		s := serveWithCosts(t, front, AnswerAfterBuffer, l)
		got := s.get(t, "/pb?click_id=c")
		if steps := l.take(); steps != "+slow +edge -edge +redis put -redis +log -log" || got.status != 200 {
			t.Errorf("%s: %s, %d %q", front, steps, got.status, got.body)
		}
		if stages := stagesOf(got.header); !slices.Equal(stages, timings[front]) {
			t.Errorf("%s: Server-Timing %q, want %q", front, stages, timings[front])
		}
		if l.limit <= 0 || l.limit > accept.StageLimit {
			t.Errorf("%s: a wait of %s", front, l.limit)
		}
		// A refusal costs what came before it.
		if got := s.get(t, "/pb"); got.status != 400 || l.take() != "+slow +edge -edge +log -log" {
			t.Errorf("%s: refused with %d", front, got.status)
		}
	}
}

func TestBeforeBufferCostsAfterTheAnswer(t *testing.T) {
	for _, front := range fronts() {
		l := &ledger{}
		s := serveWithCosts(t, front, AnswerBeforeBuffer, l)
		if got := s.get(t, "/pb?click_id=c"); got.status != 200 {
			t.Fatalf("%s: %d", front, got.status)
		}
		s.stop() // and with it, wait for the put
		<-s.served
		if steps := l.take(); steps != "+slow -slow +edge -edge +log -log +redis put -redis" {
			t.Errorf("%s: %s", front, steps)
		}
	}
}

func TestBusyStageAnswers503(t *testing.T) {
	for _, front := range fronts() {
		for _, stage := range []string{accept.StageSlow, accept.StageEdge, accept.StageRedis, accept.StageLog} {
			l := &ledger{busy: stage}
			s := serveWithCosts(t, front, AnswerAfterBuffer, l)
			got := s.get(t, "/pb?click_id=c")
			if got.status != 503 || got.header.Get("Retry-After") != "1" || got.body != stage+": "+accept.ErrStage.Error() {
				t.Errorf("%s, %s: %d %q", front, stage, got.status, got.body)
			}
			// Only the log comes after the record.
			if put := strings.Contains(l.take(), "put"); put != (stage == accept.StageLog) {
				t.Errorf("%s, %s: put %v", front, stage, put)
			}
			if c := s.Counts(); c.Full != 1 || c.Accepted != 0 || c.InFlight != 0 {
				t.Errorf("%s, %s: %+v", front, stage, c)
			}
		}
	}
}
