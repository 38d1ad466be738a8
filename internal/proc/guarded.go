package proc

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/postbench/postbench/internal/machine"
)

const (
	// guardPatience is how much longer than its own killLimit a guard may take to
	// end. One that is stopped or stuck is killed then.
	guardPatience = killLimit + 2*time.Second
	// maxReportBytes bounds one line of a guard's report.
	maxReportBytes = 1 << 10
	// maxKillRounds bounds the hunt for what a killed guard left behind.
	maxKillRounds = 50
)

// StatusError is the end of a program under a guard that was not exit status 0.
type StatusError struct {
	Status syscall.WaitStatus
}

// Error is worded as exec.ExitError's.
func (e *StatusError) Error() string {
	if e.Status.Signaled() {
		return "signal: " + e.Status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", e.Status.ExitStatus())
}

// guardian is the parent's side of a guard.
type guardian struct {
	mark   string // the value of guardedEnv
	report *os.File
	known  chan struct{} // closed when pid is final
	over   chan struct{} // closed when status is final

	pid    int                 // the program's; read only after known; 0: it never started
	status *syscall.WaitStatus // read only after over; nil: the guard was killed
}

// guarded makes cmd run the program under spec's guard.
func (c *Child) guarded(cmd *exec.Cmd, spec *Spec) error {
	if _, err := exec.LookPath(cmd.Path); err != nil { // else only the guard would know
		return err
	}
	order, err := json.Marshal(guardOrder{Sweep: spec.GuardSweep})
	if err != nil {
		return err
	}
	guard := exec.Command(spec.Guard[0], append(append([]string{}, spec.Guard[1:]...), cmd.Path)...)
	if guard.Err != nil {
		return fmt.Errorf("the guard: %w", guard.Err)
	}
	report, guardsEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	c.guard = &guardian{mark: rand.Text(), report: report, known: make(chan struct{}), over: make(chan struct{})}
	cmd.Path, cmd.Args = guard.Path, append(guard.Args, cmd.Args[1:]...)
	cmd.Env = []string{guardEnv + "=" + string(order), guardedEnv + "=" + c.guard.mark}
	cmd.ExtraFiles = append(cmd.ExtraFiles, guardsEnd)
	return nil
}

// read takes the guard's report until the guard is gone.
func (g *guardian) read() {
	defer close(g.over)
	defer func() { _ = g.report.Close() }()
	know := sync.OnceFunc(func() { close(g.known) })
	defer know()
	lines := bufio.NewScanner(io.LimitReader(g.report, 2*maxReportBytes))
	for lines.Scan() {
		var r guardReport
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			return // cut short by a kill
		}
		if r.Pid != 0 {
			g.pid = r.Pid
			know()
		}
		if r.Status != nil {
			g.status = r.Status
		}
	}
}

// tidy kills what a killed guard has left behind; a guard that ended by itself
// left nothing. The kernel has killed the program, and its group and whoever
// bears the mark remain.
func (g *guardian) tidy() {
	<-g.over
	if g.status != nil || g.pid == 0 {
		return
	}
	_ = syscall.Kill(-g.pid, syscall.SIGKILL)
	for range maxKillRounds {
		left := marked(guardedEnv + "=" + g.mark)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(killEvery)
	}
}

// verdict replaces the end of a guard by that of its program.
func (g *guardian) verdict(status syscall.WaitStatus, err error) (syscall.WaitStatus, error) {
	switch {
	case g.status == nil:
		return status, err
	case *g.status == 0:
		return 0, nil
	}
	return *g.status, &StatusError{*g.status}
}

// commandFor is a signal as a guard wants it.
func commandFor(s syscall.Signal, to audience) command {
	if to == toProgram {
		return command(s) | alone
	}
	return command(s)
}

// treeCPU is the CPU time of a process and of all that descends from it.
func treeCPU(pid int) (sum time.Duration) {
	for _, p := range append(descendants(pid), pid) {
		d, err := machine.ProcessCPU(p)
		if err == nil {
			sum += d
		}
	}
	return sum
}

// hasVariable says whether an environment, as /proc has it, holds "KEY=value".
func hasVariable(environ []byte, variable string) bool {
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if string(v) == variable {
			return true
		}
	}
	return false
}
