//go:build linux || darwin

package accesslog

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Somebody who looks whether a log is being written holds its lock for a moment.
const (
	lockTries = 20
	lockPause = 5 * time.Millisecond
)

// OpenMapped makes a Log that stores Cap'n Proto messages into the file at path
// by way of memory: no system call, no text, no allocation an entry. The file is
// this process's alone meanwhile (ErrInUse). What a predecessor wrote stays; what
// it left unfinished when it was killed is tidied up, for which the file is read
// once. An entry for which no room has been prepared is dropped and counted.
//
// Nobody may cut the file while it is open: touching memory beyond a file's end
// kills the process.
func OpenMapped(path string, o MappedOptions) (*Log, error) {
	m, err := openMapped(path, o)
	if err != nil {
		return nil, fmt.Errorf("access log %s: %w", path, err)
	}
	return &Log{mapped: m}, nil
}

func openMapped(path string, o MappedOptions) (_ *mapped, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if err := lock(f); err != nil {
		return nil, err
	}
	end, err := tidyUp(f, o.MaxFileBytes)
	if err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(o.MaxFileBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", o.MaxFileBytes, err)
	}
	m, err := newMapped(mem, o.ChunkBytes, end, &mappedFile{f: f, mem: mem})
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(mem), f.Truncate(end))
	}
	return m, nil
}

// lock takes the file for this process: the kernel gives it back when it dies.
func lock(f *os.File) error {
	for range lockTries {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		time.Sleep(lockPause)
	}
	return ErrInUse
}

// BeingWritten says whether a mapped log's writer is alive.
func BeingWritten(f *os.File) bool {
	err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

// tidyUp cuts off what a dead writer reserved in vain, and makes whole messages
// of the holes it left, so that any reader of Cap'n Proto gets through.
func tidyUp(f *os.File, maxBytes int64) (end int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, errors.New("not a regular file; remove it")
	}
	end, holes, err := findEnd(f, st.Size())
	if err != nil {
		return 0, fmt.Errorf("%w; move it away", err)
	}
	if end >= maxBytes {
		return 0, fmt.Errorf("%w of %d bytes: move it away", ErrFull, maxBytes)
	}
	for _, h := range holes {
		if _, err := f.WriteAt(h.fill(), h.at); err != nil {
			return 0, err
		}
	}
	return end, f.Truncate(end)
}

// mappedFile is the file below the memory.
type mappedFile struct {
	f        *os.File
	mem      []byte
	released int64 // bytes that have left the process's memory
}

// Extend implements ground.
func (m *mappedFile) Extend(from, to, keep int64) error {
	if err := reserveBytes(m.f, from, to-from); err != nil {
		return fmt.Errorf("reserve %d bytes: %w; free space there", to-from, err)
	}
	// The pages come into memory now, so that no request waits for them.
	for at := from; at < to; at += pageBytes {
		m.mem[at] = 0
	}
	if keep > m.released {
		release(m.mem[m.released:keep])
		m.released = keep
	}
	return nil
}

// Close implements ground.
func (m *mappedFile) Close(size int64) error {
	err := unix.Munmap(m.mem)
	return cmp.Or(err, m.f.Truncate(size), m.f.Close())
}

// writeZeros reserves bytes beyond the file's end where nothing better is known.
func writeZeros(f *os.File, from, n int64) error {
	_, err := f.WriteAt(make([]byte, n), from)
	return err
}
