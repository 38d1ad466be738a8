package e2e

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/postbench/postbench/internal/labtarget"
)

const variantFile = `name: NAME
summary: of a test
front: plain
answer: after-commit
buffer: none
uplink: none
attribution: sql+clickhouse
caps: atomic
log: none
log_write: none
edges: 1
`

func TestCompare(t *testing.T) {
	t.Parallel()
	short := []string{"--embedded", "--scenario", "smoke", "--duration", "1s", "--rounds", "2"}
	p := play(t, append([]string{"compare", "--vary", "caps=check-then-insert,atomic", "--run-number", "5"}, short...)...)
	racy, atomically := "monolith[caps=check-then-insert]", "monolith[caps=atomic]"
	var names []string
	for _, v := range p.result.Variants {
		names = append(names, v.Name)
		counted := map[uint64]int{}
		for _, r := range v.Rounds {
			if r.Counted {
				counted[r.RunNumber]++
			}
		}
		if counted[5] != 1 || counted[6] != 1 || len(counted) != 2 || v.Durability != "D3" || len(v.Components) == 0 {
			t.Errorf("%s: rounds by run number %v, durability %s, components %v", v.Name, counted, v.Durability, v.Components)
		}
		if got := sheet(t, &v); got["recorded"] == 0 || got["recorded"]+got["rejected"] != v.Ledger.Intents || got["wrong_verdict"] != 0 {
			t.Errorf("%s: %v", v.Name, got)
		}
	}
	if got := strings.Join(names, " "); got != racy+" "+atomically {
		t.Errorf("variants %s", got)
	}
	if c := p.result.Comparison; len(c) == 0 || c[0].A != racy || c[0].B != atomically {
		t.Errorf("comparison %+v", c)
	}
	for line := range strings.Lines(p.stdout) {
		prose := strings.HasSuffix(line, ".\n") || strings.Contains(line, "spoilt")
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 120 && !prose {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, words := range []string{racy, atomically, "p99.9", "validity", "sqlite", "seed 1"} {
		if !strings.Contains(p.stdout, words) {
			t.Errorf("stdout does not say %q:\n%s", words, p.stdout)
		}
	}
	if files, err := os.ReadDir(p.dir); err != nil || len(files) != 1 {
		t.Errorf("in --out: %v, %v; want result.json alone", files, err)
	}
}

func TestCompareFilesAgainstABase(t *testing.T) {
	t.Parallel()
	a, b := write(t, "a.yaml", strings.Replace(variantFile, "NAME", "first", 1)), write(t, "b.yaml", strings.Replace(variantFile, "NAME", "second", 1))
	args := []string{"compare", "--variants", a + "," + b, "--embedded", "--scenario", "smoke", "--duration", "1s", "--rounds", "1"}
	p := play(t, append(args, "--base", b)...)
	if c := p.result.Comparison; len(c) == 0 || c[0].A != "second" || c[0].B != "first" {
		t.Errorf("comparison %+v", c)
	}
	refused(t, append(args, "--base", "third"), "--base")
}

// secure is a TLS front of a target.
func secure(t *testing.T, target *labtarget.Target) (front *httptest.Server, ca string) {
	t.Helper()
	to, err := url.Parse(target.URL())
	if err != nil {
		t.Fatal(err)
	}
	front = httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(to))
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it are part of the test
	front.StartTLS()
	t.Cleanup(front.Close)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	return front, write(t, "ca.pem", string(certificate))
}

// --ca and --insecure hold for the postbacks and for ledger, caps and clock.
func TestSecureTarget(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	front, ca := secure(t, target)
	args := []string{"run", "--target", front.URL, "--rate", "100", "--duration", "500ms", "--ledger", front.URL + "/ledger", "--settle", "300ms"}
	for _, trust := range [][]string{{"--ca", ca}, {"--insecure"}} {
		target.Reset()
		v := play(t, append(args, trust...)...).result.Variants[0]
		if got := sheet(t, &v); got["recorded"] != 50 || v.Latency.Recorded.Count == 0 || v.Phases.TLS.Count == 0 {
			t.Errorf("%v: %v, %d with a recording time, %d handshakes", trust, got, v.Latency.Recorded.Count, v.Phases.TLS.Count)
		}
	}
	refused(t, args, "certificate")
}

// An offer that the router could not look at did not stay open.
func TestRouterThatSeesNothing(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{Caps: map[string]int64{"offer": 100}})
	var asked atomic.Int64
	caps := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write([]byte(`{"closed":false}`))
	}))
	t.Cleanup(caps.Close)
	p := play(t, "run", "--target", target.URL(), "--scenario", write(t, "capped.yaml", capScenario), "--caps", caps.URL,
		"--ledger", target.URL()+"/ledger", "--settle", "300ms")
	c := p.result.Variants[0].Caps
	if c == nil || c.TrafficOvershootMaxPct != nil || c.TrafficOvershootMeanPct != nil || c.BilledOvershoot != 0 {
		t.Errorf("%+v", c)
	}
	if !strings.Contains(p.stderr, "could not read the caps") {
		t.Errorf("stderr:\n%s", p.stderr)
	}
}

func TestRunOfAVariant(t *testing.T) {
	t.Parallel()
	p := play(t, "run", "--variant", "monolith", "--scenario", "mixed", "--duration", "2s", "--warmup", "500ms")
	v := p.result.Variants[0]
	if got := sheet(t, &v); got["recorded"] == 0 || got["rejected"] == 0 || got["lost_after_ack"]+got["phantom"]+got["forged_accepted"]+got["wrong_payload"] != 0 {
		t.Errorf("%v", got)
	}
	if v.Name != "monolith" || len(v.Partners) != 10 || v.Latency.Recorded.Count == 0 || v.Resources.ServerCPUS == nil {
		t.Errorf("%s, %d partners, %d with a recording time, server CPU %v", v.Name, len(v.Partners), v.Latency.Recorded.Count, v.Resources.ServerCPUS)
	}
	for _, file := range []string{"result.json", "run.json", "state.bin"} {
		if !exists(filepath.Join(p.dir, file)) {
			t.Errorf("no %s in --out", file)
		}
	}
}
