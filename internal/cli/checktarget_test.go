package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/labtarget"
)

func TestHelpOfCheckTarget(t *testing.T) {
	text := mustCLI(t, "check", "target", "--help")
	golden(t, "help_check_target.txt", text)
	if again := mustCLI(t, "help", "check", "target"); again != text {
		t.Errorf("help check target differs:\n%s", again)
	}
}

// A server that loses an answer or two has exit code 1, and one line each.
func TestCheckTargetFails(t *testing.T) {
	target, err := labtarget.Start(labtarget.Options{RefuseEvery: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	code, stdout, stderr := cli("check", "target", target.URL())
	if code != exitFailed || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, " cases failed") ||
		!strings.Contains(stdout, "\nFAILED ") || !strings.Contains(stdout, "not asked  plain: a sale is billable: needs --populate and --ledger\n") {
		t.Errorf("exit code %d, stderr %s, stdout\n%s", code, stderr, stdout)
	}
}

func TestCheckTargetRefuses(t *testing.T) {
	dir := writeDocuments(t, map[string]string{
		"empty.csv": "kid,secret_hex\n", "header.csv": "a,b\nk,00\n", "hex.csv": "kid,secret_hex\nk,topsecret\n", "kid.csv": "kid,secret_hex\n,00\n", "none.csv": "",
	})
	for args, want := range map[string]string{
		"":                                        "target wants URL, got 0 arguments",
		"127.0.0.1:8080":                          "want http://host:port",
		"http://me/pb?x=1":                        "want http://host:port",
		"http://me --settle 0s":                   "--settle 0s",
		"http://me --ca missing.pem":              "--ca",
		"http://me --partners missing.json":       "--partners",
		"http://me --keys missing.csv":            "--keys",
		"http://me --keys " + dir + "/none.csv":   "--keys",
		"http://me --keys " + dir + "/empty.csv":  "no key in it",
		"http://me --keys " + dir + "/header.csv": `the header is not "kid,secret_hex"`,
		"http://me --keys " + dir + "/hex.csv":    "secret_hex is not hexadecimal",
		"http://me --keys " + dir + "/kid.csv":    "key id (kid) is empty",
	} {
		code, stdout, stderr := cli(append([]string{"check", "target"}, strings.Fields(args)...)...)
		if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, want) || strings.Contains(stderr, "topsecret") {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q, want %q", args, code, stdout, stderr, want)
		}
	}
}

// A file may have the name of the subcommand.
func TestCheckOfAFileCalledTarget(t *testing.T) {
	text := readText(t, "testdata/partner.yaml")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("target", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := mustCLI(t, "check", "."+string(filepath.Separator)+"target"); got != "./target: a correct partner\n" {
		t.Errorf("%q", got)
	}
}
