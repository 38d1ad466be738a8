// Package shm is a queue of small records in a piece of memory that survives its
// processes: a lane. One producer process pushes from any number of goroutines,
// one consumer scans and frees, and either may be killed at any instruction.
// FORMAT.md has the bytes and the protocol.
//
// The package knows bytes only. Files, mappings and locks are package lanes'.
package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"
)

const (
	// HeaderBytes is the size of the page before the slots.
	HeaderBytes = 4096
	// SlotBytes is the size of one slot, which holds one record.
	SlotBytes = 512
	// MaxPayloadBytes is the size of the largest record.
	MaxPayloadBytes = SlotBytes - payloadOffset
	// MinSlots and MaxSlots bound the slots of a lane, which are a power of two.
	MinSlots = 2
	MaxSlots = 1 << 20 // 512 MiB
)

// See FORMAT.md.
const (
	magic = 0x0a656e616c2d6270 // "pb-lane\n"
	// Version is the format of lanes that this package writes and reads.
	Version = 1

	magicOffset     = 0
	versionOffset   = 8
	slotBytesOffset = 16
	slotsOffset     = 24
	epochOffset     = 128
	tailOffset      = 256
	headOffset      = 384

	// Within a slot; the commit word comes first.
	metaOffset    = 8 // epoch, length and kind, written as one
	crcOffset     = 16
	payloadOffset = 20

	wordBytes = 8
)

// maxSnapshotTries bounds how often tail is read again because head has moved.
const maxSnapshotTries = 64

var (
	// ErrFull says that the lane has no room until the consumer frees slots.
	ErrFull = errors.New("shm: the lane is full; try again when the consumer has caught up")
	// ErrTooLong says that a record exceeds MaxPayloadBytes.
	ErrTooLong = errors.New("shm: the record is too long for a slot")
	// ErrUndrained says that a lane still holds records, so that it cannot change hands.
	ErrUndrained = errors.New("shm: the lane is not drained; let the consumer free its records first")
	// ErrMemory says that memory cannot hold a lane whatever its content.
	ErrMemory = errors.New("shm: memory cannot hold a lane")
)

// CorruptError says why bytes are not a lane.
type CorruptError struct {
	Field  string // as FORMAT.md names it
	Offset int    // of the field's first byte
	Reason string
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("shm: not a lane: %s at byte %d: %s", e.Field, e.Offset, e.Reason)
}

// Ring is a lane in memory. Its methods may be called from any goroutine.
type Ring struct {
	mem   []byte
	slots uint64
	// stored is called after every store. Tests look at the memory there, which
	// is what a crash between two stores leaves behind.
	stored func()
}

// Size is the number of bytes of a lane with that many slots.
func Size(slots int) int { return HeaderBytes + slots*SlotBytes }

// Format writes a fresh, empty lane of epoch 1, whatever mem held before; slots is
// a power of two, MinSlots..MaxSlots, and mem has Size(slots) bytes. The magic
// comes last: a Format that was cut short leaves no lane.
func Format(mem []byte, slots int) error {
	if err := checkMemory(mem); err != nil {
		return err
	}
	if !validSlots(uint64(max(0, slots))) || len(mem) != Size(slots) {
		return fmt.Errorf("%w: %d slots in %d bytes, expected a power of two from %d to %d in 4096 + 512 × slots",
			ErrMemory, slots, len(mem), MinSlots, MaxSlots)
	}
	r := &Ring{mem: mem, slots: uint64(slots)}
	r.format()
	return nil
}

func (r *Ring) format() {
	r.store(magicOffset, 0)
	clear(r.mem[wordBytes:])
	r.store(versionOffset, Version)
	r.store(slotBytesOffset, SlotBytes)
	r.store(slotsOffset, r.slots)
	r.store(epochOffset, 1)
	for pos := range r.slots {
		r.store(r.offset(pos), pos)
	}
	r.store(magicOffset, magic)
}

// Attach returns the lane that mem holds, which it does not change. The error is
// a *CorruptError, or wraps ErrMemory.
func Attach(mem []byte) (*Ring, error) {
	if err := checkMemory(mem); err != nil {
		return nil, err
	}
	r := &Ring{mem: mem}
	if got := r.load(magicOffset); got != magic {
		return nil, corrupt("magic", magicOffset, "%#016x, expected %#016x", got, uint64(magic))
	}
	if got := r.load(versionOffset); got != Version {
		return nil, corrupt("version", versionOffset, "%d, expected %d", got, Version)
	}
	if got := r.load(slotBytesOffset); got != SlotBytes {
		return nil, corrupt("slot bytes", slotBytesOffset, "%d, expected %d", got, SlotBytes)
	}
	r.slots = r.load(slotsOffset)
	if !validSlots(r.slots) {
		return nil, corrupt("slots", slotsOffset, "%d, expected a power of two from %d to %d", r.slots, MinSlots, MaxSlots)
	}
	if want := Size(int(r.slots)); len(mem) != want {
		return nil, corrupt("slots", slotsOffset, "%d of them take %d bytes, here are %d", r.slots, want, len(mem))
	}
	if epoch := r.load(epochOffset); epoch == 0 || epoch > math.MaxUint32 {
		return nil, corrupt("epoch", epochOffset, "%d, expected 1 to %d", epoch, uint32(math.MaxUint32))
	}
	if head, tail := r.positions(); tail-head > r.slots {
		return nil, corrupt("tail", tailOffset, "%d, expected %d (head) to %d more", tail, head, r.slots)
	}
	return r, nil
}

func corrupt(field string, offset int, format string, args ...any) error {
	return &CorruptError{Field: field, Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// checkMemory makes sure that atomic words can live in mem.
func checkMemory(mem []byte) error {
	switch {
	case len(mem) < HeaderBytes:
		return fmt.Errorf("%w: %d bytes are less than the header's %d", ErrMemory, len(mem), HeaderBytes)
	case uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%wordBytes != 0:
		return fmt.Errorf("%w: it is not aligned to %d bytes", ErrMemory, wordBytes)
	case binary.NativeEndian.Uint16([]byte{1, 0}) != 1:
		return fmt.Errorf("%w: this machine is not little-endian", ErrMemory)
	}
	return nil
}

func validSlots(n uint64) bool { return n >= MinSlots && n <= MaxSlots && n&(n-1) == 0 }

// Slots is the number of records that fit.
func (r *Ring) Slots() int { return int(r.slots) }

// Epoch counts the producer processes that the lane has had, from 1.
func (r *Ring) Epoch() uint32 { return uint32(r.load(epochOffset)) }

// Backlog is tail − head, 0..Slots(): how many records are reserved or committed
// and not yet freed.
func (r *Ring) Backlog() int64 {
	head, tail := r.positions()
	return min(max(0, int64(tail-head)), int64(r.slots))
}

// NextEpoch makes the lane a new producer's: every slot is free for its next
// position and the epoch is one higher. Positions go on. Only the holder of the
// producer's lock may call it, before its first Producer. The error is
// ErrUndrained.
func (r *Ring) NextEpoch() error {
	head, tail := r.positions()
	if head != tail {
		return ErrUndrained
	}
	// In an undamaged lane this changes nothing.
	for pos := tail; pos != tail+r.slots; pos++ {
		if r.load(r.offset(pos)) != pos {
			r.store(r.offset(pos), pos)
		}
	}
	r.store(epochOffset, uint64(max(1, r.Epoch()+1))) // 1 follows the last
	return nil
}

// positions reads head and tail as they were at one moment.
func (r *Ring) positions() (head, tail uint64) {
	head = r.load(headOffset)
	for range maxSnapshotTries {
		tail = r.load(tailOffset)
		again := r.load(headOffset)
		if again == head {
			break
		}
		head = again
	}
	return head, tail
}

// offset is where the slot of a position begins, and with it its commit word.
func (r *Ring) offset(pos uint64) uint64 { return HeaderBytes + (pos&(r.slots-1))*SlotBytes }

// word is an aligned word of the memory: the slicing checks that it lies within.
func (r *Ring) word(offset uint64) *uint64 {
	return (*uint64)(unsafe.Pointer(unsafe.SliceData(r.mem[offset : offset+wordBytes])))
}

func (r *Ring) load(offset uint64) uint64 { return atomic.LoadUint64(r.word(offset)) }

func (r *Ring) store(offset, value uint64) {
	atomic.StoreUint64(r.word(offset), value)
	r.noteStore()
}

func (r *Ring) noteStore() {
	if r.stored != nil {
		r.stored()
	}
}
