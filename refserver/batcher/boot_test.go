package batcher

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The example in FORMAT.md is the golden: if the code and the page part, one of
// them needs a new version.
func TestFormatDoc(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("```boot\n([^`]+)```").FindSubmatch(doc)
	if m == nil {
		t.Fatal("FORMAT.md has no ```boot block")
	}
	boot, err := decodeBoot(m[1])
	if err != nil || boot != 1700000000000000000 || !bytes.Equal(encodeBoot(boot), m[1]) {
		t.Errorf("%d, %v; encoded %q", boot, err, encodeBoot(boot))
	}
}

func TestNextBoot(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stored uint64
		nowNs  int64
		want   uint64
	}{
		{"first", 0, 1000, 1000},
		{"clock went on", 900, 1000, 1000},
		{"same moment", 1000, 1000, 1001},
		{"clock went back", 5000, 1000, 5001},
		{"clock before 1970", 0, -5, 1},
		{"beyond every clock", math.MaxUint64 - 1, 1000, math.MaxUint64},
	} {
		if got, err := nextBoot(tt.stored, tt.nowNs); got != tt.want || err != nil {
			t.Errorf("%s: %d, %v, want %d", tt.name, got, err, tt.want)
		}
	}
	if _, err := nextBoot(math.MaxUint64, 1000); !errors.Is(err, ErrNoBootLeft) {
		t.Errorf("after the highest: %v", err)
	}
}

func TestTakeBootRises(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boot")
	last := uint64(0)
	for _, nowNs := range []int64{1000, 1000, 10, 2000} {
		// A file that a crash left half-written must not be in the way.
		if err := os.WriteFile(path+".new", []byte("half a li"), 0o600); err != nil {
			t.Fatal(err)
		}
		boot, err := takeBoot(path, nowNs)
		if err != nil || boot <= last || boot < uint64(nowNs) {
			t.Errorf("at %d: boot %d after %d, %v", nowNs, boot, last, err)
		}
		if stored, err := readBoot(path); err != nil || stored != boot {
			t.Errorf("at %d: the file says %d, %v, taken was %d", nowNs, stored, err, boot)
		}
		last = boot
	}
}

func TestDamagedBootFile(t *testing.T) {
	good := encodeBoot(1700000000000000000)
	damaged := map[string][]byte{
		"empty": {}, "cut off": good[:len(good)-1], "longer": append(bytes.Clone(good), '\n'),
		"much longer": append(bytes.Clone(good), bytes.Repeat([]byte{' '}, 500)...),
		"zero":        encodeBoot(0), "no number": []byte("postbench-boot 1 x 00000000\n"),
		"leading zero": bytes.Replace(good, []byte("17"), []byte("017"), 1),
	}
	for bit := range len(good) * 8 {
		flipped := bytes.Clone(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		damaged["bit flipped: "+string(flipped)] = flipped
	}
	path := filepath.Join(t.TempDir(), "boot")
	for name, content := range damaged {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if boot, err := takeBoot(path, 1); !errors.Is(err, ErrBootFile) {
			t.Errorf("%s: boot %d, %v", name, boot, err)
		}
		if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, content) {
			t.Errorf("%s: the file was changed, %v", name, err)
		}
	}
	if _, err := takeBoot(filepath.Join(path, "no", "such", "directory"), 1); err == nil {
		t.Error("a boot that is stored nowhere")
	}
}

func FuzzDecodeBoot(f *testing.F) {
	f.Add(encodeBoot(1))
	f.Add(encodeBoot(math.MaxUint64))
	f.Add([]byte("postbench-boot 1 1 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if boot, err := decodeBoot(text); err == nil && (boot == 0 || !bytes.Equal(encodeBoot(boot), text)) {
			t.Fatalf("%q reads as %d", text, boot)
		}
	})
}
