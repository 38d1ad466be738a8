package e2e

import (
	"fmt"
	"strings"
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
