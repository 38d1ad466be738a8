package e2e

import (
	"strings"
	"testing"
)

// oneLine wants an exit code and one line on stderr that says what is wrong.
// Lines of progress before it are no part of it.
func oneLine(t *testing.T, o outcome, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	var lines []string
	for line := range strings.Lines(o.stderr) {
		if !strings.Contains(line, " left\n") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "postbench: ") {
		t.Errorf("want one line that starts with \"postbench: \", got:\n%s", o.stderr)
	}
	for _, word := range words {
		if !strings.Contains(o.stderr, word) {
			t.Errorf("stderr does not say %q:\n%s", word, o.stderr)
		}
	}
}
