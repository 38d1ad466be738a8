package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Stop asks the whole group to end (SIGTERM, and SIGCONT in case it is stopped),
// or the program alone (see Spec.StopSignal), kills it after Spec.StopTimeout or
// when ctx ends, and returns when the child is gone. What the child leaves of its
// group is killed at once. It returns Err: nil after an orderly end, ErrForced
// when it had to kill. It may be called again, and after the child's own end; to
// stop orderly at the end of a cancelled run, pass a context that is not the run's.
func (c *Child) Stop(ctx context.Context) error {
	if c.stopSignal == 0 {
		_ = c.signal(syscall.SIGTERM, toGroup)
	} else {
		_ = c.signal(c.stopSignal, toProgram)
	}
	_ = c.signal(syscall.SIGCONT, toGroup)
	timer := time.NewTimer(c.stopTimeout)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.force()
	case <-ctx.Done():
		c.force()
	}
	<-c.done
	return c.err
}

// force kills the group, and a guard that does not do so.
func (c *Child) force() {
	c.mu.Lock()
	c.forced = c.send(syscall.SIGKILL, toGroup) == nil || c.forced
	c.mu.Unlock()
	if c.guard == nil {
		return
	}
	select {
	case <-c.done:
	case <-time.After(guardPatience):
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.exited {
			_ = syscall.Kill(-c.Pid(), syscall.SIGKILL)
		}
	}
}

// Kill sends SIGKILL to the group, under a guard to all that descends from it; it
// does not wait. After the child's end it does nothing and returns
// os.ErrProcessDone.
func (c *Child) Kill() error { return c.signal(syscall.SIGKILL, toGroup) }

// Signal sends a signal to the group. After the child's end it does nothing and
// returns os.ErrProcessDone.
func (c *Child) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("%s: signal %v is none of this system's", c.name, sig)
	}
	return c.signal(s, toGroup)
}

// audience is whom a signal is for.
type audience bool

const (
	toGroup   audience = false
	toProgram audience = true
)

func (c *Child) signal(s syscall.Signal, to audience) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.send(s, to)
}

// send needs the lock, which holds off the reaping.
func (c *Child) send(s syscall.Signal, to audience) (err error) {
	switch {
	case c.exited:
		return os.ErrProcessDone
	case c.guard != nil:
		_, err = c.lifeline.Write([]byte{byte(commandFor(s, to))})
	case to == toProgram:
		err = syscall.Kill(c.Pid(), s)
	default:
		err = syscall.Kill(-c.Pid(), s)
	}
	if errors.Is(err, syscall.EPIPE) { // a guard that has just ended
		return os.ErrProcessDone
	}
	if err != nil {
		return fmt.Errorf("%s: send %v: %w", c.name, s, err)
	}
	c.asked |= bit(s)
	return nil
}

// judge turns the result of Wait into Err: an end that was asked for is fine.
func (c *Child) judge(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var status syscall.WaitStatus
	if state := c.cmd.ProcessState; state != nil { // nil: somebody else reaped it
		status = state.Sys().(syscall.WaitStatus)
	}
	if c.guard != nil {
		status, err = c.guard.verdict(status, err)
	}
	switch {
	case err == nil:
		return nil
	case c.forced && status.Signal() == syscall.SIGKILL:
		err = ErrForced
	case status.Signaled() && c.asked&bit(status.Signal()) != 0:
		return nil
	}
	return &Error{Name: c.name, Err: err, Stderr: c.stderr.String()}
}

// howItEnded is the status of the ended child in words.
func (c *Child) howItEnded() string {
	if c.guard != nil && c.guard.status != nil {
		return (&StatusError{*c.guard.status}).Error()
	}
	return c.cmd.ProcessState.String()
}

func bit(s syscall.Signal) uint64 { return 1 << (uint(s) & 63) }
