package lanes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/postbench/postbench/refserver/shm"
)

// Lane is a producer process's own lane.
type Lane struct {
	path string
	file *os.File // holds the lock
	// mu lets Close wait for pushes: after it the lane may be recovered, and a
	// record committed then would be lost.
	mu       sync.RWMutex
	mapping  *mapping
	producer *shm.Producer // nil once closed
}

// OpenProducer takes a drained lane whose producer is dead, or makes a new one,
// and holds it until Close or this process's death. The error wraps ErrNoLane,
// ErrOptions or the operating system's.
func OpenProducer(o Options) (*Lane, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("lanes: make the directory: %w", err)
	}
	var alive, undrained, unreadable int
	for number := range o.MaxLanes {
		lane, err := take(filepath.Join(o.Dir, laneName(number)), o)
		var damage *shm.CorruptError
		switch {
		case err == nil:
			return lane, nil
		case errors.Is(err, errAlive):
			alive++
		case errors.Is(err, shm.ErrUndrained):
			undrained++
		case errors.As(err, &damage):
			unreadable++
		default:
			return nil, err
		}
	}
	return nil, fmt.Errorf("lanes: %s: %d lanes: %d in use, %d undrained, %d unreadable: %w",
		o.Dir, o.MaxLanes, alive, undrained, unreadable, ErrNoLane)
}

var errAlive = errors.New("lanes: the lane has a living producer")

// take makes a lane file this process's, if it may.
func take(path string, o Options) (_ *Lane, err error) {
	f, err := openOrCreate(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // and with it the lock
		}
	}()
	if locked, err := tryLock(f); err != nil || !locked {
		return nil, errors.Join(err, ifNot(locked, errAlive))
	}
	if !isStill(f, path) {
		return nil, fmt.Errorf("lanes: %s was removed while it was opened; leave lane files alone", path)
	}
	m, err := attach(f, unix.PROT_READ|unix.PROT_WRITE)
	switch {
	case errors.Is(err, errUnfinished):
		m, err = create(f, o.Slots)
	case err == nil:
		err = m.ring.NextEpoch()
	}
	if err != nil {
		return nil, errors.Join(err, m.unmap())
	}
	return &Lane{path: path, file: f, mapping: m, producer: m.ring.Producer(o.HighWater)}, nil
}

func ifNot(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

// isStill makes sure that others find the file that was locked.
func isStill(f *os.File, path string) bool {
	opened, err := f.Stat()
	named, err2 := os.Lstat(path)
	return err == nil && err2 == nil && os.SameFile(opened, named)
}

// TryPush puts a record, at most MaxRecordBytes, into the lane; nil means that it
// survives this process. The error is shm.ErrFull, shm.ErrTooLong or ErrClosed. It
// neither blocks nor allocates, and any number of goroutines may call it.
func (l *Lane) TryPush(record []byte) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.producer == nil {
		return ErrClosed
	}
	return l.producer.TryPush(kindRecord, record)
}

// Path is the lane's file.
func (l *Lane) Path() string { return l.path }

// Close lets go of the lane, when the pushes under way have ended. The file stays,
// with what it holds. Closing again does nothing.
func (l *Lane) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.producer == nil {
		return nil
	}
	l.producer = nil
	return errors.Join(l.mapping.unmap(), l.file.Close())
}
