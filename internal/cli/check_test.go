package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeDocuments puts documents into a folder of their own.
func writeDocuments(t *testing.T, documents map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range documents {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A misspelt key is not held against the others, whichever it is.
func TestKindOf(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"name: a\n", "profile"},
		{"name: a\nabout: b\ntls: true\n", "profile"},
		{"name: a\npths: {}\nuplink: metro\n", "profile"},
		{"name: a\ntemplate: plain\n", "partner"},
		{"name: a\ntmplate: plain\nretres: []\nconnections: 5\n", "partner"},
		{"name: a\ntmplate: plain\n", "partner"},
		{"name: a\nname: b\ntimeout: 1s\n", "partner"},
		{"name: a\narivals: {}\nofers: []\nduration: 1s\n", "scenario"},
		{"name: a\nfrnt: plain\ncap: atomic\nbuffer: none\n", "variant"},
		{"name: a\nrrt: 5ms\njitter: {}\n", "network"},
		{"name: a\nrrt: 5ms\n", "network"},
		{"name: [\n", "scenario"},
		{"", "scenario"},
	} {
		dir := writeDocuments(t, map[string]string{"f.yaml": test.text})
		if got, err := kindOf(filepath.Join(dir, "f.yaml")); err != nil || got != test.want {
			t.Errorf("%q: %s, %v, want %s", test.text, got, err, test.want)
		}
	}
	for _, shelf := range shelves() {
		for _, name := range shelf.names() {
			if name == externalName || missingVariant(name) != "" {
				continue // listed, and no document
			}
			if kind := kindOfPreset(t, shelf.kind, name); kind+"s" != shelf.kind {
				t.Errorf("%s of the %s is taken for a %s", name, shelf.kind, kind)
			}
		}
	}
}

// kindOfPreset asks for the kind of an embedded document, which lies in the
// repository too.
func kindOfPreset(t *testing.T, shelf, name string) string {
	t.Helper()
	dirs := map[string]string{"variants": "refserver/variants", "scenarios": "scenarios", "profiles": "profiles",
		"partners": "profiles/partners", "networks": "profiles/networks"}
	kind, err := kindOf(filepath.Join("..", "..", dirs[shelf], name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return kind
}

// What is wrong in a file that a scenario names is said once, however the two
// are named.
func TestCheckSaysEverythingOnce(t *testing.T) {
	scenario := readText(t, "testdata/scenario.yaml")
	dir := writeDocuments(t, map[string]string{
		"partner.yaml": "name: a b\ntimout: 1s\n",
		"one.yaml":     scenario, // names ./partner.yaml
		"two.yaml":     strings.Replace(scenario, "./partner.yaml", "partner.yaml", 1),
	})
	t.Chdir(dir)
	code, stdout, stderr := cli("check", "one.yaml", filepath.Join(dir, "two.yaml"), "partner.yaml", "./partner.yaml")
	if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 2 || !strings.Contains(stderr, ":1:7: name") || !strings.Contains(stderr, ":2:1: unknown field") {
		t.Errorf("exit code %d, stdout %q, stderr\n%s", code, stdout, stderr)
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCheckOfADirectory(t *testing.T) {
	dir := t.TempDir()
	code, _, stderr := cli("check", dir)
	if want := "postbench: " + dir + ": a directory; its files are " + filepath.Join(dir, "*.yaml") + "\n"; code != exitUsage || stderr != want {
		t.Errorf("exit code %d, stderr %q, want %q", code, stderr, want)
	}
}
