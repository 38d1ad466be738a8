package arch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

var rules = map[string]rule{
	"import directions":        perFile(importDirections),
	"purity":                   perFile(purity),
	"exits and flags":          perFile(exitsAndFlags),
	"package names":            perFile(packageNames),
	"init":                     perFile(noInit),
	"package-level variables":  perFile(globals),
	"writes to such variables": globalWrites,
	"sizes":                    perFile(sizes),
	"comments on exported":     perFile(docs),
	"package comment":          packageComment,
	"sleeps in tests":          perFile(sleeps),
	"markers":                  perFile(markers),
}

func TestTree(t *testing.T) {
	tree := loadTree(t, moduleRoot(t))
	for _, dir := range []string{".", "internal/arch", "internal/proc"} {
		if len(tree[dir]) == 0 {
			t.Fatalf("no Go files found in %s: the walk is broken", dir)
		}
	}
	for name, check := range rules {
		t.Run(name, func(t *testing.T) {
			for _, dir := range slices.Sorted(maps.Keys(tree)) {
				for _, f := range check(tree[dir]) {
					t.Error(f)
				}
			}
		})
	}
}

// files maps the paths of one directory to their sources.
type files map[string]string

// example shows what a rule finds: "path:line", in order.
type example struct {
	rule  string
	what  string
	files files
	found []string
}

func TestRules(t *testing.T) {
	for _, e := range examples() {
		t.Run(e.rule+"/"+e.what, func(t *testing.T) {
			var dir []*source
			for _, name := range slices.Sorted(maps.Keys(e.files)) {
				s, err := parseSource(name, []byte(e.files[name]))
				if err != nil {
					t.Fatal(err)
				}
				dir = append(dir, s)
			}
			var got []string
			for _, f := range rules[e.rule](dir) {
				got = append(got, fmt.Sprintf("%s:%d", f.path, f.line))
				if f.wrong == "" || f.instead == "" || !strings.HasPrefix(f.String(), got[len(got)-1]+": ") {
					t.Errorf("the message does not tell where, what and what instead: %s", f)
				}
			}
			if !slices.Equal(got, e.found) {
				t.Errorf("found %q, want %q", got, e.found)
			}
		})
	}
}

// A rule without an example that it refuses and one that it accepts is not tested.
func TestEveryRuleHasExamples(t *testing.T) {
	refuses, accepts := make(map[string]bool), make(map[string]bool)
	for _, e := range examples() {
		if rules[e.rule] == nil {
			t.Errorf("example for %q, which is no rule", e.rule)
		}
		refuses[e.rule] = refuses[e.rule] || len(e.found) > 0
		accepts[e.rule] = accepts[e.rule] || len(e.found) == 0
	}
	for name := range rules {
		if !refuses[name] || !accepts[name] {
			t.Errorf("%s: refused example %v, accepted example %v; add what is missing", name, refuses[name], accepts[name])
		}
	}
}

func examples() []example {
	return slices.Concat(importExamples(), pureExamples(), globalExamples(), shapeExamples(), commentExamples())
}
