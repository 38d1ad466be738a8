package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/reports"
)

const (
	// patience bounds every wait; on a machine that is busy with other things
	// even the quickest takes a while.
	patience  = 60 * time.Second
	pollEvery = 5 * time.Millisecond
)

var (
	binary string
	schema *jsonschema.Schema
)

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "postbench-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "postbench")
	build := exec.Command("go", "build", "-o", binary, "github.com/postbench/postbench")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build postbench: %v\n%s", err, out)
		return 1
	}
	if schema, err = publishedSchema(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// publishedSchema compiles what `postbench schema result` prints.
func publishedSchema() (*jsonschema.Schema, error) {
	text, err := exec.Command(binary, "schema", "result").Output()
	if err != nil {
		return nil, fmt.Errorf("postbench schema result: %w", err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("result.json", document); err != nil {
		return nil, err
	}
	return compiler.Compile("result.json")
}

// process is a postbench that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	tmp    string // its TMPDIR, where its run directory is
	stdout lockedBuffer
	stderr lockedBuffer
	done   chan struct{}
}

// lockedBuffer may be read while the process writes.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs postbench in the background.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(binary, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, tmp: shortDir(t), done: make(chan struct{})}
	cmd.Env = append(cmd.Environ(), "TMPDIR="+p.tmp)
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // the exit code says it all
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
	})
	return p
}

// shortDir is a temporary directory without the test's name in it: databases
// keep sockets there, and a socket's path must be short.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what a failed test has just killed may still write
	return dir
}

// outcome is what a postbench that has ended left behind.
type outcome struct {
	code           int
	stdout, stderr string
	tmp            string
}

// wait waits for the end.
func (p *process) wait() outcome {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%v did not end within %v; stderr:\n%s", p.cmd.Args[1:], patience, p.stderr.String())
	}
	return outcome{code: p.cmd.ProcessState.ExitCode(), stdout: p.stdout.String(), stderr: p.stderr.String(), tmp: p.tmp}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %v: %v", s, err)
	}
}

// postbench runs to the end.
func postbench(t *testing.T, args ...string) outcome {
	t.Helper()
	return start(t, args...).wait()
}

// must wants exit code 0.
func must(t *testing.T, args ...string) outcome {
	t.Helper()
	o := postbench(t, args...)
	if o.code != 0 {
		t.Fatalf("postbench %v: exit code %d\n%s%s", args, o.code, o.stdout, o.stderr)
	}
	return o
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(pollEvery) // polling other processes: there is nothing to wait on
	}
}

// lab starts a target.
func lab(t *testing.T, o labtarget.Options) *labtarget.Target {
	t.Helper()
	target, err := labtarget.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

// played is one run with its result document.
type played struct {
	outcome
	dir    string
	result reports.Result
}

// play runs `run` or `compare` and reads its result. The run may be invalid
// because this machine was busy, for no other reason.
func play(t *testing.T, args ...string) played {
	t.Helper()
	return begin(t, args...).played(t)
}

// pending is a `run` or `compare` whose result nobody has read yet.
type pending struct {
	*process
	dir string
}

// begin lets others run meanwhile.
func begin(t *testing.T, args ...string) pending {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	return pending{process: start(t, append(args, "--out", dir)...), dir: dir}
}

// played waits for the result.
func (p pending) played(t *testing.T) played {
	t.Helper()
	return trusted(t, p.cmd.Args[1:], played{outcome: p.wait(), dir: p.dir})
}

func trusted(t *testing.T, args []string, p played) played {
	t.Helper()
	if p.code != 0 && p.code != 4 {
		t.Fatalf("postbench %v: exit code %d\n%s%s", args, p.code, p.stdout, p.stderr)
	}
	p.result = readResult(t, p.dir)
	for _, v := range p.result.Variants {
		for _, reason := range v.Validity.Reasons {
			if !busyMachine(reason) {
				t.Errorf("invalid: %s", reason)
			}
		}
		if !v.Ledger.Balanced {
			t.Errorf("%s: the books do not balance", v.Name)
		}
	}
	return p
}

// busyMachine tells the reasons that say nothing about postbench.
func busyMachine(reason string) bool {
	for _, words := range []string{"the generator was late", "made ready in time", "stood still", "(steal)"} {
		if strings.Contains(reason, words) {
			return true
		}
	}
	return false
}

// readResult reads a result document and holds it against the schema.
func readResult(t *testing.T, dir string) reports.Result {
	t.Helper()
	path := filepath.Join(dir, "result.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	result, err := reports.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// write makes a file in a directory of its own.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// known is the value of a figure that must be known.
func known[T any](t *testing.T, name string, value *T) T {
	t.Helper()
	if value == nil {
		t.Fatalf("%s is null", name)
	}
	return *value
}

// exists reports whether there is something at a path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// timeoutContext is for commands other than postbench.
func timeoutContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// writeBeside makes a file in the directory of another one.
func writeBeside(t *testing.T, other, name, text string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(other), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// skip leaves a test out on a machine that lacks something. CI must have it
// all: there, what is not checked is not green.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("cannot be checked, and CI leaves nothing out: "+format, args...)
	}
	t.Skipf(format, args...)
}
