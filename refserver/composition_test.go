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
	if got := Variants(); !slices.Equal(got, []string{"edge-redis", "monolith", "redis-confirmed", "udp-batch"}) {
		t.Errorf("variants %v", got)
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
		{"front", "grpc", `variant monolith: front: "grpc" is not built yet; built: plain, zerocopy`},
		{"front", "zerocopy", `variant monolith: front: "zerocopy" in front of SQL would only wait faster`},
		{"answer", "before-buffer", `variant monolith: answer: "before-buffer" needs a buffer`},
		{"buffer", "shm", `variant monolith: buffer: "shm" without an uplink is never emptied`},
		{"uplink", "udp", `variant monolith: buffer: none: the uplink "udp" has nothing to take from`},
		{"attribution", "memory", `variant monolith: attribution: "memory" is central's behind an uplink`},
		{"log", "none", `variant monolith: log_write: "request" with log "none"`},
		{"log_write", "background", `variant monolith: log_write: "background" is the edges' way`},
		{"edges", "2", "variant monolith: edges: 2 edges without an uplink would be 2 servers that know nothing of each other; expected 1"},
		{"edges", "0", "variant monolith: edges: 0, expected 1 to 64"},
		{"edges", "many", `variant monolith: edges: "many" is not a number`},
		{"colour", "red", `variant monolith: no axis "colour"; there are: front, answer, buffer, uplink, attribution, caps, log, log_write, edges`},
	} {
		_, err := base.With(test.axis, test.value)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s=%s:\ngot  %v\nwant %s", test.axis, test.value, err, test.want)
		}
	}
	if _, err := base.With("caps", "escrow"); !errors.Is(err, ErrComposition) {
		t.Errorf("%v is not an ErrComposition", err)
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
		{"not built", edit("front: plain", "front: grpc"), `:3:8: front: "grpc" is not built yet`},
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
		{"udp-batch", "attribution", "sql+clickhouse", `is the one-process server's`},
		{"edge-redis", "caps", "check-then-insert", "central decides inside its commit"},
		{"edge-redis", "edges", "65", "expected 1 to 64"},
		{"edge-redis", "uplink", "grpc", "does not read from Redis"},
		{"udp-batch", "uplink", "udp-acked", "is not built yet"},
	} {
		c, err := LoadVariant(test.variant)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.With(test.axis, test.value); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s with %s=%s: %v, want %s", test.variant, test.axis, test.value, err, test.want)
		}
	}
	for variant, want := range map[string]string{"monolith": "D3", "edge-redis": "D0", "udp-batch": "D0", "redis-confirmed": "D2"} {
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
