package arch

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var topLevelEntries = []string{
	"main.go", "loadgen", "refserver", "scenarios", "reports", "profiles", "internal", "docs",
	"go.mod", "go.sum", "Makefile", "README.md", "CHANGELOG.md", "RESULTS.md", "LICENSE",
	".ci", ".gitignore", ".git", ".github",
}

// topLevel checks the names in the root directory.
func topLevel(entries []string) (found []finding) {
	for _, name := range entries {
		if !slices.Contains(topLevelEntries, name) {
			found = append(found, finding{name, 1, "not one of the entries of the root directory",
				"put code into a package and pages into docs/"})
		}
	}
	return found
}

// rootEntries lists the root directory without what git ignores. Without git (a
// source archive) it applies the plain patterns of .gitignore itself.
func rootEntries(t *testing.T, root string) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return listedEntries(t, root)
	}
	var entries []string
	for file := range strings.SplitSeq(string(out), "\x00") {
		name, _, _ := strings.Cut(file, "/")
		// A file that is tracked but deleted is on its way out.
		if _, err := os.Lstat(filepath.Join(root, name)); name != "" && err == nil {
			entries = append(entries, name)
		}
	}
	slices.Sort(entries)
	return slices.Compact(entries)
}

func listedEntries(t *testing.T, root string) []string {
	t.Helper()
	list, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var entries []string
	for _, e := range list {
		if !isIgnored(e.Name(), string(ignore)) {
			entries = append(entries, e.Name())
		}
	}
	return entries
}

func isIgnored(name, gitignore string) bool {
	for pattern := range strings.FieldsSeq(gitignore) {
		if ok, err := path.Match(strings.Trim(pattern, "/"), name); ok && err == nil {
			return true
		}
	}
	return false
}

func TestRootDirectory(t *testing.T) {
	root := moduleRoot(t)
	entries := rootEntries(t, root)
	if !slices.Contains(entries, "go.mod") {
		t.Fatalf("the listing %q lacks go.mod: it is not of the root directory", entries)
	}
	for _, f := range topLevel(entries) {
		t.Error(f)
	}
}

func TestTopLevelRule(t *testing.T) {
	if found := topLevel(topLevelEntries); len(found) > 0 {
		t.Errorf("refuses what is allowed: %v", found)
	}
	for _, name := range []string{"run.go", "util", "NOTES.md", "pkg", "cmd", "docs.md"} {
		if len(topLevel([]string{name})) != 1 {
			t.Errorf("allows %s", name)
		}
	}
}

func TestListedEntries(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		".gitignore": "/postbench\n/out/\n*.test\n", "postbench": "", "out": "", "a.test": "", "main.go": "", "other": "",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{".gitignore", "main.go", "other"}
	if got := listedEntries(t, root); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
