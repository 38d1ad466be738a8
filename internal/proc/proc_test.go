package proc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// syncBuffer is a Spec.Log that a test may read meanwhile.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestStartAndStop(t *testing.T) {
	var log syncBuffer
	s := spec("serve")
	s.Log = &log
	c := mustStart(t, s)
	if c.Addr() != "127.0.0.1:4711" || isGone(c.Pid()) || c.Err() != nil {
		t.Fatalf("addr %q, gone %v, err %v", c.Addr(), isGone(c.Pid()), c.Err())
	}
	if pgid, err := syscall.Getpgid(c.Pid()); pgid != c.Pid() || err != nil {
		t.Errorf("process group %d, %v; want its own, %d", pgid, err, c.Pid())
	}
	for range 2 { // idempotent
		if err := c.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if !isGone(c.Pid()) || c.Err() != nil || log.String() != "stopped orderly\n" {
		t.Errorf("gone %v, err %v, log %q", isGone(c.Pid()), c.Err(), log.String())
	}
	if err := c.Signal(syscall.SIGHUP); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v, want os.ErrProcessDone", err)
	}
}

func TestStartFails(t *testing.T) {
	impatient := func(s Spec) Spec { s.ReadyTimeout = 300 * time.Millisecond; return s }
	missing := spec("missing")
	missing.Path = filepath.Join(t.TempDir(), "no-such-program")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = Start(t.Context(), spec("early-ok")) // the runtime opens its own descriptors once
	for name, c := range map[string]struct {
		ctx  context.Context
		spec Spec
		is   error
		says []string
	}{
		"exits early":     {t.Context(), spec("early"), ErrExitedEarly, []string{"early: ", "exit status 3", "stderr: first | port in use"}},
		"ends in peace":   {t.Context(), spec("early-ok"), ErrExitedEarly, []string{"exit status 0"}},
		"never ready":     {t.Context(), impatient(spec("mute")), ErrNotReady, []string{"mute: ", "300ms"}},
		"other output":    {t.Context(), spec("babble"), ErrReadyLine, []string{`"hello"`}},
		"no such program": {t.Context(), missing, os.ErrNotExist, []string{"missing: start: "}},
		"cancelled":       {cancelled, spec("mute"), context.Canceled, []string{"mute: start: "}},
	} {
		t.Run(name, func(t *testing.T) {
			before := openDescriptors(t)
			child, err := Start(c.ctx, c.spec)
			var typed *Error
			if child != nil || !errors.Is(err, c.is) || !errors.As(err, &typed) {
				t.Fatalf("%v, %v; want an *Error that wraps %q", child, err, c.is)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			noChildLeft(t)
			eventually(t, "descriptors closed", func() bool { return openDescriptors(t) <= before })
		})
	}
}

// noChildLeft asks the kernel: there must be nothing to wait for.
func noChildLeft(t *testing.T) {
	t.Helper()
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("a child is left: wait4 says %d, %v", pid, err)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestStopKillsTheStubborn(t *testing.T) {
	s := spec("stubborn")
	s.StopTimeout = 100 * time.Millisecond
	c := mustStart(t, s)
	for range 2 {
		if err := c.Stop(t.Context()); !errors.Is(err, ErrForced) || !isGone(c.Pid()) {
			t.Errorf("stop: %v, gone %v; want ErrForced, gone", err, isGone(c.Pid()))
		}
	}
}

func TestStopWithEndedContextKillsAtOnce(t *testing.T) {
	c := mustStart(t, spec("stubborn")) // its StopTimeout is long
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	if err := c.Stop(ctx); !errors.Is(err, ErrForced) || time.Since(begin) > testPatience/2 {
		t.Errorf("stop: %v after %v", err, time.Since(begin))
	}
}

func TestStopEndsAStoppedChildOrderly(t *testing.T) {
	var log syncBuffer
	s := spec("serve")
	s.Log = &log
	c := mustStart(t, s)
	if err := c.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err != nil || log.String() != "stopped orderly\n" {
		t.Errorf("stop: %v, log %q", err, log.String())
	}
}

func TestStopIsSafeFromManyGoroutines(t *testing.T) {
	c := mustStart(t, spec("serve"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_ = c.CPUTime()
			_ = c.Err()
			if err := c.Stop(t.Context()); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestEndIsReported(t *testing.T) {
	t.Run("by its own fault", func(t *testing.T) {
		c := mustStart(t, spec("crash"))
		if err := c.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		var exit *exec.ExitError
		if err := c.Err(); !errors.As(err, &exit) || err.Error() != "crash: exit status 7; stderr: out of luck" {
			t.Errorf("err %v", err)
		}
		if err := c.Stop(t.Context()); !errors.As(err, &exit) {
			t.Errorf("stop after the crash: %v, want the crash", err)
		}
	})
	t.Run("by a stranger's signal", func(t *testing.T) {
		c := mustStart(t, spec("stubborn"))
		if err := syscall.Kill(c.Pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if err := c.Err(); err == nil || errors.Is(err, ErrForced) || err.Error() != "stubborn: signal: killed" {
			t.Errorf("err %v", err)
		}
	})
	t.Run("not if it was asked for", func(t *testing.T) {
		c := mustStart(t, spec("stubborn"))
		if err := c.Kill(); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if err := c.Stop(t.Context()); err != nil || c.Err() != nil {
			t.Errorf("stop %v, err %v", err, c.Err())
		}
	})
}

func TestStopTakesTheGroup(t *testing.T) {
	for name, end := range map[string]func(*Child) error{
		"Stop": func(c *Child) error { return c.Stop(context.Background()) },
		"Kill": func(c *Child) error { return c.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			c := mustStart(t, spec("family"))
			grandchild := atoi(t, c.Addr())
			if isGone(grandchild) {
				t.Fatal("no grandchild to begin with")
			}
			if err := end(c); err != nil {
				t.Error(err)
			}
			<-c.Done()
			eventually(t, "the grandchild is gone", func() bool { return isGone(grandchild) })
		})
	}
}

func TestChildsOwnEndTakesTheGroup(t *testing.T) {
	c := mustStart(t, spec("deaf-leave"))
	grandchild := atoi(t, c.Addr())
	<-c.Done()
	if c.Err() != nil {
		t.Errorf("err %v", c.Err())
	}
	eventually(t, "the grandchild is gone", func() bool { return isGone(grandchild) })
}

// A grandchild outside the group cannot be caught, but it must not make us wait.
func TestEscapedGrandchildDelaysNobody(t *testing.T) {
	c := mustStart(t, spec("escape"))
	grandchild := atoi(t, c.Addr())
	t.Cleanup(func() { _ = syscall.Kill(grandchild, syscall.SIGKILL) })
	select {
	case <-c.Done():
	case <-time.After(testPatience):
		t.Fatal("waits for the grandchild to close stdout")
	}
	if !errors.Is(c.Err(), exec.ErrWaitDelay) {
		t.Errorf("err %v, want it to tell of the open output", c.Err())
	}
}

func TestStdoutIsDrained(t *testing.T) {
	var log syncBuffer
	s := spec("chatty")
	s.Log = &log
	mustStart(t, s)
	eventually(t, "the child got rid of 1 MiB", func() bool { return log.String() == "all written\n" })
}

func TestEnvAndDir(t *testing.T) {
	t.Setenv("PROC_TEST_VALUE", "parent's")
	if c := mustStart(t, spec("env")); c.Addr() != "parent's" {
		t.Errorf("inherited: %q", c.Addr())
	}
	if c := mustStart(t, spec("env", "PROC_TEST_VALUE=own")); c.Addr() != "own" {
		t.Errorf("overridden: %q", c.Addr())
	}
	s := spec("where")
	s.Dir = t.TempDir()
	want, err := filepath.EvalSymlinks(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := mustStart(t, s); c.Addr() != want {
		t.Errorf("working directory %q, want %q", c.Addr(), want)
	}
}

func TestCPUTime(t *testing.T) {
	c := mustStart(t, spec("burn"))
	const tick = 10 * time.Millisecond
	alive := c.CPUTime()
	if runtime.GOOS == "linux" && alive < burnCPU-4*tick {
		t.Errorf("alive: %v, but it has burnt %v", alive, burnCPU)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := c.CPUTime(); after < burnCPU || after < alive {
		t.Errorf("after its end %v, alive %v, burnt %v", after, alive, burnCPU)
	}
}
