package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/postbench/postbench/reports"
)

// lab runs the program under test and keeps its output apart.
type lab struct {
	binary    string
	dir       string
	runs      int
	commit    string
	goVersion string
}

func newLab(binary string) (*lab, error) {
	path, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postbench-results-")
	if err != nil {
		return nil, err
	}
	l := &lab{binary: path, dir: dir}
	text, err := exec.Command(path, "version").Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s version: %w", binary, err), os.RemoveAll(dir))
	}
	// "postbench V (commit C, go1.26, linux/amd64)"
	_, rest, _ := strings.Cut(string(text), "(commit ")
	fields := strings.Split(strings.TrimSuffix(strings.TrimSpace(rest), ")"), ", ")
	if len(fields) != 3 {
		return nil, errors.Join(fmt.Errorf("%s version printed %q", binary, text), os.RemoveAll(dir))
	}
	l.commit, l.goVersion = fields[0], fields[1]
	return l, nil
}

func (l *lab) close() { os.RemoveAll(l.dir) }

// played is one finished command.
type played struct {
	command string
	stdout  string
	exit    int
	result  reports.Result
}

// tries is how often a run is played that the machine spoilt (exit code 4).
const tries = 5

// play runs postbench with --out and reads its result. A run that the machine
// spoilt is played again; what is still spoilt then is returned as it is.
func (l *lab) play(ctx context.Context, args ...string) (*played, error) {
	for try := 1; ; try++ {
		p, err := l.once(ctx, args...)
		if err != nil {
			return nil, err
		}
		if p.exit != 4 || try == tries {
			return p, nil
		}
	}
}

// once runs postbench a single time. Exit codes 4, a run that the machine
// spoilt, and 1, an expectation of the scenario that failed, are no errors:
// they are findings.
func (l *lab) once(ctx context.Context, args ...string) (*played, error) {
	l.runs++
	out := filepath.Join(l.dir, fmt.Sprint("run", l.runs))
	defer os.RemoveAll(out)
	command := exec.CommandContext(ctx, l.binary, append(args, "--out", out)...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 4 && exit.ExitCode() != 1) {
		return nil, fmt.Errorf("postbench %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	p := &played{command: "postbench " + strings.Join(args, " "), stdout: stdout.String(), exit: command.ProcessState.ExitCode()}
	if p.result, err = reports.ReadFile(filepath.Join(out, "result.json")); err != nil {
		return nil, fmt.Errorf("postbench %s: exit code %d: %w\n%s", strings.Join(args, " "), p.exit, err, stderr.String())
	}
	return p, nil
}
