package proc

import (
	"os"
	"slices"
	"testing"
)

func TestParseParent(t *testing.T) {
	for stat, want := range map[string]int{
		"7 (cat) S 3 7 7 0": 3,
		"7 (a) S 9) S 3 7":  3,
		"7 () Z 0 7":        0,
		"7 (cat) S":         -1,
		"7 (cat) S x":       -1,
		"":                  -1,
	} {
		got, ok := parseParent([]byte(stat))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", stat, got, want)
		}
	}
}

func FuzzParseParent(f *testing.F) {
	f.Add([]byte("7 (cat) S 3 7 7 0"))
	f.Fuzz(func(_ *testing.T, stat []byte) { parseParent(stat) })
}

func TestDescendants(t *testing.T) {
	c := mustStart(t, spec("family"))
	grandchild := atoi(t, c.Addr())
	found := descendants(os.Getpid())
	if !slices.Contains(found, c.Pid()) || !slices.Contains(found, grandchild) || slices.Contains(found, os.Getpid()) {
		t.Errorf("%v; want %d and %d among them, and not %d", found, c.Pid(), grandchild, os.Getpid())
	}
	if below := descendants(c.Pid()); !slices.Equal(below, []int{grandchild}) {
		t.Errorf("%v; want %d alone", below, grandchild)
	}
}
