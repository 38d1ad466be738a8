package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guardArg makes the test binary a guard.
const guardArg = "guard"

// guarded puts a role under the test binary's guard.
func guarded(s Spec) Spec {
	s.Guard = []string{os.Args[0], guardArg}
	return s
}

// clan lives with relatives of every kind, all deaf to SIGTERM: in its group, in a
// session of their own, and with a parent that is dead. The address is all pids.
func clan() int {
	announce(strings.Join(append(relatives(), itoa(os.Getpid())), " "))
	signal.Ignore(syscall.SIGTERM)
	select {}
}

// muteClan is a clan that is never ready; PROC_TEST_FILE gets the pids.
func muteClan() int {
	file := os.Getenv("PROC_TEST_FILE")
	pids := strings.Join(relatives(), " ")
	if err := errors.Join(os.WriteFile(file+".new", []byte(pids), 0o600), os.Rename(file+".new", file)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	select {}
}

func relatives() (pids []string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	for _, attr := range []*syscall.SysProcAttr{nil, {Setpgid: true}, {Setsid: true}} {
		pids = append(pids, itoa(startHang(attr).Process.Pid))
	}
	cmd := exec.Command(os.Args[0]) // ends at once and leaves a child in a session of its own
	cmd.Env = append(os.Environ(), roleEnv+"=escape")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		log.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadBytes('\n')
	m, err := parseReady(line)
	if err != nil {
		log.Fatal(err)
	}
	return append(pids, m.Addr)
}

// master asks its child to end when it gets SIGQUIT, as nginx does, and ends well
// if that was still there: the signal was for the master alone.
func master() int {
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	worker := startHang(nil) // would die of SIGQUIT
	announce(itoa(worker.Process.Pid))
	<-quit
	_ = worker.Process.Signal(syscall.SIGTERM)
	_ = worker.Wait()
	if worker.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		fmt.Fprintln(os.Stderr, "the worker had got the signal, too")
		return 1
	}
	return 0
}

func needsSubreaper(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who descends from whom")
	}
}

func allGone(t *testing.T, pids string) {
	t.Helper()
	for _, pid := range strings.Fields(pids) {
		eventually(t, "process "+pid+" is gone", func() bool { return isGone(atoi(t, pid)) })
	}
}

func allThere(t *testing.T, pids string) {
	t.Helper()
	for _, pid := range strings.Fields(pids) {
		if isGone(atoi(t, pid)) {
			t.Fatalf("process %s is gone to begin with", pid)
		}
	}
}

func TestGuardedStartAndStop(t *testing.T) {
	var log syncBuffer
	s := guarded(spec("serve"))
	s.Log = &log
	c := mustStart(t, s)
	if c.Addr() != "127.0.0.1:4711" || c.ProgramPid() == c.Pid() || isGone(c.ProgramPid()) {
		t.Fatalf("addr %q, guard %d, program %d", c.Addr(), c.Pid(), c.ProgramPid())
	}
	if pgid, err := syscall.Getpgid(c.ProgramPid()); pgid != c.ProgramPid() || err != nil {
		t.Errorf("process group %d, %v; want its own, %d", pgid, err, c.ProgramPid())
	}
	for range 2 {
		if err := c.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if !isGone(c.Pid()) || !isGone(c.ProgramPid()) || log.String() != "stopped orderly\n" {
		t.Errorf("still there, or log %q", log.String())
	}
	if err := c.Kill(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill after the end: %v, want os.ErrProcessDone", err)
	}
}

func TestGuardedEnds(t *testing.T) {
	t.Run("before it is ready", func(t *testing.T) {
		_, err := Start(t.Context(), guarded(spec("early")))
		if !errors.Is(err, ErrExitedEarly) || err.Error() != "early: exited before it was ready (exit status 3); stderr: first | port in use" {
			t.Errorf("err %v", err)
		}
	})
	t.Run("not installed", func(t *testing.T) {
		s := guarded(spec("serve"))
		s.Path = filepath.Join(t.TempDir(), "no-such-program")
		if _, err := Start(t.Context(), s); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("err %v, want os.ErrNotExist", err)
		}
		noChildLeft(t)
	})
	t.Run("by its own fault, told by a signal to the guard", func(t *testing.T) {
		c := mustStart(t, guarded(spec("crash")))
		if err := syscall.Kill(c.Pid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		var status *StatusError
		if err := c.Err(); !errors.As(err, &status) || err.Error() != "crash: exit status 7; stderr: out of luck" {
			t.Errorf("err %v", err)
		}
	})
	t.Run("by a stranger's signal", func(t *testing.T) {
		c := mustStart(t, guarded(spec("stubborn")))
		if err := syscall.Kill(c.ProgramPid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if err := c.Err(); err == nil || err.Error() != "stubborn: signal: killed" {
			t.Errorf("err %v", err)
		}
	})
}

// Everybody goes, whatever ends the program.
func TestGuardedEndTakesEverybody(t *testing.T) {
	needsSubreaper(t)
	for name, c := range map[string]struct {
		end  func(*Child) error
		want error
	}{
		"it ignores Stop": {func(c *Child) error { return c.Stop(context.Background()) }, ErrForced},
		"Kill":            {func(c *Child) error { return c.Kill() }, nil},
		"its own":         {func(c *Child) error { return syscall.Kill(c.ProgramPid(), syscall.SIGKILL) }, nil},
		"the guard's":     {func(c *Child) error { return syscall.Kill(c.Pid(), syscall.SIGKILL) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := guarded(spec("clan"))
			s.StopTimeout = 300 * time.Millisecond
			child := mustStart(t, s)
			allThere(t, child.Addr())
			if err := c.end(child); !errors.Is(err, c.want) {
				t.Errorf("err %v, want %v", err, c.want)
			}
			<-child.Done()
			allGone(t, child.Addr())
		})
	}
}

func TestGuardOutlivesItsParentForAMoment(t *testing.T) {
	needsSubreaper(t)
	base := t.TempDir()
	parent := mustStart(t, spec("parent", "PROC_TEST_CHILD=clan", "PROC_TEST_BASE="+base))
	allThere(t, parent.Addr())
	if leftovers(t, base) != 1 {
		t.Fatal("no run directory to begin with")
	}
	if err := syscall.Kill(parent.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	allGone(t, parent.Addr())
	eventually(t, "its directory is gone", func() bool { return leftovers(t, base) == 0 })
}

func leftovers(t *testing.T, base string) int {
	t.Helper()
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestGuardedStartInterrupted(t *testing.T) {
	needsSubreaper(t)
	file := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := guarded(spec("mute-clan", "PROC_TEST_FILE="+file))
	s.StopTimeout = 200 * time.Millisecond
	failed := make(chan error, 1)
	go func() {
		_, err := Start(ctx, s)
		failed <- err
	}()
	var pids []byte
	eventually(t, "the clan is there", func() (ok bool) {
		var err error
		pids, err = os.ReadFile(file)
		return err == nil
	})
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("err %v, want context.Canceled", err)
	}
	allGone(t, string(pids))
	noChildLeft(t)
}

func TestStopSignalIsForTheProgramAlone(t *testing.T) {
	for name, s := range map[string]Spec{"plain": spec("master"), "guarded": guarded(spec("master"))} {
		t.Run(name, func(t *testing.T) {
			s.StopSignal = syscall.SIGQUIT
			c := mustStart(t, s)
			if err := c.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignalsReachAGuardedGroup(t *testing.T) {
	c := mustStart(t, guarded(spec("family")))
	worker := atoi(t, c.Addr())
	if processState(worker) == 0 {
		t.Skip("no /proc")
	}
	if err := c.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are stopped", func() bool { return processState(worker) == 'T' && processState(c.ProgramPid()) == 'T' })
	if err := c.Stop(t.Context()); err != nil { // SIGTERM to both, and SIGCONT
		t.Error(err)
	}
}

func TestGuardedCPUTime(t *testing.T) {
	needsSubreaper(t)
	c := mustStart(t, guarded(spec("burn")))
	const tick = 10 * time.Millisecond
	if alive := c.CPUTime(); alive < burnCPU-4*tick {
		t.Errorf("alive: %v, but it has burnt %v", alive, burnCPU)
	}
	_ = c.Kill()
	if after := c.CPUTime(); after < burnCPU-4*tick {
		t.Errorf("after its end %v, burnt %v", after, burnCPU)
	}
}

func TestRun(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		role string
		is   error
		says string
	}{
		"ends well": {t.Context(), "early-ok", nil, ""},
		"fails":     {t.Context(), "fail", nil, "fail: exit status 5; stderr: no luck"},
		"cancelled": {cancelled, "mute", context.Canceled, "mute: run: context canceled"},
	} {
		for guard, s := range map[string]Spec{"plain": spec(c.role), "guarded": guarded(spec(c.role))} {
			err := Run(c.ctx, s)
			said := ""
			if err != nil {
				said, _, _ = strings.Cut(err.Error(), "; stderr: still loading")
			}
			if said != c.says || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s, %s: %v; want %q", name, guard, err, c.says)
			}
		}
	}
	noChildLeft(t)
}

func TestRunGuardNeedsAParent(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"no order":    {},
		"no lifeline": {guardEnv: "{}"},
		"bad order":   {guardEnv: "yes", lifelineEnv: "3"},
	} {
		for _, key := range []string{guardEnv, lifelineEnv} {
			t.Setenv(key, env[key])
		}
		if status, err := RunGuard([]string{"true"}); status != startFailed || err == nil || !strings.Contains(err.Error(), "guard: ") {
			t.Errorf("%s: %d, %v", name, status, err)
		}
	}
	if _, err := RunGuard(nil); err == nil {
		t.Error("nothing to run: no error")
	}
}

func TestProgramEnv(t *testing.T) {
	got := programEnv([]string{"A=1", guardEnv + "={}", guardedEnv + "=x", lifelineEnv + "=3", "B="})
	if want := []string{"A=1", guardedEnv + "=x", "B="}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestHasVariable(t *testing.T) {
	for environ, want := range map[string]bool{
		"A=1\x00": true, "B=\x00A=1": true, "A=12\x00": false, "XA=1\x00": false, "": false, "A=1 \x00A=\x00": false,
	} {
		if got := hasVariable([]byte(environ), "A=1"); got != want {
			t.Errorf("%q: %v, want %v", environ, got, want)
		}
	}
}
