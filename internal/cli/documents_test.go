package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/expect"
)

// The examples of docs/documents.md are correct documents.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/documents.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(text), "```yaml\n")[1:]
	kinds := []string{"scenario", "partner", "network", "profile", "variant", "variant"}
	if len(examples) != len(kinds) {
		t.Fatalf("%d examples, want %d", len(examples), len(kinds))
	}
	dir := t.TempDir()
	for i, kind := range kinds {
		example, _, _ := strings.Cut(examples[i], "```")
		name := filepath.Join(dir, fmt.Sprintf("%s-%d.yaml", kind, i))
		if err := os.WriteFile(name, []byte(example), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := checkFile(name); err != nil || got != kind {
			t.Errorf("the example of a %s is a %s: %v", kind, got, err)
		}
	}
	for _, m := range expect.Metrics() {
		if !strings.Contains(string(text), "`"+m.Name+"`") {
			t.Errorf("no word of the metric %s", m.Name)
		}
	}
}
