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

	"golang.org/x/sys/unix"
)

const (
	runDirPrefix  = "postbench-run-"  // belongs to whoever holds its lock
	deadDirPrefix = "postbench-dead-" // belongs to nobody: on its way out
	lockName      = "lock"

	// maxEntriesListed and maxDirsRemoved limit what one NewRunDir spends on
	// other processes' leftovers; the next one goes on.
	maxEntriesListed = 4096
	maxDirsRemoved   = 64
	// maxRunDirTries limits how often a sweeper may snatch a directory between
	// its creation and its locking. More than once is already unlikely.
	maxRunDirTries = 8
)

// errNotOurs says that a directory's lock is held by, or went to, somebody else.
var errNotOurs = errors.New("run directory belongs to another process")

// RunDir is a private temporary directory that does not outlive its process for
// long: Close removes it, and after a SIGKILL the next NewRunDir does.
//
// How: the directory holds a lock file whose flock the kernel drops when the
// process dies. Who gets the lock of a "postbench-run-*" owns it. To remove one,
// its owner renames it to "postbench-dead-*" first, so that nobody finds it half
// emptied, and dead ones are removed by anyone.
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
		return nil, fmt.Errorf("create a run directory in %s: %w", base, err)
	}
	sweep(base)
	return d, nil
}

// Path is the directory, readable by this user alone.
func (d *RunDir) Path() string { return d.path }

// Close removes the directory with all it holds. It may be called again.
func (d *RunDir) Close() error {
	d.once.Do(func() {
		d.err = removeOwned(d.path)
		_ = d.lock.Close()
	})
	return d.err
}

func createRunDir(base string) (*RunDir, error) {
	for range maxRunDirTries {
		path, err := os.MkdirTemp(base, runDirPrefix+"*")
		if err != nil {
			return nil, err
		}
		lock, err := takeLock(path)
		if err == nil {
			return &RunDir{path: path, lock: lock}, nil
		}
		if !errors.Is(err, errNotOurs) {
			_ = os.RemoveAll(path)
			return nil, err
		}
	}
	return nil, fmt.Errorf("other processes took %d in a row: %w", maxRunDirTries, errNotOurs)
}

// takeLock makes this process the owner of a run directory, or returns
// errNotOurs. The returned file must stay open for as long as it is the owner.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrNotExist) { // the directory has just been swept away
		return nil, errNotOurs
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errNotOurs
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// Between opening and locking, an owner may have removed the file: what we
	// hold would then be the lock of nothing.
	held, err1 := lock.Stat()
	there, err2 := os.Lstat(path)
	if err1 != nil || err2 != nil || !os.SameFile(held, there) {
		_ = lock.Close()
		return nil, errNotOurs
	}
	return lock, nil
}

// removeOwned removes a run directory whose lock the caller holds.
func removeOwned(path string) error {
	base, name := filepath.Split(path)
	dead := filepath.Join(base, deadDirPrefix+strings.TrimPrefix(name, runDirPrefix))
	err := os.Rename(path, dead)
	if errors.Is(err, os.ErrNotExist) {
		return nil // somebody tidied up by hand
	}
	if err != nil {
		return fmt.Errorf("remove the run directory: %w", err)
	}
	if err := os.RemoveAll(dead); err != nil {
		return fmt.Errorf("remove the run directory: %w", err)
	}
	return nil
}

// sweep removes what dead processes of this user have left in base.
func sweep(base string) {
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
	case strings.HasPrefix(name, deadDirPrefix) && isOwnDir(path):
		return os.RemoveAll(path) == nil
	case strings.HasPrefix(name, runDirPrefix) && isOwnDir(path):
		lock, err := takeLock(path)
		if err != nil {
			return false
		}
		defer lock.Close()
		return removeOwned(path) == nil
	}
	return false
}

// isOwnDir keeps the sweep from following links and from other users' things in
// a shared /tmp.
func isOwnDir(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}
