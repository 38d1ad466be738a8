package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func TestFollowCollections(t *testing.T) {
	const trace = `run 3s 5000/s
gc 4 @3.016s 0%: 0.18+0.72+0.004 ms clock, 0.36+0/0.30/0.30+0.009 ms cpu, 16->16->12 MB, 16 MB goal, 0 MB stacks, 0 MB globals, 2 P
gc 9 @75.9s 0%: 0.081+0.35+0.004 ms clock, 0.16+0/0.14/0.50+0.008 ms cpu, 30->31->15 MB, 31 MB goal, 0 MB stacks, 0 MB globals, 2 P
gc 10 @80s 1%: cut`
	var live atomic.Int64
	if followCollections(strings.NewReader(trace), &live); live.Load() != 15 {
		t.Errorf("live heap %d MiB, want 15", live.Load())
	}
}

func TestJudgeMemory(t *testing.T) {
	sample := func(mib ...int64) (list []memorySample) {
		for _, m := range mib {
			list = append(list, memorySample{liveMiB: m})
		}
		return list
	}
	for _, test := range []struct {
		name    string
		samples []memorySample
		holds   bool
	}{
		{"flat", sample(5, 9, 14, 15, 15, 16), true},
		{"growing", sample(15, 15, 15, 15, 16, 17), false},
		{"a peak", sample(15, 15, 15, 15, 20, 15), false},
	} {
		var f finding
		if err := f.judgeMemory(test.samples); err != nil || f.holds != test.holds {
			t.Errorf("%s: holds %v, %v", test.name, f.holds, err)
		}
	}
	for _, short := range [][]memorySample{nil, sample(15, 15, 15), sample(15, 15, 15, 0)} {
		if err := new(finding).judgeMemory(short); err == nil {
			t.Errorf("%v was judged", short)
		}
	}
}

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
