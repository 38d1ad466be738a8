package strictyaml

import (
	"errors"
	"strings"
	"testing"
)

// inDocument positions problems that were collected without a document.
func inDocument(file string, data []byte, p *Problems) error {
	root, err := parse(file, data)
	if err != nil {
		return err
	}
	return joinOrSingle(inOrder(p.positions(file, root)))
}

func TestProblems(t *testing.T) {
	const document = "name: x\npartners:\n  - share: 2\n"
	var p Problems
	if err := errors.Join(p.Err(), inDocument("f.yaml", []byte(document), &p)); err != nil {
		t.Errorf("no problems: got %v", err)
	}
	p.Add("partners[0].share", "want at most %d", 1)
	if got, want := inDocument("f.yaml", []byte(document), &p).Error(), "f.yaml:3:12: partners[0].share: want at most 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p.Add("name", "too short")
	want := "f.yaml:1:7: name: too short\nf.yaml:3:12: partners[0].share: want at most 1"
	if got := inDocument("f.yaml", []byte(document), &p).Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := p.Err().Error(), "partners[0].share: want at most 1\nname: too short"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestIsName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "Big-network_2.eu": true, strings.Repeat("a", 32): true,
		"": false, "a b": false, "a/b": false, "é": false, strings.Repeat("a", 33): false,
	} {
		if got := IsName(name); got != want {
			t.Errorf("IsName(%q) = %v, want %v", name, got, want)
		}
	}
}
