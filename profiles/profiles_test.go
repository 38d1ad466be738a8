package profiles

import (
	"errors"
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

func TestPartnerPresets(t *testing.T) {
	want := []Partner{
		{Name: "impatient", Template: "signed", Connections: 32, Timeout: seconds(1)[0], Queue: 500,
			Retries: seconds(1), RetryOn: []string{"timeout", "5xx", "error"}, KeepAlive: true},
		{Name: "patient", Template: "signed", Connections: 16, Timeout: seconds(3)[0], Queue: 2000,
			Retries: seconds(1, 5), RetryOn: []string{"5xx", "timeout"}, KeepAlive: true},
		{Name: "plain", Template: "plain", Timeout: seconds(10)[0], Queue: 100_000, KeepAlive: true},
		{Name: "signed", Template: "signed", Timeout: seconds(10)[0], Queue: 100_000, KeepAlive: true},
	}
	for i, name := range PartnerNames() {
		got, err := LoadPartner(name)
		if err != nil {
			t.Fatal(err)
		}
		if got.About == "" || !strings.Contains(got.Source(), "\nname: "+name+"\n") {
			t.Errorf("%s: no about, or not its own source", name)
		}
		got.About, got.source = "", nil
		if !reflect.DeepEqual(got, want[i]) {
			t.Errorf("got  %+v\nwant %+v", got, want[i])
		}
		if got.Signed() != (want[i].Template == "signed") {
			t.Errorf("%s: Signed() = %v", name, got.Signed())
		}
	}
}

func TestRunPresets(t *testing.T) {
	if got, want := Names(), []string{"bare"}; !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	bare, err := Load("bare")
	if err != nil {
		t.Fatal(err)
	}
	if bare.Name != "bare" || bare.About != "adds nothing and measures this machine" {
		t.Errorf("got %q: %q", bare.Name, bare.About)
	}
	if !strings.Contains(bare.Source(), "name: bare") || bare.SHA256() == (Profile{}).SHA256() {
		t.Error("the source is not kept")
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
	want := Partner{Name: "own", Template: "plain", Timeout: seconds(10)[0], Queue: 100_000, KeepAlive: true, source: []byte("name: own\n")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestPartnerErrors(t *testing.T) {
	const fields = "name, about, template, connections, timeout, queue, retries, retry_on, keep_alive"
	tests := []struct{ document, want string }{
		{"conections: 1\n", `1:1: unknown field "conections"; allowed: ` + fields + `; did you mean "connections"?`},
		{"about: x\n", `1:1: name: want a name of 1 to 32 letters, digits, -, _ or ., got ""`},
		{"name: a b\n", `1:7: name: want a name of 1 to 32 letters, digits, -, _ or ., got "a b"`},
		{"name: a\nabout: |\n  x\n  y\n", "2:8: about: want one line of at most 200 bytes"},
		{"name: a\ntemplate: singed\n", `2:11: template: unknown template "singed"; allowed: plain, signed; did you mean "signed"?`},
		{"name: a\nconnections: -1\n", "2:14: connections: want 0 (unbounded) to 8192, got -1"},
		{"name: a\nconnections: 65537\n", "2:14: connections: want 0 (unbounded) to 8192, got 65537"},
		{"name: a\ntimeout: 0s\n", "2:10: timeout: want more than 0s and at most 10m, got 0s"},
		{"name: a\ntimeout: 11m\n", "2:10: timeout: want more than 0s and at most 10m, got 11m"},
		{"name: a\ntimeout: 3\n", `2:10: timeout: "3" has no unit: write 3s or 3ms`},
		{"name: a\nqueue: -1\n", "2:8: queue: want 0 to 1000000, got -1"},
		{"name: a\nretries: [1s]\n", "2:10: retries: nothing is ever retried: add retry_on with some of timeout, 5xx, error, refused"},
		{"name: a\nretry_on: [5xx]\n", "2:11: retry_on: nothing is ever retried: add retries with the delays, such as [1s]"},
		{"name: a\nretries: [25h]\nretry_on: [5xx]\n", "2:11: retries[0]: want at most 24h, got 25h"},
		{"name: a\nretries: [1s" + strings.Repeat(", 1s", 30) + "]\nretry_on: [5xx]\n", "2:10: retries: 31 delays, want at most 30"},
		{"name: a\nretries: [1s]\nretry_on: [time_out]\n",
			`3:12: retry_on[0]: unknown failure "time_out"; allowed: timeout, 5xx, error, refused; did you mean "timeout"?`},
		{"name: a\nretries: [1s]\nretry_on: [5xx, 5xx]\n", `3:17: retry_on[1]: "5xx" is listed twice`},
	}
	for _, test := range tests {
		t.Run(test.document, func(t *testing.T) {
			_, err := parsePartner("p.yaml", []byte(test.document))
			var positioned *strictyaml.Error
			if !errors.As(err, &positioned) || err.Error() != "p.yaml:"+test.want {
				t.Errorf("got  %v\nwant p.yaml:%s", err, test.want)
			}
		})
	}
}

func TestPartnerErrorsAreListedTogether(t *testing.T) {
	_, err := parsePartner("p.yaml", []byte("queue: -1\ntemplate: x\nname: a b\n"))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "p.yaml:1:") || !strings.HasPrefix(lines[2], "p.yaml:3:") {
		t.Errorf("want three lines in document order, got\n%v", err)
	}
}

func TestUnknownNames(t *testing.T) {
	_, partnerErr := LoadPartner("singed")
	_, profileErr := Load("bear")
	for _, test := range []struct {
		err  error
		want string
	}{
		{partnerErr, `unknown partner profile "singed"; allowed: impatient, patient, plain, signed; did you mean "signed"?`},
		{profileErr, `unknown profile "bear"; allowed: bare`},
	} {
		var unknown *strictyaml.UnknownPresetError
		if !errors.As(test.err, &unknown) || !strings.HasPrefix(test.err.Error(), test.want) {
			t.Errorf("got %v, want %s…", test.err, test.want)
		}
	}
}
