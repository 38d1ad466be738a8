package cli

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/reports"
	"github.com/postbench/postbench/scenarios"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden holds text against testdata/name.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs (-update writes it anew); got:\n%s", path, text)
	}
}

// cli runs a command line in this process.
func cli(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(args, &out, &errs)
	return code, out.String(), errs.String()
}

func mustCLI(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := cli(args...)
	if code != exitFine || stderr != "" {
		t.Fatalf("%v: exit code %d, stderr:\n%s", args, code, stderr)
	}
	return stdout
}

func verbs() []string {
	names := []string{}
	for _, command := range newRoot(io.Discard, io.Discard).Commands() {
		if !command.Hidden {
			names = append(names, command.Name())
		}
	}
	return names
}

func TestHelp(t *testing.T) {
	golden(t, "help.txt", mustCLI(t))
	if mustCLI(t, "--help") != mustCLI(t) || mustCLI(t, "help") != mustCLI(t) {
		t.Error("--help, help and no verb at all are not the same")
	}
	for _, verb := range verbs() {
		t.Run(verb, func(t *testing.T) {
			text := mustCLI(t, verb, "--help")
			golden(t, "help_"+verb+".txt", text)
			if !strings.Contains(text, "\nExamples:\n") {
				t.Error("no examples")
			}
			if again := mustCLI(t, "help", verb); again != text {
				t.Errorf("help %s differs:\n%s", verb, again)
			}
		})
	}
}

// Every example must at least name a verb and flags that exist.
func TestExamplesParse(t *testing.T) {
	call := regexp.MustCompile(`postbench [a-z]+[^|>)\n]*`)
	root := newRoot(io.Discard, io.Discard)
	for _, command := range append(root.Commands(), root) {
		if command.Hidden {
			continue // nobody types it
		}
		for _, line := range call.FindAllString(strings.ReplaceAll(command.Example, "\\\n", ""), -1) {
			words := strings.Fields(strings.ReplaceAll(line, "'", ""))[1:]
			verb, rest, err := newRoot(io.Discard, io.Discard).Find(words)
			if err != nil || !verb.HasParent() {
				t.Errorf("%s: no verb in %q", command.Name(), line)
				continue
			}
			if err := verb.ParseFlags(rest); err != nil {
				t.Errorf("%s: %q: %v", command.Name(), line, err)
			}
		}
	}
}

func TestPrinted(t *testing.T) {
	for name, args := range map[string]string{
		"list_variants": "list variants", "list_scenarios": "list scenarios", "list_profiles": "list profiles", "list_partners": "list partners",
		"show_variant": "show variant monolith", "show_scenario": "show scenario smoke", "show_profile": "show profile bare",
		"show_partner": "show partner impatient", "check": "check testdata/scenario.yaml testdata/partner.yaml testdata/variant.yaml",
		"offers": "offers --scenario smoke", "keys": "keys --scenario smoke", "clicks": "clicks --rate 5 --duration 1s --epoch 1700000000",
	} {
		t.Run(name, func(t *testing.T) { golden(t, name+".txt", mustCLI(t, strings.Fields(args)...)) })
	}
}

// check shows everything that is wrong, a line each.
func TestCheckShowsAll(t *testing.T) {
	code, stdout, stderr := cli("check", "testdata/wrong.yaml", "testdata/scenario.yaml", "testdata/missing.yaml")
	if code != exitUsage || stdout != "testdata/scenario.yaml: a correct scenario\n" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	golden(t, "check_wrong.txt", stderr)
}

func TestSchema(t *testing.T) {
	want, err := reports.Schema("result")
	if err != nil {
		t.Fatal(err)
	}
	if got := mustCLI(t, "schema", "result"); got != string(want) {
		t.Errorf("got %d bytes, the schema has %d", len(got), len(want))
	}
}

func TestVersion(t *testing.T) {
	shape := regexp.MustCompile(`^postbench \S+ \(commit \S+, go1\.\d+(\.\d+)?\S*, \w+/\w+\)\n$`)
	if got := mustCLI(t, "version"); !shape.MatchString(got) {
		t.Errorf("%q", got)
	}
}

func TestShortCommit(t *testing.T) {
	for commit, want := range map[string]string{
		"0123456789abcdef0123": "0123456789ab", "0123456789abcdef0123+modified": "0123456789ab+modified", "unknown": "unknown",
	} {
		if got := shortCommit(commit); got != want {
			t.Errorf("%s: %s", commit, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if text := mustCLI(t, "completion", shell); !strings.Contains(text, "postbench") || len(text) < 1000 {
			t.Errorf("%s: %d bytes", shell, len(text))
		}
	}
	for args, want := range map[string]string{
		"__complete run --scenario ":  strings.Join(scenarios.Names(), "\n") + "\n",
		"__complete run --engine ":    "native\nvegeta\n",
		"__complete serve --variant ": strings.Join(refserver.Variants(), "\n") + "\n",
		"__complete list ":            "variants\nscenarios\nprofiles\npartners\nnetworks\n",
		"__complete show network ":    strings.Join(profiles.NetworkNames(), "\n") + "\n",
		"__complete show scenario x ": "",
	} {
		_, stdout, _ := cli(strings.Split(args, " ")...)
		if names, _, _ := strings.Cut(stdout, ":"); names != want {
			t.Errorf("%q completes to %q, want %q", args, names, want)
		}
	}
}

// The hidden verbs of the completion scripts and of processes are no business of
// users.
func TestVerbsAreListed(t *testing.T) {
	for _, command := range newRoot(io.Discard, io.Discard).Commands() {
		if command.Hidden != (command.Name() == guardVerb) || command.Short == "" || command.Args == nil && command.Name() != "help" {
			t.Errorf("%s: hidden %v, about %q", command.Name(), command.Hidden, command.Short)
		}
	}
}
