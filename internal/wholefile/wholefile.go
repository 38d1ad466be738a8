// Package wholefile writes small files that must never be found half-written.
package wholefile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces a file by one that only this user can read, whole or not at
// all, and returns when it survives the machine's crash. One process at a time
// may write a path.
func Write(path string, content []byte) (err error) {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	// The rename itself is in the directory.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
