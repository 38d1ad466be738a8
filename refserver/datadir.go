package refserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrDataDir is wrapped by Serve's error when the data directory is another
// server's: one that runs, or one whose data this composition cannot read.
var ErrDataDir = errors.New("data directory is not ours")

const (
	// ownerName is the file that says whose data it is, and whose lock a
	// running server holds.
	ownerName     = "postbench-data"
	maxOwnerBytes = 1 << 10
)

// kind names what a data directory must hold for the composition.
func (c Composition) kind() string {
	if c.Uplink == None {
		return "sql"
	}
	return "edges on " + c.Buffer
}

// ownDataDir takes the data directory for this server, and creates it. The
// caller closes the file at the end.
func ownDataDir(dir string, c *Composition) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, ownerName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := claim(file, dir, c); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func claim(file *os.File, dir string, c *Composition) error {
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%w: %s is in use by another server; stop it or name another directory", ErrDataDir, dir)
	}
	held, err := readLimited(file.Name(), maxOwnerBytes)
	switch {
	case err != nil:
		return fmt.Errorf("data directory: %w", err)
	case len(held) == 0:
		_, err := file.WriteString(c.kind() + "\n")
		return err
	case string(held) != c.kind()+"\n":
		return fmt.Errorf("%w: %s holds data of a server with %.40q, variant %s has %q; name another directory", ErrDataDir, dir, held, c.Name, c.kind())
	}
	return nil
}
