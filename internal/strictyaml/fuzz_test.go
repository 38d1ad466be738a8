package strictyaml

import (
	"errors"
	"strings"
	"testing"
)

// FuzzDecode shows that no document ends in a panic, and that every mistake is
// one printable line at a position inside the document.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "name: a\n", "count: 1.5\npartners:\n  - {name: a, share: 1}\n", "a: [1,\n", "*-0", ">\n>", "&{0",
		"0\n:", "0\n-", "? a\n: b\n", "<<: {a: 1}\n", "%YAML 1.2\n---\na: 1", "{\"000\":0000A,", "a: |\n  b\n c",
		"a: 'b\n\n  c'\n", "--- a\n--- b\n", "\ufeff-\r\n- -", "retries: [1s, !!str 2s]\nlimits: {é: 1}\n",
	} {
		f.Add([]byte(seed), "$.partners[0].name")
	}
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		lines := strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), "\n") + 1
		check := func(err error) {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is not an *Error", err)
			}
			if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Msg == "" || strings.Contains(e.Msg, "\n") {
				t.Fatalf("%q in a document of %d lines", e, lines)
			}
		}
		if err := Decode("f.yaml", data, &settings{}); err != nil {
			check(err)
		}
		if err := DecodeChecked("f.yaml", data, &settings{}, func(p *Problems) { p.Add(path, "m") }); err != nil {
			check(err)
		}
	})
}
