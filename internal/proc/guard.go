package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// guardEnv is set for the guard alone; its value is a guardOrder.
	guardEnv = "POSTBENCH_GUARD"
	// guardedEnv marks all that a guard's program starts with a word of its own.
	guardedEnv = "POSTBENCH_GUARDED"
	// reportFD is where the guard tells its parent what it sees.
	reportFD = firstExtraFD + 1

	// killLimit bounds how long a guard kills what does not die, for example in
	// the middle of a read from a dead disk.
	killLimit = 5 * time.Second
	// killEvery is the pause between two rounds of killing.
	killEvery = 2 * time.Millisecond
	// signalsHeld is how many signals may arrive at once; more are lost, as those
	// of a kind always may.
	signalsHeld = 16
	// startFailed is the status of a guard that could not start its program, as a
	// shell has it.
	startFailed = 127
)

// errSurvivors says that something would not die within killLimit.
var errSurvivors = errors.New("processes that were killed are still there")

// guardOrder is what the parent tells a guard beside the program.
type guardOrder struct {
	Sweep []string `json:"sweep"`
}

// guardReport is one line from the guard. Pid comes when the program runs, Status
// when it and all that it started are gone.
type guardReport struct {
	Pid    int                 `json:"pid,omitempty"`
	Status *syscall.WaitStatus `json:"status,omitempty"`
}

// command is one byte on a guard's lifeline: a signal for the program's whole
// group or, with the highest bit, for the program alone. SIGKILL means everybody
// who descends from the guard.
type command byte

const (
	alone      command = 0x80
	signalBits command = 0x7f
)

func (c command) signal() syscall.Signal { return syscall.Signal(c & signalBits) }

// guard is a running RunGuard.
type guard struct {
	pid      int // the program's, and its group's
	status   syscall.WaitStatus
	reaped   chan reaped  // closed when there is no child any more
	commands chan command // closed when the parent is gone
	signals  chan os.Signal
	report   *os.File
}

type reaped struct {
	pid    int
	status syscall.WaitStatus
}

// RunGuard is the guard's main function: it runs a program (its name or path and
// its arguments) that Start has put under this process's guard (Spec.Guard), and
// returns the status with which this process should exit: the program's own,
// 128 + N after signal N.
//
// On Linux everything that descends from the program becomes the guard's child
// when its own parent dies, whatever group or session it is in. So nothing is
// left when RunGuard returns: it kills all at the program's end, and at the end
// of its parent, after which it also tidies up (Spec.GuardSweep). Elsewhere what
// leaves the program's group is not held.
//
// Signals to the guard go to the program, and to it alone. RunGuard must be the
// only thing that this process does, on the goroutine of main.
func RunGuard(program []string) (status int, err error) {
	if len(program) == 0 {
		return startFailed, errors.New("guard: no program to run")
	}
	order, err := readOrder()
	if err != nil {
		return startFailed, err
	}
	lifeline, err := openLifeline(os.Getenv(lifelineEnv))
	if err != nil {
		return startFailed, fmt.Errorf("guard: open the lifeline: %w; only a parent starts this", err)
	}
	defer func() { _ = lifeline.Close() }()
	g := &guard{
		reaped: make(chan reaped), commands: make(chan command), signals: make(chan os.Signal, signalsHeld),
		report: os.NewFile(reportFD, "report"),
	}
	// Handlers, since what is ignored the program would inherit. SIGPIPE: whoever
	// read our stderr may be gone.
	signal.Notify(g.signals, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGPIPE)
	unix.CloseOnExec(reportFD)
	if err := adoptOrphans(); err != nil {
		return startFailed, fmt.Errorf("guard: adopt orphans: %w", err)
	}
	if err := g.start(program); err != nil {
		return startFailed, fmt.Errorf("guard: start %s: %w", program[0], err)
	}
	go g.listen(lifeline)
	go g.reap()
	orphaned := g.watch()
	err = g.killAll()
	if orphaned {
		for _, base := range order.Sweep {
			Sweep(base)
		}
	}
	g.tell(guardReport{Status: &g.status})
	return exitStatus(g.status), err
}

func readOrder() (order guardOrder, err error) {
	if err := json.Unmarshal([]byte(os.Getenv(guardEnv)), &order); err != nil {
		return order, fmt.Errorf("guard: %s=%.100q: %w; only a parent starts this", guardEnv, os.Getenv(guardEnv), err)
	}
	return order, nil
}

// start starts the program in a group of its own, from a thread that lives as
// long as this process: see Child.keep.
func (g *guard) start(program []string) error {
	runtime.LockOSThread() // never unlocked
	path, err := exec.LookPath(program[0])
	if err != nil {
		return err
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(attr)
	g.pid, err = syscall.ForkExec(path, program, &syscall.ProcAttr{
		Env: programEnv(os.Environ()), Files: []uintptr{0, 1, 2}, Sys: attr,
	})
	if err == nil {
		g.tell(guardReport{Pid: g.pid})
	}
	return err
}

// programEnv is the environment without what is the guard's own.
func programEnv(env []string) (kept []string) {
	for _, v := range env {
		if !strings.HasPrefix(v, guardEnv+"=") && !strings.HasPrefix(v, lifelineEnv+"=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// tell writes a line to the parent; when that is gone nobody needs it.
func (g *guard) tell(r guardReport) { _ = json.NewEncoder(g.report).Encode(r) }

// listen takes the parent's commands until the parent is gone.
func (g *guard) listen(lifeline io.Reader) {
	defer close(g.commands)
	var b [1]byte
	for {
		if _, err := io.ReadFull(lifeline, b[:]); err != nil {
			return
		}
		g.commands <- command(b[0])
	}
}

// reap takes in the dead, orphans included, until nobody is left to die.
func (g *guard) reap() {
	defer close(g.reaped)
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD
			return
		default:
			g.reaped <- reaped{pid, status}
		}
	}
}

// watch relays signals until the program has ended, or everybody has to.
func (g *guard) watch() (orphaned bool) {
	for {
		select {
		case dead, alive := <-g.reaped:
			if !alive {
				return false
			}
			if dead.pid == g.pid {
				g.status = dead.status
				return false
			}
		case c, alive := <-g.commands:
			switch {
			case !alive:
				return true
			case c.signal() == unix.SIGKILL:
				return false
			case c&alone != 0:
				_ = syscall.Kill(g.pid, c.signal())
			default:
				_ = syscall.Kill(-g.pid, c.signal())
			}
		case s := <-g.signals:
			if s != unix.SIGPIPE {
				_ = syscall.Kill(g.pid, s.(syscall.Signal))
			}
		}
	}
}

// killAll kills until nobody is left. Whoever loses its parent by that becomes
// our child, and is met in the next round.
func (g *guard) killAll() error {
	_ = syscall.Kill(-g.pid, unix.SIGKILL) // elsewhere than on Linux this is all we can
	rounds := time.NewTicker(killEvery)
	defer rounds.Stop()
	for limit := time.After(killLimit); ; {
		for _, pid := range descendants(os.Getpid()) {
			_ = syscall.Kill(pid, unix.SIGKILL)
		}
		for next := false; !next; {
			select {
			case dead, alive := <-g.reaped:
				if !alive {
					return nil
				}
				if dead.pid == g.pid {
					g.status = dead.status
				}
			case <-rounds.C:
				next = true
			case <-g.commands: // too late for any; closed in the worst case
				g.commands = nil
			case <-limit:
				return fmt.Errorf("guard: %w after %v", errSurvivors, killLimit)
			}
		}
	}
}

func exitStatus(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
