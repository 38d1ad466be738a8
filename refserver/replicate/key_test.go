package replicate

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

var example = Key{Edge: 7, Boot: 1700000000000000001, Counter: 42}

// The example in FORMAT.md is the golden: if the code and the page part, one of
// them is wrong.
func TestFormatExample(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```key\n(.*?)\n```").FindSubmatch(doc)
	if block == nil {
		t.Fatal("FORMAT.md has no ```key block")
	}
	if got := example.String(); got != string(block[1]) || len(got) != KeyBytes {
		t.Errorf("the code writes %q (%d bytes), the page says %q", got, len(got), block[1])
	}
	if got, err := ParseKey(string(block[1])); err != nil || got != example {
		t.Errorf("the page's example reads as %+v, %v", got, err)
	}
	for _, name := range []string{Index, Group, Consumer, KeyField} {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("FORMAT.md does not name %q", name)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	good := example.String()
	for what, s := range map[string]string{
		"nothing":         "",
		"short":           good[:KeyBytes-1],
		"long":            good + "0",
		"another version": "pb2" + good[3:],
		"separator":       strings.Replace(good, ":1797", "-1797", 1),
		"last separator":  good[:25] + "0" + good[26:],
		"uppercase":       strings.ToUpper(good[:1]) + good[1:],
		"uppercase digit": strings.Replace(good, "cfe", "cFe", 1),
		"a sign":          good[:4] + "+007" + good[8:],
		"an underscore":   good[:26] + "0000000000_0002a",
		"counter 0":       good[:26] + strings.Repeat("0", 16),
		"the index":       Index,
	} {
		if k, err := ParseKey(s); !errors.Is(err, ErrKey) || k != (Key{}) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q gave %+v, %v", what, s, k, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(example.String())
	f.Add(Key{Edge: 0xffff, Boot: 1<<64 - 1, Counter: 1<<64 - 1}.String())
	f.Add("pb1:index")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKey(s)
		switch {
		case err != nil:
			if !errors.Is(err, ErrKey) || k != (Key{}) {
				t.Fatalf("%q gave %+v, %v", s, k, err)
			}
		case k.String() != s:
			t.Fatalf("%q reads as %+v, which is written %q", s, k, k)
		}
	})
}
