package strictyaml

import (
	"slices"
	"testing"
	"time"
)

// Of what cannot be read, nothing is said but that.
func TestDecodeChecked(t *testing.T) {
	document := `name: 7
raet_per_s: 5
abuot: x
about: y
count: 1
limits: {p99: soon, p99.9: 1}
partners:
  - {name: [a], share: 2}
  - b
`
	out := settings{Name: "default", Small: 3}
	err := DecodeChecked("f.yaml", []byte(document), &out, func(problems *Problems) {
		for _, path := range []string{"name", "rate_per_s", "about", "count", "small", "limits.p99", "limits.p99.9", "partners[0].name",
			"partners[0].share", "partners[1]", "partners[1].share"} {
			problems.Add(path, "wrong")
		}
		if problems.Len() != 5 || !problems.Unread("small", "name") || problems.Unread("partners") || !problems.UnreadIn("partners") ||
			!problems.UnreadIn("") || !problems.UnreadIn("partners[1].share") || problems.UnreadIn("retries") {
			t.Errorf("%+v", problems)
		}
	})
	want := `f.yaml:1:1: small: wrong
f.yaml:1:7: name: want text, got 7; put it in quotes: "7"
f.yaml:2:1: ` + Unknown("field", "raet_per_s", Keys(settings{})) + `
f.yaml:3:1: ` + Unknown("field", "abuot", Keys(&settings{})) + `
f.yaml:4:8: about: wrong
f.yaml:5:8: count: wrong
f.yaml:6:15: limits.p99: want a whole number, got "soon"
f.yaml:6:28: limits.p99.9: wrong
f.yaml:8:12: partners[0].name: want text, got a list
f.yaml:8:24: partners[0].share: wrong
f.yaml:9:5: partners[1]: want a mapping with name, share, got "b"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if out.Name != "default" || out.Small != 3 || out.Partners[0].Share != 2 {
		t.Errorf("read %+v", out)
	}
}

func TestNothingIsCheckedWhereNothingWasRead(t *testing.T) {
	for _, document := range []string{"- a\n", "a: [\n", "words\n"} {
		if err := DecodeChecked("f.yaml", []byte(document), &settings{}, func(*Problems) { t.Errorf("%q was checked", document) }); err == nil {
			t.Errorf("%q was accepted", document)
		}
	}
}

// A default stays where its key has a value that cannot be read.
func TestDecodeKeepsWhatItCannotReplace(t *testing.T) {
	want := settings{Name: "a", Timeout: Duration(time.Second), Settle: time.Minute, Count: 4, Fast: true, RatePerS: 2}
	got := want
	err := Decode("f.yaml", []byte("name: [b]\ntimeout: soon\nsettle: 5\ncount: 1.5\nfast: no\nrate_per_s: x\n"), &got)
	if err == nil || got.Name != want.Name || got.Timeout != want.Timeout || got.Settle != want.Settle || got.Count != want.Count ||
		!got.Fast || got.RatePerS != want.RatePerS {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTopKeys(t *testing.T) {
	for document, want := range map[string][]string{
		"a: 1\nb: {c: 2}\na: 3\n": {"a", "b", "a"}, "x: y\n": {"x"}, "- a\n": nil, "": nil, "a: [\n": nil,
	} {
		if got := TopKeys([]byte(document)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", document, got, want)
		}
	}
}
