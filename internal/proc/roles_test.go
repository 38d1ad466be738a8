package proc

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is also every program that the tests start: roleEnv says which.
const roleEnv = "PROC_TEST_ROLE"

// noRaceSleep: under the race detector every program sleeps 1 s before its end.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"

// testPatience limits every wait. It is generous because it is only ever used up
// by a failing test.
const testPatience = 20 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == guardArg {
		time.AfterFunc(3*testPatience, func() { log.Fatal("guard: forgotten") })
		status, err := RunGuard(os.Args[2:])
		if err != nil {
			log.Print(err)
		}
		os.Exit(status)
	}
	role := os.Getenv(roleEnv)
	if role == "" {
		m.Run()
		return
	}
	play, ok := roles()[role]
	if !ok {
		log.Fatalf("no role %q", role)
	}
	// A failing test must not leave processes behind either.
	time.AfterFunc(3*testPatience, func() { log.Fatalf("role %s: forgotten", role) })
	os.Exit(play())
}

const parentGoneStatus = 42

func roles() map[string]func() int {
	return map[string]func() int{
		"serve":      serve,
		"early":      func() int { fmt.Fprintln(os.Stderr, "first\n\nport in use"); return 3 },
		"early-ok":   func() int { return 0 },
		"mute":       func() int { fmt.Fprintln(os.Stderr, "still loading"); select {} },
		"babble":     func() int { fmt.Println("hello"); select {} },
		"chatty":     chatty,
		"crash":      crash,
		"stubborn":   stubborn,
		"family":     family,
		"hang":       func() int { select {} },
		"parent":     parent,
		"rundir":     holdRunDir,
		"lifeline":   watchLifeline,
		"burn":       burn,
		"env":        func() int { announce(os.Getenv("PROC_TEST_VALUE")); <-lifeline().Done(); return 0 },
		"where":      func() int { dir, _ := os.Getwd(); announce(dir); select {} },
		"deaf-leave": deafLeave,
		"escape":     escape,
		"clan":       clan,
		"mute-clan":  muteClan,
		"master":     master,
		"fail":       func() int { fmt.Fprintln(os.Stderr, "no luck"); return 5 },
	}
}

func announce(addr string) {
	if err := AnnounceReady(os.Stdout, addr, nil); err != nil {
		log.Fatal(err)
	}
}

func lifeline() context.Context {
	ctx, err := LifelineContext(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	return ctx
}

// serve is what a well-behaved server does.
func serve() int {
	ctx, stop := signal.NotifyContext(lifeline(), syscall.SIGTERM)
	defer stop()
	announce("127.0.0.1:4711")
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "stopped orderly")
	return 0
}

// chatty writes much more to stdout than a pipe holds, then tells on stderr.
func chatty() int {
	announce("x:1")
	line := strings.Repeat("x", 1023) + "\n"
	for range 1024 {
		fmt.Print(line)
	}
	fmt.Fprintln(os.Stderr, "all written")
	select {}
}

// crash serves until it is told to die of its own fault.
func crash() int {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	announce("x:1")
	<-told
	fmt.Fprintln(os.Stderr, "out of luck")
	return 7
}

// stubborn ignores what can be ignored. SIGHUP too, because the kernel sends it
// to a stopped process group that loses its parent.
func stubborn() int {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	announce("x:1")
	select {}
}

// watchLifeline also makes sure that its own children would not inherit it.
func watchLifeline() int {
	ctx := lifeline()
	if flags, err := unix.FcntlInt(firstExtraFD, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		log.Fatalf("descriptor %d: flags %x, %v", firstExtraFD, flags, err)
	}
	<-ctx.Done()
	return parentGoneStatus
}

// family has a child of its own in the same group, whose pid is the address. It
// ends well only if SIGTERM has ended that child.
func family() int {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM) // not Ignore: the child would inherit it
	cmd := startHang(nil)
	announce(itoa(cmd.Process.Pid))
	_ = cmd.Wait()
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return 0
	}
	return 9
}

// deafLeave ends at once and leaves a child that ignores SIGTERM and holds stdout.
func deafLeave() int {
	signal.Ignore(syscall.SIGTERM)
	announce(itoa(startHang(nil).Process.Pid))
	return 0
}

// escape ends at once and leaves a child that holds stdout outside the group.
func escape() int {
	announce(itoa(startHang(&syscall.SysProcAttr{Setsid: true}).Process.Pid))
	return 0
}

func startHang(attr *syscall.SysProcAttr) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=hang")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdout, os.Stderr, attr
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	return cmd
}

// parent has a child by Start, in the role that it is told; the address is its pid.
func parent() int {
	s := spec(os.Getenv("PROC_TEST_CHILD"))
	if base := os.Getenv("PROC_TEST_BASE"); base != "" {
		s = guarded(s)
		s.GuardSweep = []string{base}
		if _, err := NewRunDir(base); err != nil {
			log.Fatal(err)
		}
	}
	c, err := Start(context.Background(), s)
	if err != nil {
		log.Fatal(err)
	}
	runtime.GC() // the lifeline must not hang on a finalizer
	if s.Guard != nil {
		announce(itoa(c.Pid()) + " " + c.Addr())
		select {}
	}
	announce(itoa(c.Pid()))
	select {}
}

func holdRunDir() int {
	d, err := NewRunDir(os.Getenv("PROC_TEST_BASE"))
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path(), "data"), []byte("x"), 0o600); err != nil {
		log.Fatal(err)
	}
	announce(d.Path())
	select {}
}

// burn uses a fixed amount of CPU time, not of wall time, and announces.
func burn() int {
	used := func() time.Duration {
		var ru syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
		return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	for used() < burnCPU {
	}
	announce("x:1")
	<-lifeline().Done()
	return 0
}

const burnCPU = 100 * time.Millisecond

// spec starts this test binary in a role.
func spec(role string, env ...string) Spec {
	return Spec{
		Name:         role,
		Path:         os.Args[0],
		Env:          append(env, roleEnv+"="+role, noRaceSleep),
		ReadyTimeout: testPatience,
		StopTimeout:  testPatience,
	}
}

// mustStart starts a role and makes sure that it is gone when the test ends.
func mustStart(t *testing.T, s Spec) *Child {
	t.Helper()
	c, err := Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Kill()
		<-c.Done()
	})
	return c
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(testPatience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", testPatience, what)
		}
		time.Sleep(2 * time.Millisecond) // polling other processes: there is nothing to wait on
	}
}

// isGone is also true for a zombie: who reaps an orphan, and when, is up to init.
func isGone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	return processState(pid) == 'Z'
}

// processState is the letter of /proc/PID/stat, 0 where there is none.
func processState(pid int) byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(b), ") ")
	if after == "" {
		return 0
	}
	return after[0]
}

func itoa(n int) string { return strconv.Itoa(n) }

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
