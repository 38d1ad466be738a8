package proc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The parent here is a helper process, so that it can be killed.
func TestKilledParentTakesItsChild(t *testing.T) {
	for name, c := range map[string]struct {
		role      string
		stop      bool
		linuxOnly bool // needs the parent-death signal
	}{
		"that watches its lifeline": {role: "serve"},
		"that watches nothing":      {role: "stubborn", linuxOnly: true},
		"that is stopped":           {role: "stubborn", stop: true, linuxOnly: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.linuxOnly && runtime.GOOS != "linux" {
				t.Skip("needs the parent-death signal of Linux")
			}
			parent := mustStart(t, spec("parent", "PROC_TEST_CHILD="+c.role))
			child := atoi(t, parent.Addr())
			t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
			if c.stop {
				if err := syscall.Kill(child, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the child is stopped", func() bool { return processState(child) == 'T' })
			}
			if isGone(child) {
				t.Fatal("no child to begin with")
			}
			if err := parent.Kill(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the child is gone", func() bool { return isGone(child) })
		})
	}
}

// The kernel ties the parent-death signal to a thread; here threads die all the
// time, as they do in any program with locked goroutines.
func TestChildOutlivesThreads(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for ctx.Err() == nil {
			dead := make(chan struct{})
			go func() {
				defer close(dead)
				runtime.LockOSThread() // never unlocked: the thread ends too
			}()
			<-dead
		}
	})
	for range 50 {
		c := mustStart(t, spec("serve"))
		if err := c.Stop(t.Context()); err != nil || c.cmd.ProcessState.String() != "exit status 0" {
			t.Fatalf("the child did not live until Stop: %v, %s", err, c.cmd.ProcessState.String())
		}
	}
}

// Without the parent-death signal: the lifeline alone ends the child.
func TestLifelineEndsTheChild(t *testing.T) {
	childEnd, parentEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer parentEnd.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=lifeline", lifelineEnv+"=3")
	cmd.ExtraFiles = []*os.File{childEnd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = childEnd.Close()
	_ = parentEnd.Close()
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != parentGoneStatus {
		t.Errorf("exit status %d, want %d", got, parentGoneStatus)
	}
}

func TestLifelineContext(t *testing.T) {
	t.Run("without a parent", func(t *testing.T) {
		unsetenv(t, lifelineEnv)
		ctx, err := LifelineContext(t.Context())
		if ctx != t.Context() || err != nil {
			t.Errorf("%v, %v; want the context itself", ctx, err)
		}
	})
	t.Run("pipe closes", func(t *testing.T) {
		_, parentEnd := lifelineOnFD(t)
		ctx, err := LifelineContext(t.Context())
		if err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		_ = parentEnd.Close()
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, ErrParentGone) {
			t.Errorf("cause %v", cause)
		}
	})
	t.Run("again after its end", func(t *testing.T) {
		_, parentEnd := lifelineOnFD(t)
		before := openDescriptors(t)
		first, cancel := context.WithCancel(t.Context())
		if _, err := LifelineContext(first); err != nil {
			t.Fatal(err)
		}
		cancel()
		eventually(t, "its descriptor is closed", func() bool { return openDescriptors(t) <= before })
		second, err := LifelineContext(t.Context())
		if err != nil || second.Err() != nil {
			t.Fatal(err, second.Err())
		}
		_ = parentEnd.Close()
		<-second.Done()
	})
}

func TestLifelineContextRefuses(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, value := range map[string]string{
		"empty": "", "a word": "yes", "negative": "-1", "stdin": "0",
		"closed": "1000000", "no pipe": itoa(int(file.Fd())),
	} {
		t.Setenv(lifelineEnv, value)
		ctx, err := LifelineContext(t.Context())
		if ctx != nil || !errors.Is(err, syscall.EBADF) || !strings.Contains(err.Error(), lifelineEnv) {
			t.Errorf("%s: %v, %v; want EBADF that names %s", name, ctx, err, lifelineEnv)
		}
	}
}

func lifelineOnFD(t *testing.T) (childEnd, parentEnd *os.File) {
	t.Helper()
	childEnd, parentEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = childEnd.Close(); _ = parentEnd.Close() })
	fd := int(childEnd.Fd())
	if err := unix.SetNonblock(fd, false); err != nil { // as a parent in C would pass it
		t.Fatal(err)
	}
	t.Setenv(lifelineEnv, itoa(fd))
	return childEnd, parentEnd
}

func unsetenv(t *testing.T, key string) {
	t.Helper()
	t.Setenv(key, "") // restores what was there
	if err := os.Unsetenv(key); err != nil {
		t.Fatal(err)
	}
}

func TestAnnounceReady(t *testing.T) {
	var b bytes.Buffer
	if err := AnnounceReady(&b, "127.0.0.1:4711", nil); err != nil || b.String() != `{"addr":"127.0.0.1:4711"}`+"\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	if err := AnnounceReady(brokenWriter{}, "x:1", nil); !errors.Is(err, errBroken) {
		t.Errorf("%v, want %v", err, errBroken)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
