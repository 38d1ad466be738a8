package accesslog

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// pageBytes is the smallest page of all that Linux runs on.
const pageBytes = 4 << 10

// reserveBytes makes the file longer by n bytes that are really there: memory
// over a hole of the file kills the process when the disk is full.
func reserveBytes(f *os.File, from, n int64) error {
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, from, n); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP):
			return writeZeros(f, from, n)
		default:
			return err
		}
	}
}

// release lets the pages go from this process's memory. They stay in the file,
// and come back if a late entry is stored there.
func release(mem []byte) { _ = unix.Madvise(mem, unix.MADV_DONTNEED) }
