package strictyaml

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type settings struct {
	Name     string
	RatePerS float64 `yaml:"rate_per_s"`
	Count    int
	Small    uint8
	Fast     bool
	Timeout  Duration
	Settle   time.Duration
	Optional *float64
	Retries  []Duration
	Limits   map[string]int
	Partners []partner
	common   `yaml:",inline"`
	Common   `yaml:",inline"`
	Derived  string `yaml:"-"`
}

type partner struct {
	Name  string
	Share float64
}

type common struct{ Hidden string }

type Common struct {
	About string
}

func TestDecodeFillsEveryKind(t *testing.T) {
	document := `---
# a comment
name: "7"      # another
about: |
  two
  lines
rate_per_s: 12.5
count: -3
small: 255
fast: true
timeout: 1m30s
settle: 250ms
optional: 1e3
retries: [1s, 5s]
limits: {us: 1, "eu": 2}
partners:
  - name: a
    share: 1
  - {name: b, share: 0.5}
`
	optional := 1000.0
	want := settings{
		Name: "7", Common: Common{About: "two\nlines\n"}, RatePerS: 12.5, Count: -3, Small: 255, Fast: true,
		Timeout: Duration(90 * time.Second), Settle: 250 * time.Millisecond, Optional: &optional,
		Retries: []Duration{Duration(time.Second), Duration(5 * time.Second)}, Limits: map[string]int{"us": 1, "eu": 2},
		Partners: []partner{{"a", 1}, {"b", 0.5}}, Derived: "kept",
	}
	for _, text := range []string{document, "\ufeff" + document, strings.ReplaceAll(document, "\n", "\r\n")} {
		got := settings{Derived: "kept"}
		if err := Decode("f.yaml", []byte(text), &got); err != nil {
			t.Fatal(err)
		}
		got.About = strings.ReplaceAll(got.About, "\r\n", "\n")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestDecodeKeepsDefaults(t *testing.T) {
	got := settings{RatePerS: 5, Timeout: Duration(time.Second)}
	if err := Decode("f.yaml", []byte("rate_per_s: 6\n"), &got); err != nil {
		t.Fatal(err)
	}
	if got.RatePerS != 6 || got.Timeout != Duration(time.Second) {
		t.Errorf("got %+v, want the rate replaced and the timeout kept", got)
	}
}

func TestDecodeErrors(t *testing.T) {
	const fields = "name, rate_per_s, count, small, fast, timeout, settle, optional, retries, limits, partners, about"
	tests := []struct{ document, want string }{
		{"", "1:1: empty document"},
		{"# only a comment\n", "1:1: empty document"},
		{"---\n", "1:1: empty document"},
		{"name: a\n---\nname: b\n", "2:1: a second document begins here: want exactly one per file"},
		{"%YAML 1.2\n---\nname: a\n", "1:1: YAML directives are not supported: remove this line"},
		{"name: [1\n", "1:7: sequence end token ']' not found"},
		{"name: a\n\tcount: 1\n", "2:1: found character '\t' that cannot start any token"},
		{"name: a: b\n", "1:7: mapping value is not allowed in this context"},
		{"name: \"a\n", "1:7: could not find end character of double-quoted text"},
		{"name: \xff\n", "1:7: not UTF-8 text"},
		{"name: a\nabout: \x1b[2J\n", "2:8: control character U+001B in the text"},
		{"name: " + strings.Repeat("[", 17), "1:23: more than 16 brackets open at once"},
		{strings.Repeat("#", MaxDocumentBytes+1), "1:1: document longer than 65536 bytes"},

		{"just words\n", "1:1: want a mapping with " + fields + `, got "just words"`},
		{"- a\n", "1:1: want a mapping with " + fields + ", got a list"},
		{"raet_per_s: 1\n", `1:1: unknown field "raet_per_s"; allowed: ` + fields + `; did you mean "rate_per_s"?`},
		{"Name: a\n", `1:1: unknown field "Name"; allowed: ` + fields + `; did you mean "name"?`},
		{"colour:\n", `1:1: unknown field "colour"; allowed: ` + fields},
		{"colour: a\n", `1:1: unknown field "colour"; allowed: ` + fields},
		{"hidden: a\n", `1:1: unknown field "hidden"; allowed: ` + fields},
		{"derived: a\n", `1:1: unknown field "derived"; allowed: ` + fields},
		{"partners:\n  - name: a\n    shaer: 1\n", `3:5: unknown field "shaer"; allowed: name, share; did you mean "share"?`},
		{"name: a\n\"name\": b\n", `2:1: duplicate key "name"; it is set in line 1 already`},
		{"limits: {a: 1, a: 2}\n", `1:16: duplicate key "a"; it is set in line 1 already`},
		{"limits: {[a]: 1}\n", "1:13: found an invalid key for this map"},
		{"? a\n: b\n", "1:1: want a plain word as key"},
		{"limits:\n  ? a\n  : 1\n", "2:3: limits: want a plain word as key"},

		{"name:\ncount: 1\n", "1:1: name: no value: write one or remove the key"},
		{"name: ~\n", "1:1: name: no value: write one or remove the key"},
		{"limits: {a: }\n", "1:10: limits.a: no value: write one or remove the key"},
		{"retries: [1s, ~]\n", "1:15: retries[1]: no value: write one or remove the entry"},
		{"name: 7\n", `1:7: name: want text, got 7; put it in quotes: "7"`},
		{"name: true\n", `1:7: name: want text, got true; put it in quotes: "true"`},
		{"name: [a]\n", "1:7: name: want text, got a list"},
		{"name: {a: b}\n", "1:7: name: want text, got a mapping"},
		{"name: {a}\n", `1:7: name: want text, got a mapping; text in braces needs quotes: "{a}"`},
		{"name:\n  b: p99 < 5ms\n", `2:3: name: want text, got a mapping; text with a colon needs quotes: "b: p99 < 5ms"`},
		{"name:\n  b: \"p99\"\n", "2:3: name: want text, got a mapping; text with a colon needs quotes"},
		{"name:\n  b: 1\n  c: 2\n", "2:3: name: want text, got a mapping"},
		{"count:\n  b: 1\n", "2:3: count: want a whole number, got a mapping"},
		{"rate_per_s: fast\n", `1:13: rate_per_s: want a number, got "fast"`},
		{"rate_per_s: \"5\"\n", `1:13: rate_per_s: want a number, got "5"`},
		{"rate_per_s: .inf\n", "1:13: rate_per_s: want a number, got .inf"},
		{"rate_per_s: .nan\n", "1:13: rate_per_s: want a number, got .nan"},
		{"rate_per_s: NaN\n", `1:13: rate_per_s: want a number, got "NaN"`},
		{"rate_per_s: 0x10\n", "1:13: rate_per_s: want a number, got 0x10"},
		{"rate_per_s: 1e999\n", `1:13: rate_per_s: want a number, got "1e999"`},
		{"rate_per_s: " + strings.Repeat("x", 100), `1:13: rate_per_s: want a number, got "` + strings.Repeat("x", 60) + `…"`},
		{"count: 1.7\n", "1:8: count: want a whole number, got 1.7"},
		{"count: 012\n", "1:8: count: want a whole number, got 012"},
		{"count: 1_000\n", "1:8: count: want a whole number, got 1_000"},
		{"count: 99999999999999999999\n", `1:8: count: want a whole number that fits 64 bits, got "99999999999999999999"`},
		{"small: 256\n", "1:8: small: want a whole number, zero or more that fits 8 bits, got 256"},
		{"small: -1\n", "1:8: small: want a whole number, zero or more, got -1"},
		{"fast: yes\n", `1:7: fast: want true or false, got "yes"`},
		{"timeout: 10\n", `1:10: timeout: "10" has no unit: write 10s or 10ms`},
		{"timeout: -1s\n", `1:10: timeout: want a duration of zero or more, got "-1s"`},
		{"timeout: soon\n", `1:10: timeout: want a duration such as 10s, 250ms or 24h, got "soon"`},
		{"timeout: [1s]\n", "1:10: timeout: want one value, got a list"},
		{"settle: 5\n", `1:9: settle: "5" has no unit: write 5s or 5ms`},
		{"retries: 1s\n", `1:10: retries: want a list, got "1s"`},
		{"retries: [1s, 2]\n", `1:15: retries[1]: "2" has no unit: write 2s or 2ms`},
		{"limits: {a: b}\n", `1:13: limits.a: want a whole number, got "b"`},
		{"partners:\n  - a\n", `2:5: partners[0]: want a mapping with name, share, got "a"`},

		{"count: &x 1\n", "1:8: count: anchors, aliases and tags are not supported: write the value out"},
		{"count: !!int 1\n", "1:8: count: anchors, aliases and tags are not supported: write the value out"},
		{"<<: {count: 1}\n", "1:1: merge keys are not supported: write the values out"},
	}
	for _, test := range tests {
		t.Run(shorten(test.document, 40), func(t *testing.T) {
			err := Decode("f.yaml", []byte(test.document), &settings{})
			var positioned *Error
			if !errors.As(err, &positioned) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if got, want := err.Error(), "f.yaml:"+test.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestDecodeListsEveryMistakeInOrder(t *testing.T) {
	err := Decode("f.yaml", []byte("fats: true\ncount: 1.5\nname:\n"), &settings{})
	want := []string{"f.yaml:1:1: unknown field", "f.yaml:2:8: count", "f.yaml:3:1: name"}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %d lines, want %d:\n%v", len(lines), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d: got %s, want %s…", i, lines[i], want[i])
		}
	}
}

func TestDecodeLimitsTheList(t *testing.T) {
	var document strings.Builder
	for i := range MaxErrors + 5 {
		fmt.Fprintf(&document, "wrong%d: 1\n", i)
	}
	err := Decode("f.yaml", []byte(document.String()), &settings{})
	lines := strings.Split(err.Error(), "\n")
	if got, want := lines[len(lines)-1], "f.yaml: and 5 more"; len(lines) != MaxErrors+1 || got != want {
		t.Errorf("got %d lines ending in %q, want %d ending in %q", len(lines), got, MaxErrors+1, want)
	}
}

type badYAML struct{}

func (*badYAML) UnmarshalYAML([]byte) error { return nil }

func TestDecodePanicsOnCallersBug(t *testing.T) {
	for _, out := range []any{settings{}, (*settings)(nil), new(badYAML), &struct{ A any }{}, &map[int]string{},
		&struct {
			A int `yaml:"a"`
			B int `yaml:"a"`
		}{}} {
		t.Run(fmt.Sprintf("%T", out), func(t *testing.T) {
			defer func() {
				if r := recover(); !strings.HasPrefix(fmt.Sprint(r), "BUG: ") {
					t.Errorf("got %v, want a panic that says BUG", r)
				}
			}()
			_ = Decode("f.yaml", []byte("a: 1\n"), out)
		})
	}
}

func TestPositions(t *testing.T) {
	const document = `name: x
arrivals:
  process: poisson
flow: {a: 1, list: [10, 20]}
partners:
  - name: a
    share: 0.5
  - share: 0.6
`
	tests := []struct {
		path         string
		line, column int
	}{
		{"$", 1, 1},
		{"$.name", 1, 7},
		{"$.arrivals", 3, 3},
		{"$.arrivals.process", 3, 12},
		{"$.arrivals.rate_per_s", 3, 3},
		{"$.flow", 4, 7},
		{"$.flow.list[1]", 4, 25},
		{"$.flow.list[2]", 4, 20},
		{"$.partners", 6, 3},
		{"$.partners[0]", 6, 5},
		{"$.partners[1].share", 8, 12},
		{"$.partners[1].name", 8, 5},
		{"$.partners[-1].name", 6, 3},
		{"$.partners.name", 6, 3},
		{"$.name[0]", 1, 7},
		{"$.missing.deep", 1, 1},
		{"$.", 1, 1},
		{"$[", 1, 1},
		{"", 1, 1},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			want := Error{File: "f.yaml", Line: test.line, Column: test.column, Msg: "m"}
			var got *Error
			p := Problems{list: []problem{{test.path, "m"}}}
			if err := inDocument("f.yaml", []byte(document), &p); !errors.As(err, &got) || *got != want {
				t.Errorf("got %v, want %v", err, &want)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	tests := []struct{ word, want string }{
		{"possion", `constant, poisson; did you mean "poisson"?`},
		{"CONSTANT", `constant, poisson; did you mean "constant"?`},
		{"uniform", "constant, poisson"},
		{"", "constant, poisson"},
	}
	for _, test := range tests {
		want := fmt.Sprintf("unknown process %q; allowed: %s", test.word, test.want)
		if got := Unknown("process", test.word, []string{"constant", "poisson"}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"same", "same", 0}, {"rate", "raet", 1}, {"kitten", "sitting", 3},
		{"ab", "ba", 1}, {"plain", "pain", 1}, {"long word", "x", maxSuggestDistance + 1},
	}
	for _, test := range tests {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
		if got := editDistance(test.b, test.a); got != test.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", test.b, test.a, got, test.want)
		}
	}
}

func TestDurationText(t *testing.T) {
	for _, text := range []string{"0s", "250ms", "10s", "10m", "1m30s", "24h", "1h0m1s"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.MarshalText(); err != nil || string(got) != text {
			t.Errorf("got %q, %v, want %q", got, err, text)
		}
	}
}
