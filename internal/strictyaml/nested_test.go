package strictyaml

import (
	"path/filepath"
	"testing"
)

// Keys with dots, such as percentiles, are addressed like all others.
func TestProblemsFindKeysWithDots(t *testing.T) {
	data := []byte("time: {p99: 1s, p99.9: 2s}\np99.9: [1s, 2s]\na:\n  p9: 1s\n")
	for path, want := range map[string]string{
		"time.p99.9": "f:1:24: ", "time.p99": "f:1:13: ", "time.p99.5": "f:1:13: ", "p99.9[1]": "f:2:13: ", "a.p9": "f:4:7: ", "a.p9.x": "f:4:7: ",
	} {
		var problems Problems
		problems.Add(path, "m")
		if err := inDocument("f", data, &problems); err == nil || err.Error() != want+path+": m" {
			t.Errorf("got %v, want %s%s", err, want, path)
		}
	}
}

func TestBeside(t *testing.T) {
	absolute := filepath.Join(t.TempDir(), "n.yaml")
	for _, test := range []struct{ file, name, want string }{
		{"dir/p.yaml", "metro", "metro"},
		{"dir/p.yaml", "n.yaml", filepath.Join("dir", "n.yaml")},
		{"dir/p.yaml", "../n.yaml", "." + string(filepath.Separator) + "n.yaml"},
		{"p.yaml", "n.yaml", "." + string(filepath.Separator) + "n.yaml"},
		{"dir/p.yaml", absolute, absolute},
	} {
		if got := Beside(test.file, test.name); got != test.want || IsPath(got) != IsPath(test.name) {
			t.Errorf("%s beside %s: %s, want %s", test.name, test.file, got, test.want)
		}
	}
}
