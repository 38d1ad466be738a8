package e2e

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// serve starts a reference server and returns its address.
func serve(t *testing.T, data string) (p *process, url string) {
	t.Helper()
	p = start(t, "serve", "--variant", "monolith", "--embedded", "--addr", "127.0.0.1:0", "--data", data)
	pattern := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	eventually(t, "the server listens", func() bool {
		url = pattern.FindString(p.stdout.String())
		return url != ""
	})
	return p, url
}

func stop(t *testing.T, p *process) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	if o := p.wait(); o.code != 0 || o.stderr != "" {
		t.Errorf("exit code %d after SIGTERM; stderr:\n%s", o.code, o.stderr)
	}
}

func rows(t *testing.T, url string) int { return strings.Count(fetch(t, url+"/ledger"), "\n") }

func TestServe(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	server, url := serve(t, data)
	args := func(url, number string) []string {
		return []string{"run", "--target", url, "--scenario", "smoke", "--duration", "1s", "--run-number", number,
			"--populate", url + "/population", "--ledger", url + "/ledger"}
	}
	p := play(t, append(args(url, "0"), "--caps", url)...)
	got := sheet(t, &p.result.Variants[0])
	if got["recorded"] == 0 || got["recorded"]+got["rejected"] != p.result.Variants[0].Ledger.Intents {
		t.Errorf("%v", got)
	}
	oneLine(t, postbench(t, args(url, "0")...), 2, "raise --run-number")
	oneLine(t, postbench(t, append(args(url, "1"), "--caps", url)...), 2, "towards its cap")
	oneLine(t, postbench(t, "serve", "--variant", "monolith", "--addr", strings.TrimPrefix(url, "http://"), "--data", t.TempDir()), 2, "address already in use")
	recorded := rows(t, url)
	stop(t, server)

	server, url = serve(t, data)
	if again := rows(t, url); again != recorded || again == 0 {
		t.Errorf("%d rows after a restart, there were %d", again, recorded)
	}
	play(t, args(url, "1")...)
	stop(t, server)
}

// What clicks, offers and keys print is all that a server must know.
func TestPopulationByHand(t *testing.T) {
	t.Parallel()
	server, url := serve(t, t.TempDir())
	traffic := []string{"--scenario", "smoke", "--duration", "1s", "--seed", "11"}
	for _, kind := range []string{"offers", "keys", "clicks"} {
		text := must(t, append([]string{kind}, traffic...)...).stdout
		response, err := http.Post(url+"/population/"+kind, "text/csv", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", kind, response.Status)
		}
	}
	p := play(t, append([]string{"run", "--target", url, "--ledger", url + "/ledger"}, traffic...)...)
	got := sheet(t, &p.result.Variants[0])
	if got["recorded"] == 0 || got["recorded"]+got["rejected"] != p.result.Variants[0].Ledger.Intents || got["wrong_verdict"]+got["wrong_payload"] != 0 {
		t.Errorf("%v", got)
	}
	stop(t, server)
}

// postJSON posts a document and returns the status.
func postJSON(url, document string) (status int, err error) {
	response, err := http.Post(url, "application/json", strings.NewReader(document))
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}
