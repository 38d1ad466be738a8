package e2e

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver"
)

// serveHere starts a variant on its real parts, or leaves the test out where
// they are not installed.
func serveHere(t *testing.T, variant string, args ...string) (p *process, url string) {
	t.Helper()
	p = start(t, append([]string{"serve", "--variant", variant, "--addr", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data")}, args...)...)
	pattern := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	ended := false
	eventually(t, variant+" listens", func() bool {
		select {
		case <-p.done:
			ended = true
		default:
		}
		url = pattern.FindString(p.stdout.String())
		return url != "" || ended
	})
	if url == "" {
		if o := p.wait(); strings.Contains(o.stderr, "is not installed") {
			skip(t, "%s", o.stderr)
		}
		t.Fatalf("%s ended: %s", variant, p.stderr.String())
	}
	return p, url
}

// Every variant keeps the contract to the letter, whatever it is made of: the
// same postback has the same answer, verdict and row in all of them.
func TestEveryVariantKeepsTheContract(t *testing.T) {
	t.Parallel()
	partners := write(t, "partners.json", must(t, "partners", "--scenario", "mixed").stdout)
	for _, variant := range refserver.Ladder() {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			server, url := serveHere(t, variant, "--partners", partners, "--require", "all")
			checked := must(t, "check", "target", url, "--strict", "--partners", partners)
			if !strings.Contains(checked.stdout, " 0 failed, 0 not asked") {
				t.Errorf("%s", checked.stdout)
			}
			stop(t, server)
		})
	}
}

func TestServerThatTakesSignedPostbacksOnly(t *testing.T) {
	t.Parallel()
	server, url := serveHere(t, "monolith", "--embedded", "--signed-only")
	signed := must(t, "check", "target", url, "--strict", "--signed-only").stdout
	if !strings.Contains(signed, "ok         signed: a sale past the cap is over_cap\n") || !strings.Contains(signed, "ok         plain: an unsigned postback is refused\n") {
		t.Error(signed)
	}
	o := postbench(t, "check", "target", url, "--strict")
	if want := "FAILED     plain: a postback is answered 2xx: sent GET /pb?"; o.code != 1 || !strings.Contains(o.stdout, want) {
		t.Errorf("exit code %d without --signed-only:\n%s", o.code, o.stdout)
	}
	stop(t, server)
}

// What nobody could look at is not called right.
func TestCheckTargetWithoutItsBooks(t *testing.T) {
	t.Parallel()
	server, url := serveHere(t, "monolith", "--embedded")
	o := must(t, "check", "target", url)
	for _, line := range []string{"ok         plain: a postback is answered 2xx\n", "not asked  plain: a sale is billable: needs --populate and --ledger\n",
		"not asked  signed: a postback is answered 2xx: needs --populate or --keys\n", "not asked  clock: GET /clock tells the time: needs --clock\n"} {
		if !strings.Contains(o.stdout, line) {
			t.Errorf("no line %q in\n%s", line, o.stdout)
		}
	}
	stop(t, server)
	oneLine(t, postbench(t, "check", "target", url), 2, "cannot be checked", "is the server running?")
}
