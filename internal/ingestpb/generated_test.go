package ingestpb

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// versionLine names a generator in the head of a generated file.
var versionLine = regexp.MustCompile(`(?m)^//[ \t]+(- )?protoc.*\n`)

// The generated files are those of ingest.proto: `make generate` was not
// forgotten.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	for _, tool := range []string{"protoc", "protoc-gen-go", "protoc-gen-go-grpc"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("CI leaves nothing out: %s is not on the PATH", tool)
			}
			t.Skipf("%s is not on the PATH", tool)
		}
	}
	dir := t.TempDir()
	generate := exec.CommandContext(t.Context(), "protoc", "--go_out="+dir, "--go_opt=paths=source_relative",
		"--go-grpc_out="+dir, "--go-grpc_opt=paths=source_relative", "ingest.proto")
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", generate.Args, err, out)
	}
	for _, name := range []string{"ingest.pb.go", "ingest_grpc.pb.go"} {
		fresh, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(versionLine.ReplaceAll(fresh, nil), versionLine.ReplaceAll(ours, nil)) {
			t.Errorf("%s is not what its generators make of ingest.proto: run make generate", name)
		}
	}
}
