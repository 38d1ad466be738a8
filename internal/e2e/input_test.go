package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/labtarget"
)

// oneLine wants an exit code and one line on stderr that says what is wrong.
// Progress and notes before it are no part of it.
func oneLine(t *testing.T, o outcome, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	var lines []string
	for line := range strings.Lines(o.stderr) {
		if !strings.Contains(line, " left\n") && !strings.HasPrefix(line, "note: ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "postbench: ") {
		t.Errorf("want one line that starts with \"postbench: \", got:\n%s", o.stderr)
	}
	for _, word := range words {
		if !strings.Contains(o.stderr, word) {
			t.Errorf("stderr does not say %q:\n%s", word, o.stderr)
		}
	}
	if left := runDirs(t, o.tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// refused wants bad input: exit code 2, one line, nothing on stdout and no
// trace of --out.
func refused(t *testing.T, args []string, words ...string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	if args[0] == "run" || args[0] == "compare" {
		args = append(args, "--out", out)
	}
	o := postbench(t, args...)
	oneLine(t, o, 2, words...)
	if o.stdout != "" {
		t.Errorf("on stdout:\n%s", o.stdout)
	}
	if exists(out) {
		t.Error("--out was made")
	}
}

func TestBadUsage(t *testing.T) {
	t.Parallel()
	const nobody = "http://127.0.0.1:1"
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		args  string
		words string
	}{
		{"rnu --rate 5", `unknown verb "rnu"; did you mean run?`},
		{"frobnicate", `unknown verb "frobnicate"; see: postbench --help`},
		{"--nonsense", "unknown flag: --nonsense"},
		{"run --raet 5", "unknown flag: --raet; did you mean --rate?; see: postbench run --help"},
		{"run --target " + nobody + " extra", `run takes flags only, not "extra"`},
		{"run", "needs --target, --url or --variant"},
		{"run --variant monolit", "monolith"},
		{"run --variant monolith --target " + nobody, "leave out --target and --url"},
		{"run --variant monolith --ledger x", "--ledger"},
		{"run --variant " + missing + ".yaml", "no such file"},
		{"run --target " + nobody + " --scenario mixd", `did you mean "mixed"?`},
		{"run --target " + nobody + " --scenario " + missing + ".yaml", "no such file"},
		{"run --target " + nobody + " --profile bar", `did you mean "bare"?`},
		{"run --target " + nobody + " --partner plan", `did you mean "plain"?`},
		{"run --target " + nobody + " --engine vegetta", `did you mean "vegeta"?`},
		{"run --target " + nobody + " --rate 0", "arrivals.rate_per_s"},
		{"run --target " + nobody + " --rate -1", "arrivals.rate_per_s"},
		{"run --target " + nobody + " --rate 1e9", "arrivals.rate_per_s"},
		{"run --target " + nobody + " --rate NaN", "arrivals.rate_per_s"},
		{"run --target " + nobody + " --rate many", `"many"`},
		{"run --target " + nobody + " --rate 0.1 --duration 1s", "no postback at all"},
		{"run --target " + nobody + " --duration 0", "duration"},
		{"run --target " + nobody + " --duration -5s", "duration"},
		{"run --target " + nobody + " --duration 10", "duration"},
		{"run --target " + nobody + " --warmup -1s", "warmup"},
		{"run --target " + nobody + " --warmup 10s", "warmup"},
		{"run --target " + nobody + " --settle -1s", "--settle"},
		{"run --target " + nobody + " --drain-max 0", "--drain-max"},
		{"run --target " + nobody + " --epoch 0", "--epoch"},
		{"run --target " + nobody + " --run-number 16777216", "run number"},
		{"run --target " + nobody + " --columns click_id=x", "--columns"},
		{"run --target " + nobody + " --speed 2x", "--speed"},
		{"run --target " + nobody + " --clicks " + missing, "no such file"},
		{"run --target " + nobody + " --replay " + missing, "no such file"},
		{"run --target " + nobody + " --ca " + missing, "no such file"},
		{"run --target " + nobody + " --method POST", "--url"},
		{"run --target 127.0.0.1:80", "want http://host:port"},
		{"run --target http://me:secret@127.0.0.1", "user name"},
		{"run --url http://127.0.0.1/pb?sum={payout}", "{click_id} is needed"},
		{"run --url http://127.0.0.1/pb?cid={clickid}", "clickid"},
		{"run --url http://127.0.0.1/pb?cid={click_id} --partner signed", "--partner plain"},
		{"run --target " + nobody, "connection refused; is the server running?"},
		{"compare --variants monolith", "at least two"},
		{"compare --variants monolith,monolith", "twice"},
		{"compare --vary caps", "AXIS=x,y"},
		{"compare --vary caps=atomic,nonsense", "nonsense"},
		{"compare --vary colour=red,blue", "colour"},
		{"compare --rounds 0", "--rounds"},
		{"compare --run-number 16777215", "run number"},
		{"serve", "needs --variant"},
		{"serve --variant monolith", "needs --data"},
		{"serve --variant monolith --data " + missing + " --addr nonsense", "nonsense"},
		{"audit", "audit wants DIR"},
		{"audit " + missing, "needs --ledger"},
		{"audit " + missing + " --ledger x.ndjson", "not the --out directory of a run"},
		{"list", "list wants"},
		{"list scenarois", `did you mean "scenarios"?`},
		{"show scenario", "show wants KIND and NAME"},
		{"show scenario smok", `did you mean "smoke"?`},
		{"check", "at least one FILE"},
		{"check " + missing, "no such file"},
		{"schema results", "there is: result"},
		{"clicks --scenario mixed --rate 0", "arrivals.rate_per_s"},
		{"completion tcsh", "tcsh"},
	} {
		t.Run(c.args, func(t *testing.T) { refused(t, strings.Fields(c.args), c.words) })
	}
	if exists(missing) {
		t.Error("a refused serve made its --data")
	}
}

func TestMalformedFiles(t *testing.T) {
	t.Parallel()
	run := []string{"run", "--target", "http://127.0.0.1:1"}
	for name, c := range map[string]struct {
		file, text string
		args       []string
		words      string // with FILE for the file's path
	}{
		"no YAML":          {"s.yaml", "name: [", append(run, "--scenario", "FILE"), "FILE:1:"},
		"unknown field":    {"s.yaml", strings.Replace(capScenario, "rate_per_s", "raet_per_s", 1), append(run, "--scenario", "FILE"), `FILE:2:31: unknown field "raet_per_s"`},
		"impossible share": {"s.yaml", strings.Replace(capScenario, "share: 1, payout", "share: 2, payout", 1), append(run, "--scenario", "FILE"), "FILE:7:"},
		"variant":          {"v.yaml", "name: mine\ncaps: none\n", []string{"run", "--variant", "FILE"}, "FILE:"},
		"partner":          {"p.yaml", "name: p\ntimeout: -1s\n", append(run, "--partner", "FILE"), "FILE:2:"},
		"checked":          {"s.yaml", strings.Replace(capScenario, "rate_per_s", "raet_per_s", 1), []string{"check", "FILE"}, "FILE:2:31: "},
		"access log":       {"a.log", "what is this\n", append(run, "--replay", "FILE"), "FILE:1:"},
		"targets":          {"t.txt", "GET http://x/\n@body\n", append(run, "--replay", "FILE", "--rate", "1"), "FILE:2:"},
		"no rate":          {"t.txt", "GET http://x/\n", append(run, "--replay", "FILE"), "give --rate"},
		"clicks":           {"c.csv", "a,nowhere\n", append(run, "--clicks", "FILE"), `FILE:1: offer "nowhere" is not in the scenario`},
		"too few clicks":   {"c.csv", "a\nb\n", append(run, "--clicks", "FILE"), "holds 2 click ids, the run needs 1000"},
		"certificate":      {"ca.pem", "no", append(run, "--ca", "FILE"), "no PEM certificate in FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, c.file, c.text)
			args := strings.Fields(strings.ReplaceAll(strings.Join(c.args, " "), "FILE", file))
			refused(t, args, strings.ReplaceAll(c.words, "FILE", file))
		})
	}
}

// Ledgers, caps and populations that do not answer as they should are found
// before the first postback.
func TestBadServers(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, "<html>\n<body>hello</body>\n</html>\n")
	}))
	t.Cleanup(html.Close)
	for name, c := range map[string]struct{ flag, value, words string }{
		"ledger refuses":   {"--ledger", "http://127.0.0.1:1/ledger", "connection refused"},
		"ledger is HTML":   {"--ledger", html.URL, html.URL + ":1: not a JSON object"},
		"ledger is no row": {"--ledger", target.URL() + "/clock", `a row needs at least "click_id" and "verdict"`},
		"ledger is 404":    {"--ledger", target.URL() + "/nothing", "answered 400"},
		"no ledger file":   {"--ledger", "missing.ndjson", "no such file"},
		"caps are HTML":    {"--caps", html.URL, "cap status cannot be read"},
		"no population":    {"--populate", html.URL, "answered 404 Not Found: <html> <body>hello</body> </html>"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, []string{"run", "--target", target.URL(), "--scenario", write(t, "capped.yaml", capScenario), c.flag, c.value}, c.words)
		})
	}
	refused(t, []string{"run", "--target", target.URL(), "--engine", "vegeta", "--scenario", "smoke"}, "it plays one partner, not 2")
	if got := target.Truth(); got.Acked > 0 {
		t.Errorf("%d postbacks were sent all the same", got.Acked)
	}
}

// A ledger that breaks once the run is on costs the judgement, not the books.
func TestLedgerBreaksDuringTheRun(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	ledger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if target.Truth().Postbacks > 0 {
			fmt.Fprintln(w, "<html>")
		}
	}))
	t.Cleanup(ledger.Close)
	out := filepath.Join(t.TempDir(), "out")
	o := postbench(t, "run", "--target", target.URL(), "--rate", "100", "--duration", "500ms", "--ledger", ledger.URL, "--settle", "200ms", "--out", out)
	oneLine(t, o, 4, "no fates: ledger cannot be read")
	// The latencies stand, and an export may come later.
	v := readResult(t, out).Variants[0]
	if v.Latency.Response.Count == 0 || v.Ledger.Judged() || !exists(filepath.Join(out, "state.bin")) || !exists(filepath.Join(out, "run.json")) {
		t.Errorf("%+v", v.Ledger)
	}
}

// A ledger that always has more to come ends in an invalid run without fates.
func TestLedgerThatNeverComesToRest(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	ledger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Postbench-Backlog", "5")
	}))
	t.Cleanup(ledger.Close)
	out := filepath.Join(t.TempDir(), "out")
	o := postbench(t, "run", "--target", target.URL(), "--rate", "100", "--duration", "500ms", "--ledger", ledger.URL,
		"--settle", "200ms", "--drain-max", "600ms", "--out", out)
	oneLine(t, o, 4, "cannot be trusted")
	v := readResult(t, out).Variants[0]
	if reasons := strings.Join(v.Validity.Reasons, "; "); !strings.Contains(reasons, "did not come to rest") || v.Ledger.Judged() || !v.Ledger.Balanced {
		t.Errorf("%s; %+v", reasons, v.Ledger)
	}
	// The export that comes later settles it.
	postbench(t, "audit", out, "--ledger", target.URL()+"/ledger")
	v = readResult(t, out).Variants[0]
	if reasons := strings.Join(v.Validity.Reasons, "; "); strings.Contains(reasons, "did not come to rest") || !v.Ledger.Judged() {
		t.Errorf("after audit: %s; judged %v", reasons, v.Ledger.Judged())
	}
}

func TestOutIsNeverWrittenOver(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	p := play(t, "run", "--target", target.URL(), "--rate", "100", "--duration", "200ms")
	args := []string{"run", "--target", target.URL(), "--rate", "100", "--duration", "200ms", "--out"}
	oneLine(t, postbench(t, append(args, p.dir)...), 2, "already holds a run")
	readResult(t, p.dir)

	file := write(t, "file", "")
	oneLine(t, postbench(t, append(args, file)...), 2, "--out")
	// What the user made stays, even when the run fails.
	empty := t.TempDir()
	oneLine(t, postbench(t, "run", "--target", "http://127.0.0.1:1", "--out", empty), 2, "refused")
	if !exists(empty) {
		t.Error("the user's own directory is gone")
	}
}

// full makes a command whose files cannot grow beyond some KiB.
func full(kib int, args ...string) *exec.Cmd {
	const script = `ulimit -f "$1"; shift; exec "$@"` // in blocks of 512 bytes
	return exec.Command("sh", append([]string{"-c", script, "sh", fmt.Sprint(2 * kib), binary}, args...)...)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	run := func(seconds string) []string {
		return []string{"run", "--target", target.URL(), "--rate", "20", "--duration", seconds}
	}
	for name, c := range map[string]struct {
		args []string
		kib  int
		code int
	}{
		"no room for the state":  {run("30s"), 8, 2},
		"no room for the result": {run("1s"), 6, 4},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			o := startCommand(t, full(c.kib, append(c.args, "--out", out)...)).wait()
			oneLine(t, o, c.code, "file too large")
			if reported := strings.Contains(o.stdout, "the books balance"); reported != (c.code == 4) {
				t.Errorf("stdout:\n%s", o.stdout)
			}
			if exists(out) {
				t.Error("something half-written is in --out")
			}
		})
		t.Run(name+", really", func(t *testing.T) {
			out := tinyDisk(t, c.kib)
			oneLine(t, postbench(t, append(c.args, "--out", out)...), c.code, "no space left on device")
			if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// tinyDisk mounts a file system of some KiB; most users may not.
func tinyDisk(t *testing.T, kib int) string {
	t.Helper()
	dir := t.TempDir()
	// At least three pages are used by the directory and by rounding.
	mount := exec.CommandContext(timeoutContext(t), "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk", kib+2), "tmpfs", dir)
	if out, err := mount.CombinedOutput(); err != nil {
		skip(t, "cannot mount a file system here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func TestFullStandardOutput(t *testing.T) {
	t.Parallel()
	if !exists("/dev/full") {
		skip(t, "no /dev/full here")
	}
	for _, args := range []string{"offers --scenario mixed", "list scenarios", "version"} {
		o := startCommand(t, exec.Command("sh", "-c", `exec "$0" `+args+` > /dev/full`, binary)).wait()
		oneLine(t, o, 2, "no space left on device")
	}
}
