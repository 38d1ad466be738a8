// Package lanes is the queue between edge processes and the batcher: a directory
// of lane files in shared memory (package shm has their bytes), one for each
// producer process.
//
//	DIR/lane-0000.ring    a lane; its flock is held by its producer for life
//	DIR/batcher.lock      its flock is held by the one consumer
//	DIR/quarantine/       slots that were damaged: lane-0000-POSITION.slot, 512 bytes each
//
// The kernel drops the lock of a producer that dies, however it dies, and of
// nobody else: so a lane is recovered exactly when its lock can be taken, and a
// stopped producer keeps its lane for as long as it likes. Lane files are never
// removed: a drained one becomes the next producer's.
package lanes

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/refserver/shm"
)

const (
	// DefaultSlots and DefaultMaxLanes make 64 MiB in all.
	DefaultSlots    = 16384
	DefaultMaxLanes = 8
	// LanesLimit bounds Options.MaxLanes.
	LanesLimit = 1000

	// MaxRecordBytes is the size of the largest record.
	MaxRecordBytes = shm.MaxPayloadBytes

	// kindRecord is the only kind of slot: a binary record of package postback.
	kindRecord = 1

	lockName       = "batcher.lock"
	quarantineName = "quarantine"
	// maxQuarantined bounds the files there; what comes later is only counted.
	maxQuarantined = 1024
)

var (
	// ErrNoLane says that every lane has a living producer or undrained records.
	ErrNoLane = errors.New("no lane is free; let the batcher drain them or allow more lanes")
	// ErrConsumed says that the directory has a consumer already.
	ErrConsumed = errors.New("another batcher reads these lanes; stop it or use another directory")
	// ErrClosed says that the lane has been closed.
	ErrClosed = errors.New("lanes: the lane is closed")
	// ErrOptions says that Options are out of range.
	ErrOptions = errors.New("lanes: bad options")
)

// Options say where lanes are and how large.
type Options struct {
	Dir string // is made if missing; on tmpfs, /dev/shm for one, lanes are memory
	// Slots is the number of records that a new lane holds, a power of two; 0
	// means DefaultSlots. Lanes that exist keep theirs.
	Slots int
	// MaxLanes is how many lanes producers may make, at most LanesLimit; 0 means
	// DefaultMaxLanes. Restarted producers need lanes while those of their
	// predecessors are drained, so there should be two for each.
	MaxLanes int
	// HighWater is the backlog at which a lane counts as full; 0 means all slots.
	HighWater int
}

// SlotsFor is the number of slots that hold what comes at that rate for so long,
// within what a lane may have.
func SlotsFor(bufferFor time.Duration, ratePerS float64) int {
	slots, want := shm.MinSlots, bufferFor.Seconds()*ratePerS
	for float64(slots) < want && slots < shm.MaxSlots {
		slots *= 2
	}
	return slots
}

func (o Options) withDefaults() (Options, error) {
	if o.Slots == 0 {
		o.Slots = DefaultSlots
	}
	if o.MaxLanes == 0 {
		o.MaxLanes = DefaultMaxLanes
	}
	switch {
	case o.Dir == "":
		return o, fmt.Errorf("%w: no directory; name one", ErrOptions)
	case o.Slots < shm.MinSlots || o.Slots > shm.MaxSlots || o.Slots&(o.Slots-1) != 0:
		return o, fmt.Errorf("%w: %d slots; take a power of two from %d to %d", ErrOptions, o.Slots, shm.MinSlots, shm.MaxSlots)
	case o.MaxLanes < 1 || o.MaxLanes > LanesLimit:
		return o, fmt.Errorf("%w: %d lanes; take 1 to %d", ErrOptions, o.MaxLanes, LanesLimit)
	case o.HighWater < 0 || o.HighWater > math.MaxInt32:
		return o, fmt.Errorf("%w: high water %d; take 0 (all slots) or more", ErrOptions, o.HighWater)
	}
	return o, nil
}

// Entry is a record on its way out of a lane.
type Entry struct {
	Lane   int
	Pos    uint64
	Record []byte // points into the lane and is valid until Free
}

// Stats is what Visit found.
type Stats struct {
	Lanes int // read in this visit
	Dead  int // of them, those that still held records of a dead producer
	// Unreadable are files that are called lanes and are none, or none that we
	// may read.
	Unreadable int
	// Torn counts, since OpenDir, slots that dead producers had not committed:
	// nobody was told that those records are safe.
	Torn int64
	// Corrupt counts, since OpenDir, committed records that were damaged. This
	// is loss, to be shouted about.
	Corrupt int64
	// Err is the first thing that went wrong in this visit, nil if nothing did:
	// an unreadable lane, or a damaged slot that could not be quarantined.
	Err error
}

func laneName(number int) string { return fmt.Sprintf("lane-%04d.ring", number) }

// laneNumber is the number in a lane's file name.
func laneNumber(name string) (number int, ok bool) {
	digits, isLane := strings.CutPrefix(name, "lane-")
	digits, isRing := strings.CutSuffix(digits, ".ring")
	number, err := strconv.Atoi(digits)
	// There is one way to write a number; others are somebody else's files.
	ok = isLane && isRing && err == nil && number >= 0 && number < LanesLimit && laneName(number) == name
	return number, ok
}

// eachLane calls f for the lane files of a directory, in the order of their
// numbers.
func eachLane(dir string, f func(number int, path string)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("lanes: find lanes: %w", err)
	}
	for _, e := range entries {
		if number, ok := laneNumber(e.Name()); ok {
			f(number, filepath.Join(dir, e.Name()))
		}
	}
	return nil
}
