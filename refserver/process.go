package refserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/postbench/postbench/internal/proc"
)

const (
	// restartPauseFirst and restartPauseMax pace the restarts of a process that
	// dies again and again; restartQuiet is how long it must live to be
	// forgiven.
	restartPauseFirst = 10 * time.Millisecond
	restartPauseMax   = time.Second
	restartQuiet      = 10 * time.Second
	// maxRestarts in a row, two minutes of them, end the server: what cannot
	// start will not. An edge may have to wait that long for a lane, while
	// nobody drains those of its predecessors.
	maxRestarts = 120
)

// errDown answers a signal to a process that is not running.
var errDown = errors.New("is not running now")

// process is one child of the supervisor: started, watched, started again when
// it dies, and held down when a test says so.
type process struct {
	role Role
	node int
	// spec describes the next start.
	spec    func() proc.Spec
	control *control // nil for a program that is not ours
	// afterRestart, if not nil, tells a successor what it may have missed while
	// it started.
	afterRestart func(context.Context) error
	log          *slog.Logger

	mu       sync.Mutex
	child    *proc.Child // nil while it is down
	restarts int64
	downTill time.Time // held down until then
}

// maxStartLogBytes bounds what a starting process may say.
const maxStartLogBytes = 64 << 10

// startLog keeps back what a process says until it is ready: of a failed start
// the error is enough.
type startLog struct {
	to   io.Writer // nil drops everything
	mu   sync.Mutex
	held []byte
	past bool // ready
}

// Write implements io.Writer; it never fails.
func (l *startLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.to == nil:
	case l.past:
		_, _ = l.to.Write(p)
	case len(l.held)+len(p) <= maxStartLogBytes:
		l.held = append(l.held, p...)
	}
	return len(p), nil
}

// open lets through what was held back, and from now on everything.
func (l *startLog) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.past = true; l.to != nil {
		_, _ = l.to.Write(l.held)
	}
	l.held = nil
}

func (p *process) name() string { return fmt.Sprintf("%s %d", p.role, p.node) }

// start starts the child and returns when it is ready.
func (p *process) start(ctx context.Context) error {
	spec := p.spec()
	log := &startLog{to: spec.Log}
	spec.Log = log
	child, err := proc.Start(ctx, spec)
	if err != nil {
		return err // it holds the end of what the child said
	}
	log.open()
	p.mu.Lock()
	p.child = child
	p.mu.Unlock()
	return nil
}

// keep restarts the child whenever it dies, until ctx ends. It returns an error
// when that does not help any more.
func (p *process) keep(ctx context.Context) error {
	pause, failures := restartPauseFirst, 0
	for {
		child, since := p.running(), time.Now()
		if child != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-child.Done():
			}
			p.died(child)
		}
		if time.Since(since) > restartQuiet {
			pause, failures = restartPauseFirst, 0
		}
		if !p.waitDown(ctx, pause) {
			return nil
		}
		pause = min(2*pause, restartPauseMax)
		if failures++; failures > maxRestarts {
			return fmt.Errorf("%s died %d times in a row", p.name(), failures)
		}
		if err := p.start(ctx); err != nil {
			p.log.Warn("restart failed", "process", p.name(), "error", err)
			continue
		}
		p.mu.Lock()
		p.restarts++
		p.mu.Unlock()
		if p.afterRestart == nil {
			continue
		}
		if err := p.afterRestart(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("after a restart", "process", p.name(), "error", err)
		}
	}
}

func (p *process) running() *proc.Child {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.child
}

func (p *process) died(child *proc.Child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.child = nil
	if err := child.Err(); err != nil {
		p.log.Warn("process died", "process", p.name(), "error", err)
	}
}

// waitDown waits at least pause and as long as the process is held down.
func (p *process) waitDown(ctx context.Context, pause time.Duration) bool {
	p.mu.Lock()
	pause = max(pause, time.Until(p.downTill))
	p.mu.Unlock()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// kill kills the child with SIGKILL and holds it down for a while.
func (p *process) kill(down time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return fmt.Errorf("%s %w", p.name(), errDown)
	}
	p.downTill = time.Now().Add(down)
	return p.child.Kill()
}

// pause stops the child (SIGSTOP) and lets it go on after a while.
func (p *process) pause(still time.Duration) error {
	child := p.running()
	if child == nil {
		return fmt.Errorf("%s %w", p.name(), errDown)
	}
	if err := child.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.AfterFunc(still, func() { _ = child.Signal(syscall.SIGCONT) })
	return nil
}

// stop ends the child in order.
func (p *process) stop(ctx context.Context) error {
	child := p.running()
	if child == nil {
		return nil
	}
	return child.Stop(ctx)
}

// cpuTime is the CPU time of the living process; that of its predecessors is in
// the supervisor's own, who has waited for them.
func (p *process) cpuTime() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return 0
	}
	return p.child.CPUTime()
}

// restarted is how often the process was started again.
func (p *process) restarted() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.restarts
}
