package refserver

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/strictyaml"
)

func TestPresets(t *testing.T) {
	if got := slices.Sorted(slices.Values(Ladder())); !slices.Equal(got, slices.Sorted(slices.Values(Variants()))) {
		t.Errorf("the ladder has %v, the presets are %v", got, Variants())
	}
	for _, name := range Variants() {
		c, err := LoadVariant(name)
		if err != nil || c.Name != name || c.Summary == "" || len(c.Steps()) == 0 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	got, err := LoadVariant("monolith")
	want := Composition{Name: "monolith", Summary: got.Summary, Front: "plain", Answer: "after-commit", Buffer: "none", Uplink: "none",
		Attribution: "sql+clickhouse", Caps: "check-then-insert", Log: "json", LogWrite: "request", Edges: 1}
	if err != nil || got != want || got.Durability() != "D3" {
		t.Errorf("monolith: %+v, durability %s, %v", got, got.Durability(), err)
	}
}

func TestWith(t *testing.T) {
	base, err := LoadVariant("monolith")
	if err != nil {
		t.Fatal(err)
	}
	got, err := base.With("caps", "atomic")
	if err != nil || got.Caps != CapsAtomic || base.Caps != CapsCheckThenInsert {
		t.Errorf("%+v from %+v, %v", got, base, err)
	}
	if slices.Equal(got.Steps(), base.Steps()) {
		t.Error("the steps do not show the difference")
	}
	for _, test := range []struct{ axis, value, want string }{
		{"caps", "lucky", `variant monolith: caps: unknown choice "lucky"; allowed: check-then-insert, atomic, escrow`},
		{"caps", "escrow", `variant monolith: caps: "escrow" is not built yet; built: check-then-insert, atomic`},
		{"front", "uring", `variant monolith: front: "uring" is not built yet; built: plain, zerocopy, grpc, worker, php`},
		{"front", "grpc", `variant monolith: front: "grpc" is an edge's; without an uplink expected plain or php`},
		{"front", "php", ""},
		{"place", "partner", `variant monolith: place: "partner" is for an edge`},
		{"place", "moon", `variant monolith: place: unknown choice "moon"; allowed: region, partner`},
		{"attribution", "redis-cache", ""},
		{"log_write", "mapped", `variant monolith: log_write: "mapped" with log "json"; capnp is written mapped, and nothing else is`},
		{"log_write", "none", `variant monolith: log_write: "none" with log "json"`},
		{"front", "zerocopy", `variant monolith: front: "zerocopy" in front of SQL would only wait faster`},
		{"answer", "before-buffer", `variant monolith: answer: "before-buffer" needs a buffer`},
		{"buffer", "shm", `variant monolith: buffer: "shm" without an uplink is never emptied`},
		{"uplink", "udp", `variant monolith: buffer: none: the uplink "udp" has nothing to take from`},
		{"attribution", "memory", `variant monolith: attribution: "memory" is central's behind an uplink`},
		{"log_write", "background", `variant monolith: log_write: "background" is the edges' way`},
		{"edges", "2", "variant monolith: edges: 2 edges without an uplink would be 2 servers that know nothing of each other; expected 1"},
		{"edges", "0", "variant monolith: edges: 0, expected 1 to 64"},
		{"edges", "many", `variant monolith: edges: "many" is not a number`},
		{"colour", "red", `variant monolith: no axis "colour"; there are: front, answer, buffer, uplink, attribution, caps, log, log_write, place, edges`},
	} {
		_, err := base.With(test.axis, test.value)
		if test.want == "" && err == nil {
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s=%s:\ngot  %v\nwant %s", test.axis, test.value, err, test.want)
		}
	}
	if _, err := base.With("caps", "escrow"); !errors.Is(err, ErrComposition) {
		t.Errorf("%v is not an ErrComposition", err)
	}
}

// The log's own axis is enough to change it.
func TestVaryLog(t *testing.T) {
	for _, test := range []struct{ variant, log, write string }{
		{"hot-path", LogJSON, LogInBackground}, {"hot-path", LogCapnp, LogMapped}, {"hot-path", None, None},
		{"binary-log", LogJSON, LogInBackground}, {"monolith", LogJSON, LogOnRequest}, {"monolith", LogCapnp, LogMapped}, {"monolith", None, None},
	} {
		base, err := LoadVariant(test.variant)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := base.With("log", test.log); err != nil || c.LogWrite != test.write {
			t.Errorf("%s with log=%s: %q, %v", test.variant, test.log, c.LogWrite, err)
		}
	}
}

func TestLoadVariantErrors(t *testing.T) {
	preset, err := os.ReadFile("variants/monolith.yaml")
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string { return strings.Replace(string(preset), old, new, 1) }
	for _, test := range []struct{ name, yaml, want string }{
		{"own file", edit("name: monolith", "name: mine"), ""},
		{"misspelt axis", edit("caps:", "cap:"), ":8:1: "},
		{"unknown choice", edit("check-then-insert", "lucky"), `:8:7: caps: unknown choice "lucky"`},
		{"not built", edit("front: plain", "front: uring"), `:3:8: front: "uring" is not built yet`},
		{"impossible", edit("edges: 1", "edges: 50"), ":11:8: edges: 50 edges without an uplink"},
		{"missing axis", edit("log: json\n", ""), ":1:1: log: missing, expected one of: none, json, capnp"},
		{"name with a comma", edit("name: monolith", "name: a,b"), `:1:7: name: "a,b"`},
		{"wrong type", edit("edges: 1", "edges: one"), ":11:8: "},
	} {
		file := filepath.Join(t.TempDir(), "mine.yaml")
		if err := os.WriteFile(file, []byte(test.yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadVariant(file)
		if test.want == "" {
			if err != nil || c.Name != "mine" {
				t.Errorf("%s: %+v, %v", test.name, c, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), file+test.want) {
			t.Errorf("%s:\ngot  %v\nwant %s%s", test.name, err, file, test.want)
		}
		var positioned *strictyaml.Error
		if !errors.As(err, &positioned) {
			t.Errorf("%s: %T has no position", test.name, err)
		}
	}
	for _, name := range []string{"monolit", "no/such.yaml", "no-such.yaml"} {
		if _, err := LoadVariant(name); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every axis has its line; whether the choices go together is no question yet.
func TestVariantMistakesAreListedTogether(t *testing.T) {
	_, err := parseComposition("v.yaml", []byte("name: v\nfront: zerocpy\nanswer: 5\nbuffer: none\nuplnk: none\nattribution: memory\n"+
		"caps: atomc\nlog: json\nlog_write: none\nedges: 0\n"))
	want := []string{`v.yaml:2:8: front: unknown choice "zerocpy"; allowed: plain, zerocopy, `, "v.yaml:3:9: answer: want text", `v.yaml:5:1: unknown field "uplnk"`,
		`v.yaml:7:7: caps: unknown choice "atomc"; allowed: check-then-insert, atomic, escrow; did you mean "atomic"?`, "v.yaml:10:8: edges: 0, expected 1 to 64"}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%v", len(lines), len(want), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("got %s\nwant %s…", line, want[i])
		}
	}
	c := Composition{Name: "v", Front: "x", Answer: "y"}
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), `answer: unknown choice "y"`) {
		t.Errorf("%v", err)
	}
}

func TestConfigValidate(t *testing.T) {
	c, err := LoadVariant("monolith")
	if err != nil {
		t.Fatal(err)
	}
	good := Config{Composition: c, Addr: "127.0.0.1:0", DataDir: "x"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"composition": func(c *Config) { c.Composition.Caps = "lucky" },
		"address":     func(c *Config) { c.Addr = "8080" },
		"directory":   func(c *Config) { c.DataDir = "" },
		"limit":       func(c *Config) { c.MaxInFlight = -1 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an edge's composition cannot be, and what its answer promises.
func TestEdgeCompositions(t *testing.T) {
	for _, test := range []struct{ variant, axis, value, want string }{
		{"udp-batch", "answer", "after-commit", `an edge does not hear of central's commit`},
		{"udp-batch", "buffer", "redis-ttl", `"udp" does not read from Redis`},
		{"udp-batch", "uplink", "replicate", `"replicate" reads from Redis, not from shared memory`},
		{"udp-batch", "attribution", "sql+clickhouse", `is for a server without edges`},
		{"edge-redis", "caps", "check-then-insert", "central decides inside its commit"},
		{"edge-redis", "edges", "65", "expected 1 to 64"},
		{"edge-redis", "uplink", "grpc", "does not read from Redis"},
		{"udp-batch", "front", "php", "answers after its own commit"},
		{"udp-batch", "front", "grpc", `what stands before the queue of the front "grpc" waits for it`},
		{"edge-worker", "answer", "before-buffer", `what stands before the queue of the front "worker" waits for it`},
		{"redis-cache", "caps", "atomic", "a counter that comes from a cache is read before the transaction"},
		{"monolith-php", "caps", "atomic", "the Laravel application checks before it inserts"},
		{"monolith-php", "attribution", "redis-cache", "the Laravel application asks ClickHouse"},
		{"monolith-php", "log", "none", "the Laravel application writes lines of JSON"},
	} {
		c, err := LoadVariant(test.variant)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.With(test.axis, test.value); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s with %s=%s: %v, want %s", test.variant, test.axis, test.value, err, test.want)
		}
	}
	for variant, want := range map[string]string{
		"monolith-php": "D3", "monolith": "D3", "redis-cache": "D3", "edge-redis": "D0", "edge-worker": "D0", "grpc-stream": "D1", "udp-batch": "D0",
		"hot-path": "D0", "binary-log": "D0", "udp-acked": "D1", "partner-proxy": "D1", "redis-confirmed": "D2",
	} {
		c, err := LoadVariant(variant)
		if err != nil || c.Durability() != want {
			t.Errorf("%s: durability %s, %v; want %s", variant, c.Durability(), err, want)
		}
	}
	front, err := LoadVariant("udp-batch")
	if err != nil {
		t.Fatal(err)
	}
	for axis, value := range map[string]string{"front": "zerocopy", "answer": "after-buffer", "edges": "50", "log": "json"} {
		if front, err = front.With(axis, value); err != nil {
			t.Errorf("%s=%s: %v", axis, value, err)
		}
	}
}

// A server of the user's own has no axes, and links that can be asked.
func TestExternalVariants(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"command", "command: [\"./mine\", \"{addr}\"]\n  url: http://{addr}\n  ledger: http://{addr}/ledger", ""},
		{"running", "url: https://127.0.0.1:8443", ""},
		{"no url", "ready: http://127.0.0.1:1", `external.url: "", expected http://host:port`},
		{"no command", "url: http://{addr}", "{addr} is chosen for a command, and there is none"},
		{"no link", "url: http://127.0.0.1:1\n  caps: nonsense", `external.caps: "nonsense", expected http://host:port`},
		{"a path", "url: http://127.0.0.1:1/pb", "external.url: \"http://127.0.0.1:1/pb\", expected no path"},
		{"an axis", "url: http://127.0.0.1:1\nfront: plain", `front: "plain", but the server is external`},
		{"edges", "url: http://127.0.0.1:1\nedges: 1", "edges: 1, but the server is external"},
	} {
		c, err := parseComposition("v.yaml", []byte("name: mine\nsummary: ours\nexternal:\n  "+test.text+"\n"))
		if test.want == "" && (err != nil || c.External == nil || c.Durability() != "" || len(c.Steps()) == 0) {
			t.Errorf("%s: %+v, %v", test.name, c, err)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
	e := External{Command: []string{"run", "--at={addr}"}, URL: "http://{addr}", Ledger: "http://{addr}/l"}.In("127.0.0.1:7", "/tmp/d")
	if e.Command[1] != "--at=127.0.0.1:7" || e.Ledger != "http://127.0.0.1:7/l" || e.Address() != "127.0.0.1:7" {
		t.Errorf("%+v", e)
	}
}

func TestUnavailable(t *testing.T) {
	if _, err := LoadVariant("external"); err == nil || !strings.Contains(err.Error(), "name the YAML file") {
		t.Errorf("external: %v", err)
	}
	for _, missing := range Unavailable() {
		if _, err := LoadVariant(missing.Name); err == nil || !strings.Contains(err.Error(), missing.Reason) {
			t.Errorf("%s: %v", missing.Name, err)
		}
	}
}

func TestReal(t *testing.T) {
	for name, test := range map[string]struct {
		real Real
		want string
	}{
		"nothing":                 {Real{}, ""},
		"all":                     {Real{Require: Parts()}, ""},
		"unknown":                 {Real{Require: []string{"mysqll"}}, `did you mean "mysql"?`},
		"both ways":               {Real{Embedded: true, Redis: "127.0.0.1:1"}, "leave one of them out"},
		"a stand-in that is none": {Real{Embedded: true, Require: []string{PartWorkerd, PartRedis}}, "redis is required"},
		"stand-ins, and workerd":  {Real{Embedded: true, Require: []string{PartWorkerd}}, ""},
		"no port":                 {Real{ClickHouse: "localhost"}, "expected host:port"},
		"two services":            {Real{ClickHouse: "localhost:9000,localhost:8123"}, ""},
	} {
		if err := test.real.Check(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	required := Real{Require: []string{PartMySQL}}
	if err := required.missing(PartMySQL, errors.New("not here")); !errors.Is(err, ErrRequired) {
		t.Errorf("%v", err)
	}
	if err := required.missing(PartRedis, errors.New("not here")); err != nil {
		t.Errorf("%v", err)
	}
}
