package lanes

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/postbench/postbench/refserver/shm"
)

// errUnfinished says that the creator of a lane file has not finished it, or will
// not: no record has ever been in it.
var errUnfinished = errors.New("lanes: the lane is unfinished")

// openRegular opens a file of ours. O_NOFOLLOW: others may write to /dev/shm too.
func openRegular(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lanes: %w", err)
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("lanes: %s is not a regular file; remove it (%w)", path, errors.Join(err, os.ErrInvalid))
	}
	return f, nil
}

// openOrCreate opens a file and makes an empty one if there is none.
func openOrCreate(path string) (*os.File, error) {
	f, err := openRegular(path, os.O_RDWR)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	f, err = openRegular(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, os.ErrExist) { // somebody else was faster
		return openRegular(path, os.O_RDWR)
	}
	return f, err
}

// tryLock takes the file's flock; false if somebody else has it.
func tryLock(f *os.File) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, fmt.Errorf("lanes: lock %s: %w", f.Name(), err)
		}
	}
}

func unlock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		return fmt.Errorf("lanes: unlock %s: %w", f.Name(), err)
	}
	return nil
}

// mapping is a lane in this process's memory.
type mapping struct {
	mem  []byte
	ring *shm.Ring
}

// attach maps a finished lane. Whether it is finished, it reads through the file:
// an unfinished one may be cut at any moment, and touching memory beyond a file's
// end is a SIGBUS.
func attach(f *os.File, protection int) (*mapping, error) {
	var magic [8]byte
	if n, _ := f.ReadAt(magic[:], 0); n < len(magic) || magic == [8]byte{} {
		return nil, errUnfinished
	}
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("lanes: %w", err)
	}
	// More than the largest lane is not even mapped; Attach says what is wrong.
	mem, err := mapFile(f, int(min(st.Size(), int64(shm.Size(shm.MaxSlots))+1)), protection)
	if err != nil {
		return nil, err
	}
	ring, err := shm.Attach(mem)
	if err != nil {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("lanes: %s: %w; keep it for inspection elsewhere and remove it", f.Name(), err)
	}
	return &mapping{mem: mem, ring: ring}, nil
}

func mapFile(f *os.File, size, protection int) ([]byte, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, size, protection, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("lanes: map %s: %w", f.Name(), err)
	}
	return mem, nil
}

// create makes a lane of an unfinished file whose lock is held. All of its memory
// is reserved now: a file with holes on a full tmpfs would kill us later.
func create(f *os.File, slots int) (*mapping, error) {
	size := shm.Size(slots)
	if err := reserveBytes(f, int64(size)); err != nil {
		_ = f.Truncate(0) // gives back what was reserved
		return nil, fmt.Errorf("lanes: reserve %d bytes for %s: %w; free memory there or make lanes smaller", size, f.Name(), err)
	}
	mem, err := mapFile(f, size, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, err
	}
	ring, err := format(mem, slots)
	if err != nil {
		_ = unix.Munmap(mem)
		return nil, err
	}
	return &mapping{mem: mem, ring: ring}, nil
}

func format(mem []byte, slots int) (*shm.Ring, error) {
	if err := shm.Format(mem, slots); err != nil {
		return nil, err
	}
	return shm.Attach(mem)
}

func reserveBytes(f *os.File, size int64) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	for {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, size); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (m *mapping) unmap() error {
	if m == nil || m.mem == nil {
		return nil
	}
	mem := m.mem
	m.mem, m.ring = nil, nil
	return unix.Munmap(mem)
}

// Backlog is how many records the lanes in a directory hold, those on their way
// in included; 0 if there is no such directory. It changes nothing, and anybody
// may call it. An error names the first lane that cannot be read; the sum is then
// that of the others.
func Backlog(dir string) (int64, error) {
	var sum int64
	var failed error
	err := eachLane(dir, func(_ int, path string) {
		n, err := backlogOf(path)
		if sum += n; failed == nil {
			failed = err
		}
	})
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	return sum, errors.Join(err, failed)
}

func backlogOf(path string) (int64, error) {
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	m, err := attach(f, unix.PROT_READ)
	if errors.Is(err, errUnfinished) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer m.unmap()
	return m.ring.Backlog(), nil
}
