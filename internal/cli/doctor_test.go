package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/kernelnet"
	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/refserver/parts"
)

// wellEquipped is a machine that has everything.
func wellEquipped() checkup {
	return checkup{
		machine:       machine.Facts{CPUs: 8, Model: "Some CPU", Kernel: "6.1.0", MemBytes: 16 << 30, OS: "linux", Arch: "amd64"},
		memoryDir:     "/dev/shm",
		space:         func(string) (uint64, uint64, error) { return 8 << 30, 6 << 30, nil },
		openFiles:     func() (uint64, error) { return 1_048_576, nil },
		kernelNetwork: func() error { return nil },
		parts: []parts.Found{
			{Role: "sql", Program: "/usr/sbin/mariadbd", Version: "10.11.19"}, {Role: "clicks", Program: "/usr/bin/clickhouse-server"},
			{Role: "worker", Program: "/usr/bin/workerd", Version: "2026-11-17"},
		},
	}
}

func TestDoctor(t *testing.T) {
	var well, badly bytes.Buffer
	c := wellEquipped()
	if err := c.write(&well); err != nil {
		t.Fatal(err)
	}
	golden(t, "doctor.txt", well.String())

	c.machine, c.parts = machine.Facts{CPUs: 1, OS: "darwin", Arch: "arm64"}, nil
	c.space = func(string) (uint64, uint64, error) { return 0, 0, fs.ErrNotExist }
	c.openFiles = func() (uint64, error) { return 0, errors.New("no") }
	c.kernelNetwork = func() error { return fmt.Errorf("%w: not on\ndarwin", kernelnet.ErrUnsupported) }
	for role := range withoutParts {
		c.parts = append(c.parts, parts.Found{Role: role, Program: role + "d", Missing: fmt.Errorf("%sd %w", role, parts.ErrMissing)})
	}
	if err := c.write(&badly); err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"memory          unknown", "lanes are ordinary files", "not on; darwin", "missing  workerd", "worker: workerd is not installed\n    until then: edge-worker does not start"} {
		if !strings.Contains(badly.String(), words) {
			t.Errorf("no %q in:\n%s", words, badly.String())
		}
	}
}

// Whatever is missing here, doctor says so and does not fail; it knows what is
// done without each of the parts.
func TestDoctorOfThisMachine(t *testing.T) {
	text := mustCLI(t, "doctor")
	for _, found := range installedParts(t.Context()) {
		if !strings.Contains(text, "\n  "+found.Role+" ") || withoutParts[found.Role] == "" {
			t.Errorf("nothing about %q in:\n%s", found.Role, text)
		}
	}
}
