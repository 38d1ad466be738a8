package cli

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver"
)

// What cannot be done with a server of the user's own is refused in one line,
// before anything is started or asked.
func TestRefusalsAroundAnExternal(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	at := "http://" + listener.Addr().String()
	const head = "summary: of a test\nexternal:\n"
	dir := writeDocuments(t, map[string]string{
		"runs.yaml":  "name: runs\n" + head + "  url: " + at + "\n  caps: " + at + "\n",
		"taken.yaml": "name: taken\n" + head + "  command: [\"never-started\"]\n  url: " + at + "\n",
	})
	runs, taken := filepath.Join(dir, "runs.yaml"), filepath.Join(dir, "taken.yaml")
	for _, test := range []struct {
		args string
		want string
	}{
		{"run --variant " + taken, "somebody listens on " + listener.Addr().String() + " already"},
		{"run --variant " + runs + " --chaos kill:edge@1s", "--chaos is for servers of ours"},
		{"run --variant " + runs + " --embedded", "--embedded is for servers of ours"},
		{"run --variant " + runs + " --ledger http://127.0.0.1:1", "--ledger describes a server of your own"},
		{"compare --scenario smoke --rounds 2 --variants edge-redis," + runs, "play --rounds 1"},
		{"compare --scenario smoke --rounds 1 --chaos kill:edge@1s --variants " + taken + "," + runs, "whose inside is not known here"},
		{"serve --data " + dir + " --variant " + runs, "which serve cannot run"},
	} {
		code, stdout, stderr := cli(strings.Fields(test.args)...)
		if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

// A server that runs already keeps the rows of a spoilt try.
func TestTriesOfARound(t *testing.T) {
	const rounds = 4
	c := &comparison{rounds: rounds}
	ours, fresh := &contender{}, &contender{composition: refserver.Composition{External: &refserver.External{Command: []string{"x"}}}}
	kept := &contender{composition: refserver.Composition{External: &refserver.External{URL: "http://127.0.0.1:1"}}}
	seen := map[uint32]bool{}
	for round := range uint32(rounds) {
		for try := range maxRepeats + 1 {
			if a, b := c.playedAs(round, try, ours), c.playedAs(round, try, fresh); a != round || b != round {
				t.Errorf("try %d of round %d of a fresh server is played as %d and %d", try, round, a, b)
			}
			as := c.playedAs(round, try, kept)
			if seen[as] || try == 0 && as != round {
				t.Errorf("try %d of round %d is played as %d", try, round, as)
			}
			seen[as] = true
		}
	}
}
