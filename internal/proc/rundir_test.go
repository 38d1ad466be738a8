package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func mustRunDir(t *testing.T, base string) *RunDir {
	t.Helper()
	d, err := NewRunDir(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func count(t *testing.T, base string) int {
	t.Helper()
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestRunDirIsPrivateAndGoesWithClose(t *testing.T) {
	base := t.TempDir()
	d := mustRunDir(t, base)
	info, err := os.Stat(d.Path())
	if err != nil || info.Mode().Perm() != 0o700 || filepath.Dir(d.Path()) != base {
		t.Fatalf("%s: %v, %v", d.Path(), info, err)
	}
	if err := os.MkdirAll(filepath.Join(d.Path(), "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // idempotent
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := count(t, base); n != 0 {
		t.Errorf("%d entries left", n)
	}
}

func TestRunDirUsesTheSystemsTempDir(t *testing.T) {
	base := t.TempDir()
	t.Setenv("TMPDIR", base)
	if d := mustRunDir(t, ""); filepath.Dir(d.Path()) != base {
		t.Errorf("%s is not in %s", d.Path(), base)
	}
}

func TestNewRunDirFails(t *testing.T) {
	base := filepath.Join(t.TempDir(), "missing")
	if d, err := NewRunDir(base); d != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, %v; want a missing directory to be an error", d, err)
	}
}

func TestRunDirOfKilledProcessGoes(t *testing.T) {
	base := t.TempDir()
	own := mustRunDir(t, base)
	holder := mustStart(t, spec("rundir", "PROC_TEST_BASE="+base))
	theirs := holder.Addr()

	_ = mustRunDir(t, base)
	if !exists(filepath.Join(theirs, "data")) || !exists(own.Path()) {
		t.Fatal("a living process lost its run directory")
	}
	if err := holder.Kill(); err != nil {
		t.Fatal(err)
	}
	<-holder.Done()
	_ = mustRunDir(t, base)
	if exists(theirs) || !exists(own.Path()) {
		t.Errorf("the dead one's exists: %v, ours: %v", exists(theirs), exists(own.Path()))
	}
	if n := count(t, base); n != 3 {
		t.Errorf("%d entries, want our 3 alone", n)
	}
}

func TestSweepTakesHalfBuiltAndHalfRemoved(t *testing.T) {
	base := t.TempDir()
	noLock := mkdir(t, base, runDirPrefix+"1")
	dead := mkdir(t, base, deadDirPrefix+"2", "deep")
	young := mkdir(t, base, newDirPrefix+"3")
	old := mkdir(t, base, newDirPrefix+"4")
	past := time.Now().Add(-2 * newDirGrace)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	_ = mustRunDir(t, base)
	for path, want := range map[string]bool{noLock: false, dead: false, young: true, old: false} {
		if exists(path) != want {
			t.Errorf("%s exists: %v, want %v", path, exists(path), want)
		}
	}
}

func TestSweepLeavesOtherThingsAlone(t *testing.T) {
	base, elsewhere := t.TempDir(), t.TempDir()
	precious := mkdir(t, elsewhere, "precious")
	link := filepath.Join(base, runDirPrefix+"link")
	deadLink := filepath.Join(base, deadDirPrefix+"link")
	file := filepath.Join(base, runDirPrefix+"file")
	other := mkdir(t, base, "postbench-results")
	lockLink := mkdir(t, base, runDirPrefix+"locklink")
	for _, err := range []error{
		os.Symlink(elsewhere, link),
		os.Symlink(elsewhere, deadLink),
		os.WriteFile(file, nil, 0o600),
		os.Symlink(filepath.Join(elsewhere, "planted"), filepath.Join(lockLink, lockName)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = mustRunDir(t, base)
	for _, path := range []string{precious, link, deadLink, file, other, lockLink} {
		if !exists(path) {
			t.Errorf("%s is gone", path)
		}
	}
	if exists(filepath.Join(elsewhere, "planted")) {
		t.Error("followed a link out of the directory")
	}
}

func TestSweepIsBounded(t *testing.T) {
	base := t.TempDir()
	for i := range maxDirsRemoved + 10 {
		mkdir(t, base, fmt.Sprintf("%s%d", runDirPrefix, i))
	}
	_ = mustRunDir(t, base)
	if n := count(t, base); n != 10+1 {
		t.Errorf("%d entries after the first, want 11", n)
	}
	_ = mustRunDir(t, base)
	if n := count(t, base); n != 2 {
		t.Errorf("%d entries after the second, want our 2 alone", n)
	}
}

// Creating, sweeping and removing at once: nobody may lose a directory that it
// still holds, and at the end nothing is left.
func TestRunDirsAtTheSameTime(t *testing.T) {
	base := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				d, err := NewRunDir(base)
				if err != nil {
					t.Error(err)
					return
				}
				if !exists(filepath.Join(d.Path(), lockName)) {
					t.Errorf("%s is gone while held", d.Path())
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	Sweep(base)
	if n := count(t, base); n != 0 {
		t.Errorf("%d entries left", n)
	}
}

func mkdir(t *testing.T, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
