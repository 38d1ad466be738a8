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

// Dir is the consumer of all lanes in a directory. One goroutine uses it; only
// Backlog may be called from others.
type Dir struct {
	path  string
	lock  *os.File // holds the consumer's lock
	first int      // index of the lane that the next Visit begins with
	stats Stats

	mu    sync.Mutex // for Backlog: guards changes of lanes
	lanes []*lane
	known map[int]*lane // by number
}

// lane is one as its consumer sees it.
type lane struct {
	number   int
	file     *os.File // unlocked while the producer lives
	mapping  *mapping
	consumer *shm.Consumer
}

// OpenDir takes the lanes of a directory for this process; of the options only Dir
// counts. What was handed out and not freed before, is handed out again. The error
// wraps ErrConsumed, ErrOptions or the operating system's.
func OpenDir(o Options) (*Dir, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("lanes: make the directory: %w", err)
	}
	lock, err := openOrCreate(filepath.Join(o.Dir, lockName))
	if err != nil {
		return nil, err
	}
	if locked, err := tryLock(lock); err != nil || !locked {
		_ = lock.Close()
		return nil, errors.Join(err, ifNot(locked, fmt.Errorf("lanes: %s: %w", o.Dir, ErrConsumed)))
	}
	d := &Dir{path: o.Dir, lock: lock, known: make(map[int]*lane)}
	d.find()
	return d, nil
}

// Visit looks for new lanes and hands out records that have not been handed out
// yet, at most max over all lanes, each lane's in order. Lanes of dead producers
// are recovered; one whose producer lives, or is merely stopped, is only read.
// Damaged records go to quarantine and are not handed out. A visit may call Free.
func (d *Dir) Visit(max int, visit func(Entry)) Stats {
	d.stats.Dead, d.stats.Unreadable, d.stats.Err = 0, 0, nil
	d.find()
	d.stats.Lanes = len(d.lanes)
	for i := range d.lanes {
		// Another one begins each time, so that none is starved by max.
		l := d.lanes[(d.first+i)%len(d.lanes)]
		d.recoverDead(l)
		max -= l.consumer.Scan(max, func(s shm.Slot) {
			if s.Corrupt || s.Kind != kindRecord {
				d.quarantine(l, s)
				return
			}
			visit(Entry{Lane: l.number, Pos: s.Pos, Record: s.Payload})
		})
	}
	d.first++
	return d.stats
}

// find attaches lanes that it does not know yet.
func (d *Dir) find() {
	err := eachLane(d.path, func(number int, path string) {
		if d.known[number] != nil {
			return
		}
		l, err := openLane(number, path)
		switch {
		case errors.Is(err, errUnfinished): // next time
		case err != nil:
			d.stats.Unreadable++
			d.note(err)
		default:
			d.known[number] = l
			d.mu.Lock()
			d.lanes = append(d.lanes, l)
			d.mu.Unlock()
		}
	})
	d.note(err)
}

func openLane(number int, path string) (*lane, error) {
	f, err := openRegular(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	m, err := attach(f, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &lane{number: number, file: f, mapping: m, consumer: m.ring.Consumer()}, nil
}

func (d *Dir) note(err error) {
	if d.stats.Err == nil {
		d.stats.Err = err
	}
}

// recoverDead frees what a dead producer left torn. A drained lane is not even
// tried: taking its lock, for a moment, could turn a new producer away.
func (d *Dir) recoverDead(l *lane) {
	if l.mapping.ring.Backlog() == 0 {
		return
	}
	dead, err := tryLock(l.file)
	if err != nil || !dead {
		d.note(err)
		return
	}
	d.stats.Dead++
	d.stats.Torn += l.consumer.Recover()
	d.note(unlock(l.file))
}

// Free gives the slot of an entry back to its producer. The entry's record is
// invalid from now on. Freeing it again does nothing.
func (d *Dir) Free(number int, pos uint64) {
	l := d.known[number]
	if l == nil {
		panic(fmt.Sprintf("BUG: lanes: Free of lane %d, from which nothing was handed out", number))
	}
	l.consumer.Free(pos)
}

// Backlog is how many records the lanes known by now hold, those on their way in
// and those handed out but not freed included.
func (d *Dir) Backlog() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var sum int64
	for _, l := range d.lanes {
		sum += l.mapping.ring.Backlog()
	}
	return sum
}

// Close lets go of the directory. Records that were not freed stay in their lanes;
// entries are invalid from now on. Closing again does nothing.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return nil
	}
	var errs []error
	for _, l := range d.lanes {
		errs = append(errs, l.mapping.unmap(), l.file.Close())
	}
	d.lanes, d.known = nil, nil
	errs = append(errs, d.lock.Close())
	d.lock = nil
	return errors.Join(errs...)
}
