package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// externalVariant is our own program as a server of somebody's own.
func externalVariant(t *testing.T, more string) string {
	t.Helper()
	return write(t, "mine.yaml", fmt.Sprintf(`name: mine
summary: of a test
external:
  command: [%q, "serve", "--variant", "monolith", "--embedded", "--addr", "{addr}", "--data", "{data}"]
  url: http://{addr}
  ready: http://{addr}/healthz
%s`, binary, more))
}

const itsBooks = `  ledger: http://{addr}/ledger
  caps: http://{addr}
  populate: http://{addr}/population
`

// A command of the user's own is started for the run and judged like ours.
func TestRunOfAnExternal(t *testing.T) {
	t.Parallel()
	p := play(t, append([]string{"run", "--variant", externalVariant(t, itsBooks)}, short...)...)
	v := &p.result.Variants[0]
	faultless(t, v)
	if v.Name != "mine" || !strings.Contains(v.Composition.External, "serve --variant monolith") || v.Resources.ServerCPUS == nil {
		t.Errorf("variant %s, composition %+v, resources %+v", v.Name, v.Composition, v.Resources)
	}
	if left := runDirs(t, p.tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Every round has a new one, beside ours, and without a ledger there are no fates.
func TestCompareWithAnExternal(t *testing.T) {
	t.Parallel()
	args := append([]string{"compare", "--variants", "monolith," + externalVariant(t, itsBooks), "--rounds", "2", "--embedded"}, short...)
	p := play(t, args...)
	for i := range p.result.Variants {
		v := &p.result.Variants[i]
		faultless(t, v)
		counted := 0
		for _, round := range v.Rounds {
			if round.Counted {
				counted++
			}
		}
		if counted != 2 {
			t.Errorf("%s: %d rounds counted", v.Name, counted)
		}
	}
	if names := p.result.Variants[0].Name + " " + p.result.Variants[1].Name; names != "monolith mine" {
		t.Errorf("variants %s", names)
	}
	blind := play(t, "run", "--variant", externalVariant(t, ""), "--scenario", "plain", "--rate", "100", "--duration", "1s", "--warmup", "0s")
	if ledger := blind.result.Variants[0].Ledger; ledger.Recorded != nil || ledger.Acked == 0 {
		t.Errorf("without a ledger: %+v", ledger)
	}
}

// A command that does not come up says why in one line, and leaves nothing.
func TestExternalThatDoesNotStart(t *testing.T) {
	t.Parallel()
	for command, words := range map[string][]string{
		`["./no-such-program"]`:                                 {"no-such-program"},
		`["sh", "-c", "echo the database is away >&2; exit 3"]`: {"the database is away", "exit status 3"},
	} {
		file := write(t, "mine.yaml", "name: mine\nsummary: of a test\nexternal:\n  command: "+command+"\n  url: http://{addr}\n")
		oneLine(t, postbench(t, append([]string{"run", "--variant", file}, short...)...), 2, append(words, "mine")...)
	}
}

// A server that runs already is asked as it is, round after round.
func TestCompareWithAServerThatRuns(t *testing.T) {
	t.Parallel()
	server, url := serveHere(t, "monolith", "--embedded")
	file := write(t, "runs.yaml", fmt.Sprintf("name: runs\nsummary: of a test\nexternal:\n  url: %s\n  ledger: %s/ledger\n  populate: %s/population\n", url, url, url))
	p := play(t, append([]string{"compare", "--variants", file + ",edge-redis", "--rounds", "2", "--embedded"}, short...)...)
	v := &p.result.Variants[0]
	numbers := map[uint64]bool{}
	for _, round := range v.Rounds {
		numbers[round.RunNumber] = true
	}
	if v.Name != "runs" || v.Composition.External != url || v.Resources.ServerCPUS != nil || len(numbers) != len(v.Rounds) {
		t.Errorf("%s: composition %+v, resources %+v, rounds %+v", v.Name, v.Composition, v.Resources, v.Rounds)
	}
	faultless(t, v)
	stop(t, server)
}

// Whatever a command has started ends with it, or with postbench, even what
// left its session.
func TestExternalLeavesNothing(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what descends from a process that left its session")
	}
	for name, end := range map[string]func(p *process){"in order": func(*process) {}, "killed": func(p *process) { p.signal(syscall.SIGKILL) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pidFile := filepath.Join(t.TempDir(), "pid")
			file := write(t, "mine.yaml", fmt.Sprintf(`name: mine
summary: of a test
external:
  command: ["sh", "-c", "setsid sh -c 'echo $$ >%[1]s; exec sleep 300' & exec %[2]s serve --variant monolith --embedded --addr {addr} --data {data}"]
  url: http://{addr}
  ready: http://{addr}/healthz
`, pidFile, binary))
			p := start(t, "run", "--variant", file, "--scenario", "plain", "--rate", "100", "--duration", "2s", "--warmup", "0s")
			pid := 0
			eventually(t, "the command has started its own", func() bool {
				text, _ := os.ReadFile(pidFile)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				return pid > 0
			})
			t.Cleanup(func() {
				if t.Failed() {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			})
			end(p)
			p.wait()
			eventually(t, "it is gone", func() bool { return isGone(pid) })
		})
	}
}
