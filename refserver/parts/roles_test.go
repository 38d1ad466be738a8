package parts

import (
	"context"
	"errors"
	"log"
	"os"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/proc"
)

// The test binary is also the guard of the programs that it starts, and a parent
// that can be killed: roleEnv says so.
const (
	guardArg = "guard"
	roleEnv  = "PARTS_TEST_ROLE"
	baseEnv  = "PARTS_TEST_BASE"
)

// testPatience limits every wait. It is only ever used up by a failing test.
const testPatience = 60 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == guardArg {
		status, err := proc.RunGuard(os.Args[2:])
		if err != nil {
			log.Print(err)
		}
		os.Exit(status)
	}
	if os.Getenv(roleEnv) != "" {
		// A failing test must not leave processes behind either.
		time.AfterFunc(2*testPatience, func() { log.Fatal("forgotten") })
		beParent(os.Getenv(baseEnv))
	}
	m.Run()
}

// runtimeFor runs programs under the guard in a directory of the test's.
func runtimeFor(t *testing.T) Runtime {
	t.Helper()
	dir, err := os.MkdirTemp("", "pb-") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return Runtime{Dir: dir, Log: t.Output(), Guard: []string{os.Args[0], guardArg}}
}

// started makes sure that a part stops with the test. The test is skipped where
// it is not installed; CI must have it.
func started[P interface{ Stop(context.Context) error }](t *testing.T, part P, err error) P {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = part.Stop(context.Background()) })
	return part
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(testPatience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", testPatience, what)
		}
		time.Sleep(5 * time.Millisecond) // polling other processes: there is nothing to wait on
	}
}
