package reports

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestWriteThenRead(t *testing.T) {
	for name, r := range map[string]Result{"full": fullResult(t), "minimal": minimalResult(), "zero": {}} {
		path := filepath.Join(t.TempDir(), "result.json")
		if err := WriteFile(path, r); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := r.complete(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, wrote %+v", name, got, want)
		}
		if left := entries(t, filepath.Dir(path)); len(left) != 1 {
			t.Errorf("%s: the directory holds %v", name, left)
		}
	}
}

func TestWriteFileLeavesTheCallersListsAlone(t *testing.T) {
	r := minimalResult()
	if err := WriteFile(filepath.Join(t.TempDir(), "result.json"), r); err != nil {
		t.Fatal(err)
	}
	if r.Variants[0].Rounds != nil || r.Command != nil {
		t.Error("a nil list of the caller was replaced")
	}
}

func TestDocumentGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result.json")
	if err := WriteFile(path, minimalResult()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "minimal.json", string(text))
}

func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	for _, want := range []string{"the first, longer text", "second", ""} {
		if err := ReplaceFile(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v; want mode 0644", info, err)
	}
	if left := entries(t, filepath.Dir(path)); len(left) != 1 {
		t.Errorf("the directory holds %v", left)
	}
	requireOneLine(t, ReplaceFile(filepath.Join(path, "inside"), nil), "notes.txt")
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

// requireOneLine checks that an error fits the terminal of a user.
func requireOneLine(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line with %q", err, want)
	}
}

func TestWriteFileErrors(t *testing.T) {
	dir := t.TempDir()
	occupied := filepath.Join(dir, "occupied")
	if err := os.MkdirAll(filepath.Join(occupied, "inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	impossible := minimalResult()
	impossible.SettleS = math.NaN()
	for _, tt := range []struct {
		name, path, want string
		result           Result
	}{
		{"no such directory", filepath.Join(dir, "absent", "result.json"), "absent", minimalResult()},
		{"a directory in its place", occupied, "occupied", minimalResult()},
		{"not a number", filepath.Join(dir, "result.json"), "NaN", impossible},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requireOneLine(t, WriteFile(tt.path, tt.result), tt.want)
			if left := entries(t, dir); len(left) != 1 {
				t.Errorf("the directory holds %v", left)
			}
		})
	}
}

func TestFailedWriteKeepsTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result.json")
	if err := WriteFile(path, minimalResult()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	diskFull := errors.New("disk full")
	err = replaceFile(path, func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			t.Error(err)
		}
		return diskFull
	})
	if !errors.Is(err, diskFull) {
		t.Errorf("got %v, want the error of the write", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the old file is gone: %v, %d bytes", err, len(after))
	}
	if left := entries(t, filepath.Dir(path)); len(left) != 1 {
		t.Errorf("the directory holds %v", left)
	}
}

func TestReadFileRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "unexpected end"},
		{"not JSON", "\n{\n  \"schema\" 1}", "line 3"},
		{"another version", `{"schema":"postbench.result/v2"}`, `its schema is "postbench.result/v2"`},
		{"another document", `{"fine":true}`, `its schema is ""`},
		{"an unknown field", `{"schema":"postbench.result/v1","extra":1}`, `unknown field "extra"`},
		{"an unknown field inside", `{"schema":"postbench.result/v1","tool":{"extra":1}}`, `unknown field "extra"`},
		{"a wrong type", "{\"schema\":\"postbench.result/v1\",\n\"seed\":\"one\"}", "line 2"},
		{"more after it", `{"schema":"postbench.result/v1"} {}`, "after top-level value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "result.json")
			if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := ReadFile(path)
			requireOneLine(t, err, tt.want)
			requireOneLine(t, err, path)
		})
	}
	_, err := ReadFile(filepath.Join(t.TempDir(), "absent.json"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
}

func TestReadFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.json")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(MaxResultBytes + 1); err != nil { // sparse
		t.Fatal(err)
	}
	if _, err := ReadFile(path); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema":"postbench.result/v1","variants":[{"name":"a","rounds":[{"round":1}]}]}`))
	f.Add([]byte(`{"schema":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode(data)
		if err != nil {
			return
		}
		// Whatever was read can be printed and compared.
		Table(r.Variants)
		for _, v := range r.Variants {
			Summary(v)
			Sentence(Compare(r.Variants, v.Name)...)
		}
		Sentence(r.Comparison...)
	})
}
