package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/scenarios"
)

// running is a server that is there already, with everything that the contract names.
func running(url string) *refserver.Composition {
	return &refserver.Composition{Name: "mine", External: &refserver.External{URL: url + "/", Ledger: url + "/ledger", Caps: url, Populate: url + "/population"}}
}

func TestExternalThatRuns(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	s, err := startExternal(t.Context(), running(server.URL), "unused")
	if err != nil {
		t.Fatal(err)
	}
	to := s.target()
	if to.origin != server.URL || to.ledger != server.URL+"/ledger" || to.caps != server.URL || to.populate != server.URL+"/population" ||
		to.clock != server.URL+"/clock" || to.cpu != nil {
		t.Errorf("target %+v", to)
	}
	if s.died() != nil || s.stop(t.Context()) != nil {
		t.Error("it is none of ours to stop")
	}
	// Somebody who listens there would be taken for a command of ours.
	if err := s.vacant(t.Context(), "mine"); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("vacant: %v", err)
	}
	server.Close()
	if err := s.vacant(t.Context(), "mine"); err != nil {
		t.Errorf("vacant: %v", err)
	}
}

func TestExternalIsReady(t *testing.T) {
	ready := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	client := newHTTPClient(nil)
	asked := external{at: refserver.External{URL: server.URL, Ready: server.URL + "/healthz"}}
	if err := asked.probe(t.Context(), client); err == nil || asked.readySign() != "status 200 of "+server.URL+"/healthz" {
		t.Errorf("503: %v, wants %s", err, asked.readySign())
	}
	ready = true
	if err := asked.probe(t.Context(), client); err != nil {
		t.Error(err)
	}
	open := external{at: refserver.External{URL: server.URL}}
	if err := open.probe(t.Context(), client); err != nil || open.readySign() != "an open port at "+strings.TrimPrefix(server.URL, "http://") {
		t.Errorf("%v, wants %s", err, open.readySign())
	}
	client.CloseIdleConnections()
	server.Close()
	if open.probe(t.Context(), client) == nil || asked.probe(t.Context(), client) == nil {
		t.Error("ready although it is gone")
	}
}

// Caps are judged of empty offers, which only the first round finds at a server
// that runs already.
func TestRoundsAtAnExternal(t *testing.T) {
	capped, open := &plan{}, &plan{}
	for name, p := range map[string]*plan{"cap-rush": capped, "plain": open} {
		s, err := scenarios.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		p.spec = s.IntentSpec()
	}
	started, capless := running("http://me"), running("http://me")
	started.External.Command, capless.External.Caps = []string{"me"}, ""
	for name, c := range map[string]struct {
		plan        *plan
		composition *refserver.Composition
		rounds      int
		refused     bool
	}{
		"caps, again": {capped, running("http://me"), 2, true}, "caps, once": {capped, running("http://me"), 1, false},
		"no caps, again": {open, running("http://me"), 2, false}, "started anew": {capped, started, 2, false},
		"not judged": {capped, capless, 2, false}, "one of ours": {capped, &refserver.Composition{}, 2, false},
	} {
		if err := c.plan.playsExternal(c.composition, c.rounds); (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Flags about our own servers mean nothing to another.
func TestFlagsOfAnExternal(t *testing.T) {
	dir := writeDocuments(t, map[string]string{"mine.yaml": "name: mine\nsummary: of a test\nexternal:\n  url: http://127.0.0.1:1\n"})
	for flag, value := range map[string]string{"chaos": "kill:edge@1s", "redis": "127.0.0.1:6379", "embedded": "true", "udp-loss": "1%", "require": "all", "buffer-for": "1s"} {
		code, _, stderr := cli("run", "--variant", dir+"/mine.yaml", "--"+flag+"="+value)
		if code != exitUsage || !strings.HasPrefix(stderr, "postbench: ") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, flag) {
			t.Errorf("--%s: exit code %d, %s", flag, code, stderr)
		}
	}
	code, _, stderr := cli("serve", "--variant", dir+"/mine.yaml", "--data", t.TempDir())
	if code != exitUsage || !strings.Contains(stderr, "which serve cannot run") {
		t.Errorf("serve: exit code %d, %s", code, stderr)
	}
}
