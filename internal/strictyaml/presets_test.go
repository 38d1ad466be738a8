package strictyaml

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
)

func testPresets() Presets {
	return Presets{What: "scenario", Dir: "presets", FS: fstest.MapFS{
		"presets/plain.yaml": {Data: []byte("name: plain\n")},
		"presets/mixed.yaml": {Data: []byte("name: mixed\n")},
		"presets/README.md":  {},
		"other/far.yaml":     {},
	}}
}

func TestPresetsRead(t *testing.T) {
	p := testPresets()
	if got, want := p.Names(), []string{"mixed", "plain"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	own := filepath.Join(t.TempDir(), "own.yml")
	if err := os.WriteFile(own, make([]byte, 2*MaxDocumentBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, file string
		bytes      int
	}{
		{"mixed", "presets/mixed.yaml", len("name: mixed\n")},
		{own, own, MaxDocumentBytes + 1},
	}
	for _, test := range tests {
		file, data, err := p.Read(test.name)
		if err != nil || file != test.file || len(data) != test.bytes {
			t.Errorf("%s: got %q, %d bytes, %v; want %q, %d bytes", test.name, file, len(data), err, test.file, test.bytes)
		}
	}
}

func TestPresetsReadErrors(t *testing.T) {
	p := testPresets()
	_, _, err := p.Read("mixde")
	want := `unknown scenario "mixde"; allowed: mixed, plain; did you mean "mixed"? (a file is given by its path, such as ./mine.yaml)`
	var unknown *UnknownPresetError
	if !errors.As(err, &unknown) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	for _, path := range []string{"./absent", "absent.yaml", "absent.yml"} {
		if _, _, err := p.Read(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want a file that does not exist", path, err)
		}
	}
	if _, _, err := p.Read(t.TempDir()); err == nil {
		t.Error("a folder was read as a document")
	}
}
