package machine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Space is the size of the file system that path lies on and what of it this
// user may still fill, both in bytes.
func Space(path string) (total, free uint64, err error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return 0, 0, fmt.Errorf("size of the file system of %s: %w", path, err)
	}
	block := uint64(stat.Bsize) // its type depends on the system
	return stat.Blocks * block, stat.Bavail * block, nil
}
