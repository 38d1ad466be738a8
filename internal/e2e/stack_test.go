package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// stack is a postbench with all that runs on its behalf. Databases, nginx and
// PHP are no children of it that ps would tell, and some of them hide their
// command line: they are known by the directories that are theirs alone.
type stack struct {
	*process
	dirs []string // TMPDIR, --data, --out

	sockets map[string]bool // inodes of those that were seen to listen
	memory  map[string]bool // files in /dev/shm that were seen open
}

// startStack starts the whole 2022 server by a verb, `serve` or `run`.
func startStack(t *testing.T, args ...string) *stack {
	t.Helper()
	p := start(t, append(args, "--variant", "monolith-php", "--require", "all")...)
	s := &stack{process: p, dirs: []string{p.tmp}, sockets: map[string]bool{}, memory: map[string]bool{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v said:\n%s", args, p.stderr.String())
		}
	})
	for i, arg := range args {
		if arg == "--data" || arg == "--out" {
			s.dirs = append(s.dirs, args[i+1])
		}
	}
	return s
}

// processes are the living processes of the stack but postbench itself, by
// name; those of one name alone unless it is "".
func (s *stack) processes(named string) map[string][]int {
	found := map[string][]int{}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		name, _ := os.ReadFile(filepath.Join(dir, "comm")) // "" if it has just ended
		program := strings.TrimSpace(string(name))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && pid != s.cmd.Process.Pid && (named == "" || named == program) && s.owns(dir) {
			found[program] = append(found[program], pid)
		}
	}
	return found
}

// owns tells a process of the stack by its environment, command line and working
// directory. A zombie has none of them.
func (s *stack) owns(proc string) bool {
	environment, _ := os.ReadFile(filepath.Join(proc, "environ"))
	commandLine, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
	cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
	return slices.ContainsFunc(s.dirs, func(dir string) bool {
		return bytes.Contains(environment, []byte(dir)) || bytes.Contains(commandLine, []byte(dir)) || strings.HasPrefix(cwd, dir)
	})
}

// note remembers what a process of the stack listens on and has in memory.
func (s *stack) note(pid int, listening map[string]bool) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, file := range files {
		target, _ := os.Readlink(file)
		if inode, found := strings.CutPrefix(target, "socket:["); found && listening[strings.TrimSuffix(inode, "]")] {
			s.sockets[strings.TrimSuffix(inode, "]")] = true
		}
		if strings.HasPrefix(target, "/dev/shm/") {
			s.memory[strings.TrimSuffix(target, " (deleted)")] = true
		}
	}
}

// listeners are the inodes of this machine's listening TCP sockets. Unlike a
// port, no other process can have the same one a moment later.
func listeners() map[string]bool {
	const state, inode, listen = 3, 9, "0A"
	found := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table) // no IPv6, no table
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > inode && fields[state] == listen {
				found[fields[inode]] = true
			}
		}
	}
	return found
}

// has waits until a program of the stack runs.
func (s *stack) has(t *testing.T, program string) {
	t.Helper()
	eventually(t, program+" runs", func() bool { return len(s.processes(program)) > 0 })
}

// answers waits until a run's server has logged a few postbacks.
func (s *stack) answers(t *testing.T) {
	t.Helper()
	const few = 10
	eventually(t, "the server answers postbacks", func() bool {
		logs, _ := filepath.Glob(filepath.Join(s.tmp, "postbench-run-*", "round-*", "data", "access.log"))
		for _, log := range logs {
			if text, _ := os.ReadFile(log); bytes.Count(text, []byte("\n")) >= few {
				return true
			}
		}
		return false
	})
}

// complete wants every program of the stack at work.
func (s *stack) complete(t *testing.T) {
	t.Helper()
	found, listening := s.processes(""), listeners()
	for _, pids := range found {
		for _, pid := range pids {
			s.note(pid, listening)
		}
	}
	for program, atLeast := range map[string]int{"nginx": 2, "php-fpm8.2": 2, "mariadbd": 1, "clickhouse-serv": 1} {
		if len(found[program]) < atLeast {
			t.Fatalf("%d processes of %s, want at least %d: %v", len(found[program]), program, atLeast, found)
		}
	}
	if len(s.sockets) < 3 { // nginx and two of ClickHouse
		t.Errorf("%d listening sockets", len(s.sockets))
	}
}

// gone wants nothing left of the stack. What postbench was killed over may take
// a moment to end.
func (s *stack) gone(t *testing.T) {
	t.Helper()
	s.wait()
	eventually(t, "all processes are gone", func() bool { return len(s.processes("")) == 0 })
	listening := listeners()
	for inode := range s.sockets {
		if listening[inode] {
			t.Errorf("socket %s still listens", inode)
		}
	}
	for file := range s.memory {
		if exists(file) {
			t.Errorf("left in memory: %s", file)
		}
	}
	_ = filepath.WalkDir(s.tmp, func(path string, _ fs.DirEntry, _ error) error {
		if path != s.tmp {
			t.Errorf("left behind: %s", path)
		}
		return nil
	})
}

// realStack leaves out what only Linux with all real parts can tell.
func realStack(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("looks for processes in /proc")
	}
	realParts(t)
}

// Ctrl-C while the 2022 stack starts, whichever of its programs came last,
// leaves nothing behind.
func TestInterruptWhileTheStackStarts(t *testing.T) {
	t.Parallel()
	realStack(t)
	var stacks []*stack
	programs := []string{"clickhouse-serv", "mariadbd", "php-fpm8.2", "nginx"}
	for i := range programs {
		if i%2 == 0 {
			stacks = append(stacks, startStack(t, "serve", "--addr", "127.0.0.1:0", "--data", t.TempDir()))
		} else {
			stacks = append(stacks, startStack(t, "run", "--scenario", "smoke", "--duration", "40s", "--settle", "200ms"))
		}
	}
	for i, s := range stacks {
		s.has(t, programs[i])
		s.signal(syscall.SIGINT)
	}
	for i, s := range stacks {
		t.Run(programs[i], func(t *testing.T) { s.gone(t) })
	}
}

// However a server with all of the stack at work ends, nothing of it stays.
func TestStackEnds(t *testing.T) {
	t.Parallel()
	realStack(t)
	ends := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL}
	var stacks []*stack
	for range ends {
		stacks = append(stacks, startStack(t, "serve", "--addr", "127.0.0.1:0", "--data", t.TempDir()))
	}
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	for i, s := range stacks {
		eventually(t, "the server listens", func() bool { return address.MatchString(s.stdout.String()) })
		if body := fetch(t, address.FindString(s.stdout.String())+"/healthz"); body == "" {
			t.Error("/healthz says nothing")
		}
		s.complete(t)
		s.signal(ends[i])
	}
	for i, s := range stacks {
		t.Run(ends[i].String(), func(t *testing.T) {
			s.gone(t)
			if code := s.cmd.ProcessState.ExitCode(); code != 0 && ends[i] != syscall.SIGKILL {
				t.Errorf("exit code %d:\n%s", code, s.stderr.String())
			}
		})
	}
}

// Whoever of a run's processes is told to end or killed in the middle takes the
// stack along.
func TestStackEndsWithItsRun(t *testing.T) {
	t.Parallel()
	realStack(t)
	ends := map[string]func(*testing.T, *stack){
		"int":     func(_ *testing.T, s *stack) { s.signal(syscall.SIGINT) },
		"term":    func(_ *testing.T, s *stack) { s.signal(syscall.SIGTERM) },
		"kill":    func(_ *testing.T, s *stack) { s.signal(syscall.SIGKILL) },
		"server":  func(t *testing.T, s *stack) { kill(t, theServer(t, s.process)) },
		"mariadb": func(t *testing.T, s *stack) { kill(t, s.processes("mariadbd")["mariadbd"][0]) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startStack(t, "run", "--scenario", "smoke", "--rate", "50", "--duration", "40s", "--settle", "200ms")
			s.answers(t)
			s.complete(t)
			end(t, s)
			if dead := name == "server" || name == "mariadb"; dead {
				eventually(t, "nothing outlives the "+name, func() bool { return len(s.processes("")) == 0 })
				s.signal(syscall.SIGINT)
				if o := s.wait(); o.code != 4 || !strings.Contains(o.stderr, "killed") {
					t.Errorf("exit code %d of a run whose %s was killed", o.code, name)
				}
			}
			s.gone(t)
		})
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
