// Package proc runs child processes that never outlive their parent, however the
// parent ends, SIGKILL included.
//
// Three nets hold a child:
//   - its own process group, so that Stop, Kill and the child's own end take its
//     children with it;
//   - a lifeline: the child inherits the reading end of a pipe that only the
//     parent can write to. When the parent is gone the pipe closes, and a child
//     that uses LifelineContext ends itself;
//   - on Linux also a parent-death signal: the kernel sends SIGKILL, so that a
//     child that is stopped or hangs dies too.
//
// Not held by these: descendants that leave the group (setsid), and, after the
// parent was killed, descendants in the group that do not watch a lifeline of
// their own. For programs that are not ours there is a fourth net, a guard: a
// process between us and the program that outlives both for the moment that it
// takes to kill whatever descends from it (see RunGuard).
//
// A RunDir is the same promise for files: what a killed process leaves behind is
// removed by the next one.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postbench/postbench/internal/machine"
)

const (
	// DefaultReadyTimeout is how long a child may take until its ready line.
	DefaultReadyTimeout = 10 * time.Second
	// DefaultStopTimeout is how long a child may take to stop after SIGTERM.
	DefaultStopTimeout = 5 * time.Second
	// outputGrace is how long stdout and stderr may stay open after the child's
	// end. Only a descendant that left the group can hold them longer; without
	// the limit it would make every Stop hang.
	outputGrace = time.Second
)

var (
	// ErrExitedEarly says that the child ended before it was ready.
	ErrExitedEarly = errors.New("exited before it was ready")
	// ErrNotReady says that the child was not ready within Spec.ReadyTimeout.
	ErrNotReady = errors.New("not ready in time")
	// ErrReadyLine says that the first line on stdout was not a ready line.
	ErrReadyLine = errors.New("the first line on stdout is not {\"addr\":\"…\"}")
	// ErrForced says that the child had to be killed: it ignored SIGTERM, or
	// Spec.StopSignal, for Spec.StopTimeout, or the context of Stop ended first.
	ErrForced = errors.New("did not stop when asked and was killed")
)

// Error is what went wrong with a child, as one line: its name, the reason and
// the last lines that it wrote to stderr.
type Error struct {
	Name   string // Spec.Name
	Err    error  // wraps one of the sentinels above, a context's error, *exec.ExitError or *StatusError
	Stderr string // the end of stderr, at most 4 KiB
}

// Error returns one line, however many lines the child wrote.
func (e *Error) Error() string {
	s := e.Name + ": " + e.Err.Error()
	if words := lastLines(e.Stderr); words != "" {
		s += "; stderr: " + words
	}
	return s
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Spec says what to start.
type Spec struct {
	Name string   // what messages call the child, for example "refserver edge 1"
	Path string   // the program; without a slash it is looked up in PATH
	Args []string // arguments, without the program itself
	Env  []string // "KEY=value", added to this process's environment; the last of a key wins
	Dir  string   // working directory; "" means this process's
	// Nice is how much lower than this process's the child's scheduling priority
	// is (Linux; elsewhere it has no effect).
	Nice int
	// Log receives the child's stderr once it is ready; nil means nowhere. Its errors are
	// ignored, because a full disk must not end a server. It must not block: the
	// child would stand still with it.
	Log io.Writer
	// Probe is for programs that announce nothing: the child is ready when it
	// returns nil. It is called again and again, and must end with its context.
	Probe        func(context.Context) error
	ReadyTimeout time.Duration // 0 means DefaultReadyTimeout
	StopTimeout  time.Duration // 0 means DefaultStopTimeout
	// StopSignal is how Stop asks the program, and it alone, to end: nginx and
	// php-fpm end their workers themselves and in order. nil means SIGTERM to the
	// whole group.
	StopSignal os.Signal
	// Guard is the command (a program and its first arguments) that runs Path and
	// Args as its own arguments and ends with RunGuard; nil means none.
	Guard []string
	// GuardSweep are the directories that the guard tidies up (see Sweep) after
	// this process was killed.
	GuardSweep []string
}

// Child is a started program. Its methods may be called from any goroutine and
// at any time, also after the child's end.
type Child struct {
	name        string
	cmd         *exec.Cmd
	lifeline    *os.File // the writing end: open as long as we live
	ready       *readyWriter
	stderr      *tailWriter
	guard       *guardian // nil without a guard
	stopTimeout time.Duration
	stopSignal  syscall.Signal // 0: SIGTERM to the group
	message     readyMessage
	done        chan struct{} // closed when the child is reaped and err is set

	mu     sync.Mutex
	exited bool   // ended, perhaps not reaped: the process id must not be used any more
	asked  uint64 // bit set of the signals sent through this Child
	forced bool   // Stop lost its patience

	err error // how it ended; read only after done
}

// Start runs the program and returns when it has announced its address (see
// AnnounceReady) or, with a Probe, when that succeeds. ctx limits only this
// waiting: ending it later does not end the child. On an error, always an *Error,
// the child and its group are gone.
func Start(ctx context.Context, spec Spec) (*Child, error) {
	c, err := begin(spec)
	if err != nil {
		return nil, err
	}
	if err := c.awaitReady(ctx, spec.Probe, orDefault(spec.ReadyTimeout, DefaultReadyTimeout)); err != nil {
		// Whoever is told to stop while it starts may have begun things that only
		// it can tidy up.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.graceFor(ctx))
		defer cancel()
		_ = c.Stop(grace)
		return nil, &Error{Name: spec.Name, Err: err, Stderr: c.stderr.String()}
	}
	c.stderr.passOn()
	return c, nil
}

// Run runs a program that ends by itself and returns how it ended, as Child.Err
// does. When ctx ends first it stops the program, as Child.Stop does, and returns
// an *Error that wraps the cause.
func Run(ctx context.Context, spec Spec) error {
	c, err := begin(spec)
	if err != nil {
		return err
	}
	c.stderr.passOn()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.stopTimeout)
	defer cancel()
	_ = c.Stop(grace)
	return &Error{Name: spec.Name, Err: fmt.Errorf("run: %w", context.Cause(ctx)), Stderr: c.stderr.String()}
}

// begin starts the program, which may not be ready yet.
func begin(spec Spec) (*Child, error) {
	c := &Child{
		name:        spec.Name,
		ready:       newReadyWriter(),
		stderr:      &tailWriter{log: spec.Log},
		stopTimeout: orDefault(spec.StopTimeout, DefaultStopTimeout),
		done:        make(chan struct{}),
	}
	c.stopSignal, _ = spec.StopSignal.(syscall.Signal)
	started := make(chan error)
	go c.keep(spec, started)
	if err := <-started; err != nil {
		return nil, &Error{Name: spec.Name, Err: fmt.Errorf("start: %w", err)}
	}
	return c, nil
}

// graceFor is how long a child that is not ready may take to end: none when it
// had its time, some when the caller lost interest.
func (c *Child) graceFor(ctx context.Context) time.Duration {
	if ctx.Err() == nil {
		return 0
	}
	return c.stopTimeout
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

func (c *Child) awaitReady(ctx context.Context, probe func(context.Context) error, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	lines, probed := c.ready.line, (chan struct{})(nil)
	if probe != nil {
		probing, stop := context.WithCancel(ctx)
		defer stop()
		lines, probed = nil, make(chan struct{})
		go probeUntilReady(probing, probe, probed)
	}
	select {
	case <-probed:
		return nil
	case line := <-lines:
		c.message = line.message
		return line.err
	case <-c.done:
		return fmt.Errorf("%w (%s)", ErrExitedEarly, c.howItEnded())
	case <-timer.C:
		return fmt.Errorf("%w (waited %v)", ErrNotReady, timeout)
	case <-ctx.Done():
		return fmt.Errorf("start: %w", context.Cause(ctx))
	}
}

// probeEvery is the pause between two probes.
const probeEvery = 5 * time.Millisecond

// probeUntilReady closes ready when probe succeeds.
func probeUntilReady(ctx context.Context, probe func(context.Context) error, ready chan<- struct{}) {
	for ctx.Err() == nil {
		if probe(ctx) == nil {
			close(ready)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(probeEvery):
		}
	}
}

// keep is the child's keeper: it starts it, waits for its end and cleans up.
//
// It stays on one OS thread all that time, because the kernel binds the parent-
// death signal to the thread that forked, not to the process (golang/go#27505):
// were this thread to end, the child would be killed under a living parent.
func (c *Child) keep(spec Spec, started chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	lowerPriority(spec.Nice)
	err := c.launch(spec)
	started <- err
	if err != nil {
		return
	}
	// Best is to end the group while the child is dead but not reaped: until
	// then its id, which is the group's, cannot belong to anybody else.
	unreaped := awaitExit(c.Pid())
	if unreaped {
		c.endGroup()
	}
	err = c.cmd.Wait()
	if !unreaped {
		c.endGroup()
	}
	_ = c.lifeline.Close()
	c.err = c.judge(err)
	close(c.done)
}

// endGroup kills what the dead child left of its group; nobody left is fine.
func (c *Child) endGroup() {
	c.mu.Lock()
	c.exited = true
	_ = syscall.Kill(-c.Pid(), syscall.SIGKILL)
	c.mu.Unlock()
	if c.guard != nil {
		c.guard.tidy()
	}
}

func (c *Child) launch(spec Spec) error {
	childEnd, parentEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer childEnd.Close()
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.ExtraFiles = []*os.File{childEnd}
	if len(spec.Guard) == 0 {
		dieWithParent(cmd.SysProcAttr) // a guard outlives us
	} else {
		if err := c.guarded(cmd, &spec); err != nil {
			_ = parentEnd.Close()
			return err
		}
		defer cmd.ExtraFiles[1].Close()
	}
	cmd.Dir = spec.Dir
	cmd.Env = append(append(os.Environ(), spec.Env...), append(cmd.Env, fmt.Sprintf("%s=%d", lifelineEnv, firstExtraFD))...)
	cmd.Stdout, cmd.Stderr = c.ready, c.stderr
	cmd.WaitDelay = outputGrace
	if err := cmd.Start(); err != nil {
		_ = parentEnd.Close()
		if c.guard != nil {
			_ = c.guard.report.Close()
		}
		return err
	}
	c.cmd, c.lifeline = cmd, parentEnd
	if c.guard != nil {
		go c.guard.read()
	}
	return nil
}

// firstExtraFD is where exec.Cmd puts ExtraFiles[0]: after stdin, stdout, stderr.
const firstExtraFD = 3

// Addr is the address that the child announced; "" with a Probe.
func (c *Child) Addr() string { return c.message.Addr }

// Also is a further address that the child announced under that name, or "".
func (c *Child) Also(name string) string { return c.message.Also[name] }

// Pid is the child's process id and also the id of its process group; of a
// program under a guard it is the guard's.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// ProgramPid is the process id of the program itself, under a guard too; 0 if
// the guard could not start it.
func (c *Child) ProgramPid() int {
	if c.guard == nil {
		return c.Pid()
	}
	<-c.guard.known // the guard's first line, or its end
	return c.guard.pid
}

// Done is closed when the child has ended and its group is killed.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the child ended: nil while it runs, after exit status 0, and when
// it died of a signal that was sent through Stop, Kill or Signal; an *Error with
// the end of stderr otherwise.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// CPUTime is the CPU time, user and system, of the child and of those of its
// children that it has waited for; under a guard of everybody who descends from it. While it lives the figure comes from /proc, to
// 10 ms (0 where the system has none); after its end from rusage.
func (c *Child) CPUTime() time.Duration {
	if d, alive := c.cpuTimeAlive(); alive {
		return d
	}
	<-c.done // the child has ended: this takes outputGrace at most
	state := c.cmd.ProcessState
	if state == nil { // somebody else reaped it
		return 0
	}
	return state.UserTime() + state.SystemTime()
}

func (c *Child) cpuTimeAlive() (d time.Duration, alive bool) {
	c.mu.Lock() // holds off the reaping, after which the id may be another's
	defer c.mu.Unlock()
	if c.exited {
		return 0, false
	}
	if c.guard != nil {
		return treeCPU(c.Pid()), true
	}
	d, _ = machine.ProcessCPU(c.Pid())
	return d, true
}

// lastLines makes the end of stderr fit into one line.
func lastLines(stderr string) string {
	const maxLines, maxLineBytes = 5, 400
	var lines []string
	for line := range bytes.Lines([]byte(stderr)) {
		if s := strings.TrimSpace(string(line)); s != "" {
			lines = append(lines, strings.ToValidUTF8(s[:min(len(s), maxLineBytes)], ""))
		}
	}
	return strings.Join(lines[max(0, len(lines)-maxLines):], " | ")
}
