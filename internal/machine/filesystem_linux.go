package machine

import "golang.org/x/sys/unix"

// InMemory reports whether path lies on a file system in memory, where a sync
// writes to no disk. What cannot be told counts as a disk.
func InMemory(path string) bool {
	var stat unix.Statfs_t
	if unix.Statfs(path, &stat) != nil {
		return false
	}
	return int64(stat.Type) == unix.TMPFS_MAGIC || int64(stat.Type) == unix.RAMFS_MAGIC
}
