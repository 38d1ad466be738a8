package refserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver/accesslog"
)

func TestOpenAccessLog(t *testing.T) {
	for _, test := range []struct{ log, write, file, holds string }{
		{LogJSON, LogOnRequest, "access.log", `"uri":"/pb"`},
		{LogJSON, LogInBackground, "access.log", `"uri":"/pb"`},
		{LogCapnp, LogMapped, "access.log.capnp", "/pb\x00"},
		{None, None, "", ""},
	} {
		dir := t.TempDir()
		for range 2 { // the second continues the first
			access, err := openAccessLog(dir, &Composition{Log: test.log, LogWrite: test.write})
			if err != nil {
				t.Fatalf("%s, %s: %v", test.log, test.write, err)
			}
			if access.log != nil {
				access.log.Log(&accesslog.Entry{Method: []byte("GET"), URI: []byte("/pb")})
			}
			if err := access.Close(); err != nil {
				t.Errorf("%s, %s: %v", test.log, test.write, err)
			}
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || strings.Join(files, "") != filepath.Join(dir, test.file) && test.file != "" || test.file == "" && len(files) > 0 {
			t.Errorf("%s, %s: files %q, %v", test.log, test.write, files, err)
			continue
		}
		for _, file := range files {
			if b, err := os.ReadFile(file); err != nil || strings.Count(string(b), test.holds) != 2 {
				t.Errorf("%s, %s: %v, %q", test.log, test.write, err, b)
			}
		}
	}
}
