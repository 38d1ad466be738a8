package profiles

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/strictyaml"
)

func seconds(n ...int) []strictyaml.Duration {
	var durations []strictyaml.Duration
	for _, s := range n {
		durations = append(durations, strictyaml.Duration(time.Duration(s)*time.Second))
	}
	return durations
}

// partner fills in the defaults of a document.
func partner(p Partner) Partner {
	p.Transport, p.TLS, p.DNSTTL, p.KeepAlive, p.QueueFull = "http1", TLS{Version: "1.3", Resume: true}, seconds(60)[0], true, "drop-new"
	return p
}

// What these four do is promised in older results: it must not change.
func TestOwnPartners(t *testing.T) {
	for _, want := range []Partner{
		{Name: "impatient", Template: "signed", Connections: 32, Timeout: seconds(1)[0], Queue: 500,
			Retries: seconds(1), RetryOn: []string{"timeout", "5xx", "error"}},
		{Name: "patient", Template: "signed", Connections: 16, Timeout: seconds(3)[0], Queue: 2000,
			Retries: seconds(1, 5), RetryOn: []string{"5xx", "timeout"}},
		{Name: "plain", Template: "plain", Timeout: seconds(10)[0], Queue: 100_000},
		{Name: "signed", Template: "signed", Timeout: seconds(10)[0], Queue: 100_000},
	} {
		got, err := LoadPartner(want.Name)
		if err != nil {
			t.Fatal(err)
		}
		got.About, got.source = "", nil
		if want = partner(want); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		signed := want.Template == "signed"
		if got.Signed() != signed || got.Authenticates() != signed || !got.SendsEvents() {
			t.Errorf("%s: signed %v, authenticates %v, events %v", want.Name, got.Signed(), got.Authenticates(), got.SendsEvents())
		}
		if _, ok := got.Dialect("p", nil); ok {
			t.Errorf("%s has a dialect", want.Name)
		}
	}
}

func TestPartnerPresets(t *testing.T) {
	want := []string{"adjust", "appmetrica", "appsflyer", "binom", "branch", "cj", "classic-resuming", "classic", "everflow", "impact", "impatient", "involve-asia",
		"keitaro", "kochava", "make-money", "offerwall", "patient", "plain", "signed", "singular", "tune", "voluum"}
	if got := PartnerNames(); !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	words := ""
	for _, name := range want {
		p, err := LoadPartner(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != name || p.About == "" || !strings.HasPrefix(p.Source(), "# ") {
			t.Errorf("%s is called %q, or says nothing of itself", name, p.Name)
		}
		if p.hasOwnTarget() && !strings.Contains(p.Source(), "Not documented: ") {
			t.Errorf("%s does not say what it assumes", name)
		}
		words += p.Describe() + "\n"
	}
	golden(t, "partners", words)
}

func TestRetryDelays(t *testing.T) {
	for document, want := range map[string][]time.Duration{
		"":                                     nil,
		"retries: [0s, 5m]\nretry_on: [5xx]\n": {0, 5 * time.Minute},
		"retry_every: 4h\nretry_for: 13h\nretry_on: [timeout]\n": {4 * time.Hour, 4 * time.Hour, 4 * time.Hour},
		"retry_every: 4h\nretry_for: 4h\nretry_on: [timeout]\n":  {4 * time.Hour},
	} {
		p, err := parsePartner("p.yaml", []byte("name: a\n"+document))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.RetryDelays(); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", document, got, want)
		}
	}
	p, err := LoadPartner("appmetrica")
	if err != nil {
		t.Fatal(err)
	}
	if got := len(p.RetryDelays()); got != intent.MaxRetries {
		t.Errorf("appmetrica tries %d times again, want %d", got, intent.MaxRetries)
	}
}

func TestRetryRulesAreThoseOfIntent(t *testing.T) {
	var policy intent.RetryPolicy
	for _, rule := range retryRules() {
		if err := policy.Set(intent.RetryRule(rule)); err != nil {
			t.Error(err)
		}
	}
}

func TestUserPartnerDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(path, []byte("name: own\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadPartner(path)
	if err != nil {
		t.Fatal(err)
	}
	want := partner(Partner{Name: "own", Template: "plain", Timeout: seconds(10)[0], Queue: 100_000, source: []byte("name: own\n")})
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestPartnerErrors(t *testing.T) {
	parse := func(data []byte) error {
		_, err := parsePartner("p.yaml", data)
		return err
	}
	golden(t, "partner-mistakes", errorsOf(t, parse,
		"conections: 1\n",
		"about: x\n",
		"name: a b\n",
		"name: a\nabout: |\n  x\n  y\n",
		"name: a\ntemplate: singed\n",
		"name: a\nconnections: -1\n",
		"name: a\nconnections: 65537\n",
		"name: a\ntimeout: 0s\n",
		"name: a\ntimeout: 11m\n",
		"name: a\ntimeout: 3\n",
		"name: a\nqueue: -1\nqueue_full: drop_old\n",
		"name: a\nretries: [1s]\n",
		"name: a\nretry_on: [5xx]\n",
		"name: a\nretries: [25h]\nretry_on: [5xx]\n",
		"name: a\nretries: [1s]\nretry_on: [time_out]\n",
		"name: a\nretries: [1s]\nretry_on: [5xx, 5xx]\n",
		"name: a\nretry_every: 3m\nretry_for: 24h\nretry_on: [5xx]\n",
		"name: a\nretry_every: 3m\nretry_for: 1m\nretry_on: [5xx]\n",
		"name: a\nretry_every: 25h\nretry_for: 48h\n",
		"name: a\nretry_for: 3m\n",
		"name: a\nretries: [1s]\nretry_every: 3m\nretry_for: 3m\nretry_on: [5xx]\n",
		"name: a\nunexpanded_macros: 2\ntransport: http3\ntls: {version: '1.1'}\ndns_ttl: 25h\n",
		"name: a\ntls: {version: 1.3}\n",
		"name: a\ntransport: grpc\ntls: {version: '1.2'}\n",
		"name: a\ndeactivate: {after: 10}\n",
		"name: a\ndeactivate: {within: 1h}\n",
		"name: a\ndeactivate: {after: -1, within: 200h}\n",
		"name: a\nsuccess: {bodies: ['', success=true]}\n",
		"name: a\nanswers: {ok: fine}\nauth: {scheme: md5}\nevents: {sale: s}\n",
		// Several at once, and the consequences of none.
		"name: 5\ntimeot: 3s\nqueue: many\nconnections: -1\n",
		"name: a\nretries: [1 s, 25h]\nretry_no: [5xx]\n",
		"name: a\nretry_evry: 1s\nretry_for: 1h\nretry_on: [5xx, [timeout], 6xx]\ndeactivate: {after: 10, wthin: 1h}\n",
	))
	tooMany := "name: a\nretries: [1s" + strings.Repeat(", 1s", 253) + "]\nretry_on: [5xx]\n"
	if err := parse([]byte(tooMany)); err == nil || err.Error() != "p.yaml:2:10: retries: 254 delays, want at most 253" {
		t.Errorf("got %v", err)
	}
}

func TestPartnerErrorsAreListedTogether(t *testing.T) {
	_, err := parsePartner("p.yaml", []byte("queue: -1\ntemplate: x\nname: a b\n"))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "p.yaml:1:") || !strings.HasPrefix(lines[2], "p.yaml:3:") {
		t.Errorf("want three lines in document order, got\n%v", err)
	}
}
