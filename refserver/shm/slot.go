package shm

import (
	"encoding/binary"
	"hash/crc32"
)

// Slot is what Scan hands out.
type Slot struct {
	Pos  uint64
	Kind uint16
	// Payload and Raw, the whole slot, point into the lane's memory and are valid
	// until Free.
	Payload, Raw []byte
	// Corrupt says that the slot cannot be what its producer committed: it has no
	// kind and no payload. It still has to be freed.
	Corrupt bool
}

type slotState int

const (
	slotReserved slotState = iota
	slotCommitted
	slotFreed
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fill writes everything of pos's slot but the commit word. The caller has
// reserved pos; nothing here may allocate, block or panic.
func (r *Ring) fill(pos uint64, epoch uint32, kind uint16, payload []byte) {
	slot := r.mem[r.offset(pos):][:SlotBytes]
	meta := packMeta(epoch, uint16(len(payload)), kind)
	binary.LittleEndian.PutUint64(slot[metaOffset:], meta)
	r.noteStore()
	n := copy(slot[payloadOffset:], payload)
	r.noteStore()
	// Over the copy, for crc32 would move the caller's bytes to the heap.
	binary.LittleEndian.PutUint32(slot[crcOffset:], checksum(pos, meta, slot[payloadOffset:][:n]))
	r.noteStore()
}

// inspect looks at the slot of pos, which is below tail. Only a committed slot
// has content.
func (r *Ring) inspect(pos uint64) (Slot, slotState) {
	offset := r.offset(pos)
	raw := r.mem[offset:][:SlotBytes:SlotBytes]
	damaged := Slot{Pos: pos, Raw: raw, Corrupt: true}
	switch r.load(offset) {
	case pos:
		return Slot{}, slotReserved
	case pos + r.slots:
		return Slot{}, slotFreed
	case pos + 1:
	default:
		return damaged, slotCommitted
	}
	meta := binary.LittleEndian.Uint64(raw[metaOffset:])
	epoch, length, kind := unpackMeta(meta)
	if length > MaxPayloadBytes || epoch != r.Epoch() {
		return damaged, slotCommitted
	}
	payload := raw[payloadOffset:][:length:length]
	if checksum(pos, meta, payload) != binary.LittleEndian.Uint32(raw[crcOffset:]) {
		return damaged, slotCommitted
	}
	return Slot{Pos: pos, Kind: kind, Payload: payload, Raw: raw}, slotCommitted
}

func packMeta(epoch uint32, length, kind uint16) uint64 {
	return uint64(epoch) | uint64(length)<<32 | uint64(kind)<<48
}

func unpackMeta(meta uint64) (epoch uint32, length, kind uint16) {
	return uint32(meta), uint16(meta >> 32), uint16(meta >> 48)
}

// checksum is the CRC-32C of FORMAT.md. The two words go through the table by
// hand: as a slice they would have to be allocated.
func checksum(pos, meta uint64, payload []byte) uint32 {
	crc := foldWord(foldWord(^uint32(0), pos), meta)
	return crc32.Update(^crc, castagnoli, payload)
}

func foldWord(crc uint32, word uint64) uint32 {
	for range wordBytes {
		crc = castagnoli[byte(crc)^byte(word)] ^ crc>>8
		word >>= 8
	}
	return crc
}
