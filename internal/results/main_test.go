package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Measuring one experiment again must leave the other sections as they are.
func TestOneSectionIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "RESULTS.md")
	l := &lab{commit: "abc", goVersion: "go1"}
	one, two := &experiment{title: "One", claim: "1"}, &experiment{title: "Two", claim: "2"}
	old := header() + section(l, one, &finding{body: "old", holds: true}) + section(l, two, &finding{body: "kept", short: "slow"})
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	parts, err := readSections(path)
	if err != nil || strings.Join(parts, "") != old {
		t.Fatalf("%v, read:\n%s", err, strings.Join(parts, ""))
	}
	got := strings.Join(put(parts, section(l, one, &finding{body: "new", holds: true})), "")
	if want := strings.Replace(old, "old", "new", 1); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if grown := put(parts, section(l, &experiment{title: "Three"}, &finding{})); len(grown) != len(parts)+1 {
		t.Errorf("%d parts after a new section, there were %d", len(grown), len(parts))
	}
}
