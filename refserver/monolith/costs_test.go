package monolith

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
	"github.com/postbench/postbench/refserver/store"
)

// ledger is a Costs that writes down who comes and goes. busy names a stage
// without room; slow costs nothing.
type ledger struct {
	busy string

	mu    sync.Mutex
	steps []string
}

func (l *ledger) Enter(ctx context.Context, stage string) (func(), error) {
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, fmt.Errorf("%s: an endless wait", stage)
	}
	l.note("+" + stage)
	switch stage {
	case l.busy:
		return nil, fmt.Errorf("%s: no room: %w", stage, accept.ErrFull)
	case accept.StageSlow:
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

func serveWithCosts(t *testing.T, l *ledger) (*Server, string) {
	t.Helper()
	log := accesslog.New(io.Discard, accesslog.Options{})
	t.Cleanup(func() { _ = log.Close() })
	return serve(t, &fakeStore{commit: func(context.Context, *store.Conversion) (store.Outcome, error) {
		l.note("commit")
		return store.Outcome{}, nil
	}}, func(c *Config) { c.Costs, c.AccessLog = l, log })
}

func TestStages(t *testing.T) {
	l := &ledger{}
	_, url := serveWithCosts(t, l)
	response, _ := get(t, url+"/pb?click_id=c")
	want := "+slow +nginx -nginx +php +clickhouse -clickhouse +mysql commit -mysql -php +log -log"
	if steps := l.take(); steps != want || response.StatusCode != 200 {
		t.Errorf("%d\ngot  %s\nwant %s", response.StatusCode, steps, want)
	}
	var stages []string
	for _, m := range regexp.MustCompile(`(\w+);dur=[0-9.]+`).FindAllStringSubmatch(response.Header.Get("Server-Timing"), -1) {
		stages = append(stages, m[1])
	}
	if got := strings.Join(stages, " "); got != "nginx php parse clickhouse attribution mysql cap insert log" {
		t.Errorf("Server-Timing: %s", got)
	}
	// PHP is what finds out that a postback is none.
	if response, _ := get(t, url+"/pb"); response.StatusCode != 400 || l.take() != "+slow +nginx -nginx +php -php +log -log" {
		t.Errorf("refused with %d", response.StatusCode)
	}
}

func TestBusyStageAnswers503(t *testing.T) {
	for _, stage := range []string{
		accept.StageSlow, accept.StageNginx, accept.StagePHP, accept.StageClickHouse, accept.StageMySQL, accept.StageLog,
	} {
		l := &ledger{busy: stage}
		s, url := serveWithCosts(t, l)
		response, body := get(t, url+"/pb?click_id=c")
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || body != stage+": "+accept.ErrStage.Error() {
			t.Errorf("%s: %d %q", stage, response.StatusCode, body)
		}
		// Only the log comes after the record.
		if committed := strings.Contains(l.take(), "commit"); committed != (stage == accept.StageLog) {
			t.Errorf("%s: committed %v", stage, committed)
		}
		if c := s.Counts(); c.Full != 1 || c.Recorded+c.StoreBusy+c.Failed != 0 || c.InFlight != 0 {
			t.Errorf("%s: %+v", stage, c)
		}
	}
}
