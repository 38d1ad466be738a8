package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
)

// childrenOf lists the processes whose parent is pid.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	out, err := exec.CommandContext(timeoutContext(t), "ps", "-A", "-o", "ppid=,pid=").Output()
	if err != nil {
		skip(t, "no ps to look for children with: %v", err)
	}
	var children []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == strconv.Itoa(pid) {
			child, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
		}
	}
	return children
}

// theServer waits for the one child of a run with --variant.
func theServer(t *testing.T, p *process) int {
	t.Helper()
	server := 0
	eventually(t, "postbench has started a server", func() bool {
		for _, pid := range childrenOf(t, p.cmd.Process.Pid) {
			// Go's own first start of a process forks another one, to try out the kernel.
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.Contains(line, []byte("\x00serve\x00")) {
				server = pid
			}
		}
		return server > 0
	})
	return server
}

func isGone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// playing waits until a run, which keeps its state below dir, has released
// an intent.
func playing(t *testing.T, pattern string) {
	t.Helper()
	eventually(t, "an intent is released", func() bool {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			const header = 64
			state, err := os.ReadFile(file)
			if err == nil && len(state) > header && len(bytes.Trim(state[header:], "\x00")) > 0 {
				return true
			}
		}
		return false
	})
}

func runDirs(t *testing.T, tmp string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(tmp, "postbench-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// interrupted sends SIGINT and reads the report that must come nonetheless.
func interrupted(t *testing.T, p *process, dir string) played {
	t.Helper()
	p.signal(syscall.SIGINT)
	got := played{outcome: p.wait(), dir: dir}
	if got.code != 0 && got.code != 3 && got.code != 4 {
		t.Fatalf("exit code %d; stderr:\n%s", got.code, got.stderr)
	}
	got.result = readResult(t, dir)
	if !got.result.Interrupted || !strings.Contains(got.stdout, "interrupted") {
		t.Errorf("not marked as interrupted; stdout:\n%s", got.stdout)
	}
	for _, v := range got.result.Variants {
		if !v.Ledger.Balanced || v.Ledger.Intents == 0 {
			t.Errorf("%s: %d intents, balanced %v", v.Name, v.Ledger.Intents, v.Ledger.Balanced)
		}
	}
	if left := runDirs(t, got.tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return got
}

func TestInterruptOfARun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	p := start(t, "run", "--variant", "monolith", "--embedded", "--scenario", "smoke", "--duration", "40s", "--out", dir)
	server := theServer(t, p)
	playing(t, filepath.Join(dir, "state.bin"))
	got := interrupted(t, p, dir)
	if l := got.result.Variants[0].Ledger; known(t, "recorded", l.Recorded) == 0 || l.Intents > 4000 {
		t.Errorf("%d recorded of %d intents", *l.Recorded, l.Intents)
	}
	if !isGone(server) {
		t.Error("the server is still there")
	}
}

// Against a target of the user's own, and with its ground truth.
func TestInterruptKeepsTheBooks(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{Delay: 50 * time.Millisecond, LoseEvery: 10})
	dir := filepath.Join(t.TempDir(), "out")
	p := start(t, "run", "--target", target.URL(), "--rate", "300", "--duration", "40s", "--ledger", target.URL()+"/ledger", "--settle", "200ms", "--out", dir)
	eventually(t, "100 postbacks", func() bool { return target.Truth().Postbacks >= 100 })
	got := interrupted(t, p, dir)
	truth, l := target.Truth(), got.result.Variants[0].Ledger
	if l.Attempts != truth.Postbacks || l.Acked != truth.Acked || known(t, "lost", l.LostAfterAck) != int64(len(truth.Lost)) {
		t.Errorf("%d attempts, %d acked, %d lost; the target: %d, %d, %d",
			l.Attempts, l.Acked, *l.LostAfterAck, truth.Postbacks, truth.Acked, len(truth.Lost))
	}
}

func TestInterruptOfAComparison(t *testing.T) {
	for name, c := range map[string]struct {
		ready    string // what stderr says when it is time
		variants int
	}{
		"in the first round": {"", 1},
		"in a later round":   {"round 2/50  ", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "out")
			p := start(t, "compare", "--vary", "caps=check-then-insert,atomic", "--scenario", "smoke", "--duration", "1s", "--rounds", "50", "--out", dir)
			if c.ready == "" {
				playing(t, filepath.Join(p.tmp, "postbench-run-*", "round-*", "state.bin"))
			} else {
				eventually(t, c.ready, func() bool { return strings.Contains(p.stderr.String(), c.ready) })
			}
			server := theServer(t, p)
			got := interrupted(t, p, dir)
			if len(got.result.Variants) != c.variants || (got.code == 3) != (c.variants < 2) && got.code != 4 {
				t.Errorf("%d variants and exit code %d, want %d variants", len(got.result.Variants), got.code, c.variants)
			}
			if !isGone(server) {
				t.Error("the server is still there")
			}
		})
	}
}

func TestInterruptBeforeTheStart(t *testing.T) {
	t.Parallel()
	listener := deafListener(t)
	p := start(t, "run", "--target", "http://"+listener, "--populate", "http://"+listener)
	eventually(t, "the run directory", func() bool { return len(runDirs(t, p.tmp)) == 1 })
	p.signal(syscall.SIGINT)
	o := p.wait()
	oneLine(t, o, 2, "interrupted")
}

// deafListener takes connections and never answers.
func deafListener(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// Without real parts, whose guards would tidy up at once, the next run does.
func TestKilledParent(t *testing.T) {
	t.Parallel()
	p := start(t, "run", "--variant", "monolith", "--embedded", "--scenario", "smoke", "--duration", "40s")
	server := theServer(t, p)
	playing(t, filepath.Join(p.tmp, "postbench-run-*", "state.bin"))
	p.signal(syscall.SIGKILL)
	p.wait()
	eventually(t, "the server is gone", func() bool { return isGone(server) })
	if len(runDirs(t, p.tmp)) == 0 {
		t.Fatal("no run directory was left to tidy up")
	}
	// The next run need not even succeed.
	next := exec.Command(binary, "run", "--target", "http://127.0.0.1:1")
	next.Env = append(os.Environ(), "TMPDIR="+p.tmp)
	if out, err := next.CombinedOutput(); err == nil {
		t.Errorf("a target at port 1? %s", out)
	}
	if left := runDirs(t, p.tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// hold keeps a process stopped for a time.
func hold(t *testing.T, p *process, d time.Duration) {
	t.Helper()
	p.signal(syscall.SIGSTOP)
	resume := time.Now().Add(d)
	eventually(t, "the time is over", func() bool { return time.Now().After(resume) })
	p.signal(syscall.SIGCONT)
}

func TestStoppedGenerator(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	dir := filepath.Join(t.TempDir(), "out")
	p := start(t, "run", "--target", target.URL(), "--rate", "100", "--duration", "5s", "--out", dir)
	eventually(t, "100 postbacks", func() bool { return target.Truth().Postbacks >= 100 })
	hold(t, p, 1500*time.Millisecond)
	o := p.wait()
	if o.code != 4 || !strings.Contains(o.stdout, "validity: invalid") {
		t.Errorf("exit code %d; stdout:\n%s", o.code, o.stdout)
	}
	stoodStill := regexp.MustCompile(`the generator stood still for (1\.[4-9]|2\.)\d*s`)
	reasons := strings.Join(readResult(t, dir).Variants[0].Validity.Reasons, "; ")
	if !stoodStill.MatchString(reasons) || !stoodStill.MatchString(o.stdout) {
		t.Errorf("reasons: %s", reasons)
	}
	if truth := target.Truth(); truth.Postbacks != 500 {
		t.Errorf("%d postbacks, want all 500 nonetheless", truth.Postbacks)
	}
}

func TestKilledServer(t *testing.T) {
	t.Parallel()
	p := start(t, "run", "--variant", "monolith", "--embedded", "--scenario", "smoke", "--duration", "3s", "--settle", "200ms")
	server := theServer(t, p)
	playing(t, filepath.Join(p.tmp, "postbench-run-*", "state.bin"))
	if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	oneLine(t, p.wait(), 4, "killed")
}

// The first interrupt waits for what is under way, the second for nothing.
func TestSecondInterruptKills(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{HangEvery: 1})
	p := start(t, "run", "--target", target.URL(), "--rate", "100", "--duration", "40s")
	eventually(t, "10 postbacks", func() bool { return target.Truth().Postbacks >= 10 })
	began := time.Now()
	p.signal(syscall.SIGINT)
	eventually(t, "it says what it waits for", func() bool { return strings.Contains(p.stderr.String(), "a second Ctrl-C") })
	eventually(t, "another interrupt ends it", func() bool {
		_ = p.cmd.Process.Signal(syscall.SIGINT) // it may be gone
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	})
	const timeout = 10 * time.Second // of the partner: the time that was saved
	if took := time.Since(began); took > timeout {
		t.Errorf("it took %v", took)
	}
}

// An interrupt while the ledger settles ends the wait and not the report.
func TestInterruptWhileTheLedgerSettles(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	var asked atomic.Int64
	ledger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if target.Truth().Postbacks == 50 {
			asked.Add(1)
		}
		w.Header().Set("Postbench-Backlog", "1")
		_, _ = io.WriteString(w, fetch(t, target.URL()+"/ledger"))
	}))
	t.Cleanup(ledger.Close)
	dir := filepath.Join(t.TempDir(), "out")
	p := start(t, "run", "--target", target.URL(), "--rate", "100", "--duration", "500ms", "--ledger", ledger.URL, "--out", dir)
	eventually(t, "the ledger is asked again and again", func() bool { return asked.Load() > 2 })
	got := interrupted(t, p, dir)
	v := got.result.Variants[0]
	if reasons := strings.Join(v.Validity.Reasons, "; "); got.code != 4 || !strings.Contains(reasons, "before the ledger had settled") ||
		known(t, "recorded", v.Ledger.Recorded) != 50 {
		t.Errorf("exit code %d: %s; %d recorded", got.code, reasons, *v.Ledger.Recorded)
	}
}
