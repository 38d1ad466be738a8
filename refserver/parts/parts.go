// Package parts starts the real programs that a reference server consists of:
// MariaDB, ClickHouse, Redis and, for whoever configures them, nginx, php-fpm and
// the like. Nobody has to configure or install anything but the program itself:
// all files lie in directories that the caller names, all addresses are unix
// sockets or free ports of the loopback interface, and no program outlives this
// process (see proc.RunGuard).
//
// Programs run as whoever runs this one, root included: a change of user would
// end the kernel's parent-death signal, and could not enter a private directory.
package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/postbench/postbench/internal/proc"
)

const (
	// maxSocketBytes is what a unix socket's path may have everywhere.
	maxSocketBytes = 103
	// readyTimeout leaves a database time to recover from a kill.
	readyTimeout = 60 * time.Second
	// stopTimeout leaves a database time to write down what it holds.
	stopTimeout = 20 * time.Second
)

// ErrMissing says that a program is neither in PATH nor where Debian keeps
// servers.
var ErrMissing = errors.New("is not installed")

// serverDirs are searched after PATH: Debian keeps servers there, and leaves
// them out of the PATH of ordinary users.
var serverDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// Runtime is where and how programs run.
type Runtime struct {
	// Dir is a private directory that exists and that the caller removes in the
	// end: sockets, temporary files and generated configuration. Its path must be
	// short enough for sockets. One program of a kind per Dir.
	Dir string
	// Log receives what the programs write to stderr; nil means nowhere.
	Log io.Writer
	// Guard and GuardSweep are proc.Spec's.
	Guard, GuardSweep []string
}

// socket is the path of a socket in Dir.
func (rt *Runtime) socket(name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(rt.Dir, name))
	if err == nil && len(path) > maxSocketBytes {
		err = fmt.Errorf("the path %s is too long for a socket: set TMPDIR to a directory with a shorter name", path)
	}
	return path, err
}

// Spec is a program that its caller has configured.
type Spec struct {
	Name     string   // what messages call it, for example "nginx"
	Programs []string // names to look up; the first that is installed runs
	Package  string   // the Debian package that has it, for the message of ErrMissing
	Args     []string
	Env      []string // "KEY=value", added to this process's environment
	Dir      string   // working directory; "" means Runtime.Dir
	// StopSignal asks the program, and not its children, to end in order; nil
	// means SIGTERM.
	StopSignal os.Signal
	// LogOnly are words of which a line on stderr must hold one to get into
	// Runtime.Log; nil passes all. An error of Start holds the last lines in any
	// case.
	LogOnly []string
	// Probe returns nil when the program serves; see proc.Spec.
	Probe                     func(context.Context) error
	ReadyTimeout, StopTimeout time.Duration // 0 means this package's
}

// Process is a running program. Its methods may be called at any time, also
// after the program's end.
type Process struct{ child *proc.Child }

// Start runs a program and returns when its Probe succeeds. ctx limits only the
// waiting. The error wraps ErrMissing when no program of the names is installed.
func Start(ctx context.Context, rt Runtime, spec Spec) (*Process, error) {
	run, err := rt.spec(&spec)
	if err != nil {
		return nil, err
	}
	child, err := proc.Start(ctx, run)
	if err != nil {
		return nil, err
	}
	return &Process{child}, nil
}

// run runs a program that ends by itself.
func run(ctx context.Context, rt Runtime, spec Spec) error {
	run, err := rt.spec(&spec)
	if err != nil {
		return err
	}
	return proc.Run(ctx, run)
}

func (rt *Runtime) spec(s *Spec) (proc.Spec, error) {
	path, err := Look(s.Package, s.Programs...)
	if err != nil {
		return proc.Spec{}, fmt.Errorf("start %s: %w", s.Name, err)
	}
	dir := s.Dir
	if dir == "" {
		dir = rt.Dir
	}
	stop := s.StopSignal
	if stop == nil {
		stop = syscall.SIGTERM
	}
	log := rt.Log
	if log != nil && s.LogOnly != nil {
		log = &lineFilter{to: log, words: s.LogOnly}
	}
	return proc.Spec{
		Name: s.Name, Path: path, Args: s.Args, Env: s.Env, Dir: dir, Log: log, Probe: s.Probe,
		ReadyTimeout: orDefault(s.ReadyTimeout, readyTimeout), StopTimeout: orDefault(s.StopTimeout, stopTimeout),
		StopSignal: stop, Guard: rt.Guard, GuardSweep: rt.GuardSweep,
	}, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Look is the path of the first of the programs that is installed. Otherwise the
// error wraps ErrMissing and names the Debian package that has it.
func Look(debianPackage string, programs ...string) (path string, err error) {
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path, nil
		}
		for _, dir := range serverDirs {
			if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
				return path, nil
			}
		}
	}
	if len(programs) == 0 {
		panic("BUG: no program to look for")
	}
	return "", fmt.Errorf("%s %w: %s, or make deps-debian for every real part", programs[0], ErrMissing, installWith(debianPackage))
}

func installWith(debianPackage string) string {
	if debianPackage == "" {
		return "install it"
	}
	return "apt-get install " + debianPackage
}

// Stop asks the program to end in order and returns when it and all it started
// are gone. It kills when that takes too long or ctx ends, which is an error.
func (p *Process) Stop(ctx context.Context) error { return p.child.Stop(ctx) }

// Kill kills the program and all it started, and does not wait.
func (p *Process) Kill() error { return p.child.Kill() }

// Done is closed when the program and all it started have ended.
func (p *Process) Done() <-chan struct{} { return p.child.Done() }

// Err is how the program ended: nil while it runs and after a Stop or a Kill.
func (p *Process) Err() error { return p.child.Err() }

// CPUTime is the CPU time, user and system, of the program and of what it
// started, its guard included.
func (p *Process) CPUTime() time.Duration { return p.child.CPUTime() }

// Pid is the program's process id.
func (p *Process) Pid() int { return p.child.ProgramPid() }

// Signal sends a signal to the program and to what it started in its group.
func (p *Process) Signal(s os.Signal) error { return p.child.Signal(s) }
