package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	newDirPrefix  = "postbench-new-"  // being made; its maker has not locked it yet
	runDirPrefix  = "postbench-run-"  // belongs to whoever holds its lock
	deadDirPrefix = "postbench-dead-" // belongs to nobody: on its way out
	lockName      = "lock"

	// newDirGrace is how long the making may take. It is only a kindness: a maker
	// that was asleep for longer starts again.
	newDirGrace = time.Minute
	// maxRunDirTries limits how often it starts again.
	maxRunDirTries = 8

	// maxEntriesListed and maxDirsRemoved limit what one NewRunDir spends on
	// other processes' leftovers; the next one goes on.
	maxEntriesListed = 4096
	maxDirsRemoved   = 64
)

// RunDir is a private temporary directory that does not outlive its process for
// long: Close removes it, and after a SIGKILL the next NewRunDir does.
//
// How: the directory holds a lock file whose flock the kernel drops when the
// process dies, so whoever can take the lock may remove the directory. Each change
// of state is one rename, which only one process can win: postbench-new-* becomes
// postbench-run-* when it is locked, and either becomes postbench-dead-* before it
// is emptied. Nobody ever meets a living one without a lock or half of one.
type RunDir struct {
	path string
	lock *os.File
	once sync.Once
	err  error
}

// NewRunDir creates a run directory in base ("" means os.TempDir) and removes
// those of dead processes there. Leftovers that cannot be removed are left alone:
// they are no reason not to run.
func NewRunDir(base string) (*RunDir, error) {
	if base == "" {
		base = os.TempDir()
	}
	d, err := createRunDir(base)
	if err != nil {
		return nil, fmt.Errorf("create a run directory: %w", err)
	}
	Sweep(base)
	return d, nil
}

// Path is the directory, readable by this user alone.
func (d *RunDir) Path() string { return d.path }

// Close removes the directory with all it holds. It may be called again.
func (d *RunDir) Close() error {
	d.once.Do(func() {
		d.err = remove(d.path, runDirPrefix)
		_ = d.lock.Close()
	})
	return d.err
}

func createRunDir(base string) (d *RunDir, err error) {
	for range maxRunDirTries {
		if d, err = tryCreateRunDir(base); !errors.Is(err, os.ErrNotExist) {
			break // ErrNotExist: swept away in the making, or base is missing
		}
	}
	return d, err
}

func tryCreateRunDir(base string) (*RunDir, error) {
	making, err := os.MkdirTemp(base, newDirPrefix+"*")
	if err != nil {
		return nil, err
	}
	path := renamed(making, newDirPrefix, runDirPrefix)
	lock, err := os.OpenFile(filepath.Join(making, lockName), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		_ = os.RemoveAll(making)
		return nil, err
	}
	err = flock(lock)
	if err == nil {
		err = os.Rename(making, path)
	}
	if err != nil {
		_ = lock.Close()
		_ = os.RemoveAll(making)
		return nil, err
	}
	return &RunDir{path: path, lock: lock}, nil
}

// renamed exchanges the prefix of the path's last element.
func renamed(path, from, to string) string {
	base, name := filepath.Split(path)
	return filepath.Join(base, to+strings.TrimPrefix(name, from))
}

// flock takes the lock or fails at once. Children do not inherit it: Go opens
// files close-on-exec.
func flock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return nil
}

// remove removes a directory that the caller may remove. That it is gone already
// is fine.
func remove(path, prefix string) error {
	dead := renamed(path, prefix, deadDirPrefix)
	err := os.Rename(path, dead)
	if err == nil {
		err = os.RemoveAll(dead)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the run directory: %w", err)
	}
	return nil
}

// Sweep removes the run directories that dead processes of this user have left
// in base, as NewRunDir does, for bases in which the caller needs none.
func Sweep(base string) {
	dir, err := os.Open(base)
	if err != nil {
		return
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxEntriesListed)
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	removed := 0
	for _, e := range entries {
		if removed < maxDirsRemoved && sweepEntry(base, e.Name()) {
			removed++
		}
	}
}

func sweepEntry(base, name string) (removed bool) {
	path := filepath.Join(base, name)
	switch {
	case strings.HasPrefix(name, deadDirPrefix):
		return isOwnDir(path, 0) && os.RemoveAll(path) == nil
	case strings.HasPrefix(name, newDirPrefix):
		return isOwnDir(path, newDirGrace) && remove(path, newDirPrefix) == nil
	case strings.HasPrefix(name, runDirPrefix):
		return isOwnDir(path, 0) && sweepRunDir(path)
	}
	return false
}

func sweepRunDir(path string) (removed bool) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, os.ErrNotExist): // after a power cut, perhaps
	case err != nil:
		return false
	default:
		defer lock.Close()
		if flock(lock) != nil {
			return false // its process lives
		}
	}
	return remove(path, runDirPrefix) == nil
}

// isOwnDir keeps the sweep from following links and from other users' things in
// a shared /tmp, and from directories that changed less than minAge ago.
func isOwnDir(path string, minAge time.Duration) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || time.Since(info.ModTime()) < minAge {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}
