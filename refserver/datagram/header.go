package datagram

import (
	"encoding/binary"
	"errors"
)

const (
	// MaxBytes bounds a datagram, the UDP payload: it fits every path of the
	// internet (and IPv6's minimum MTU of 1,280) without fragments.
	MaxBytes = 1200
	// HeaderBytes is the size of the clear, authenticated header.
	HeaderBytes = 44
	// TagBytes is the size of the AEAD's tag at the end.
	TagBytes = 16
	// Overhead is what a datagram has besides its body.
	Overhead = HeaderBytes + TagBytes
	// MaxBodyBytes is the longest body.
	MaxBodyBytes = MaxBytes - Overhead

	// Version is the format of datagrams that this package writes and reads.
	Version = 1

	flagAck      = 1 << 0
	flagWantsAck = 1 << 1
	knownFlags   = flagAck | flagWantsAck

	seqOffset = 20
)

// Why a datagram is refused. Sentinels without wrapping: whoever floods a
// collector with rubbish must not make it allocate.
var (
	ErrShort        = errors.New("datagram: refused: shorter than header and tag")
	ErrLong         = errors.New("datagram: refused: longer than 1200 bytes")
	ErrMagic        = errors.New("datagram: refused: does not begin with the magic bytes")
	ErrVersion      = errors.New("datagram: refused: unknown version, this reader knows 1")
	ErrFlags        = errors.New("datagram: refused: flags of the other direction, or unknown ones")
	ErrUnknownEdge  = errors.New("datagram: refused: no key with this edge id and key id")
	ErrOldBoot      = errors.New("datagram: refused: a newer boot has replaced the sender's")
	ErrForged       = errors.New("datagram: refused: not sealed with the key of this edge and boot")
	ErrReplay       = errors.New("datagram: refused: this sequence number has been taken already")
	ErrBehindWindow = errors.New("datagram: refused: too far behind the highest sequence number")
	ErrBadBody      = errors.New("datagram: refused: the body is not what its header says")
)

// Reason is the name of a refusal in FORMAT.md and in counts, such as
// "forged"; "" for an error that is none.
func Reason(err error) string {
	for _, r := range [...]struct {
		err  error
		name string
	}{
		{ErrShort, "short"}, {ErrLong, "long"}, {ErrMagic, "magic"}, {ErrVersion, "version"}, {ErrFlags, "flags"},
		{ErrUnknownEdge, "unknown_edge"}, {ErrOldBoot, "old_boot"}, {ErrForged, "forged"}, {ErrReplay, "replay"},
		{ErrBehindWindow, "behind_window"}, {ErrBadBody, "bad_body"},
	} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return ""
}

// header is the clear part of a datagram.
type header struct {
	flags  byte
	keyID  uint16
	edgeID uint16
	count  uint16
	boot   Boot
	seq    uint64
}

func (h *header) append(dst []byte) []byte {
	dst = append(dst, 'p', 'b', 'd', 'g', Version, h.flags)
	dst = binary.LittleEndian.AppendUint16(dst, h.keyID)
	dst = binary.LittleEndian.AppendUint16(dst, h.edgeID)
	dst = binary.LittleEndian.AppendUint16(dst, h.count)
	dst = binary.LittleEndian.AppendUint64(dst, h.boot.ID)
	dst = binary.LittleEndian.AppendUint64(dst, h.seq)
	return append(dst, h.boot.Salt[:]...)
}

// parse reads the header of a whole datagram and believes nothing: whether the
// header is authentic, only the tag can tell.
func (h *header) parse(datagram []byte) error {
	switch {
	case len(datagram) < Overhead:
		return ErrShort
	case len(datagram) > MaxBytes:
		return ErrLong
	case string(datagram[:4]) != "pbdg":
		return ErrMagic
	case datagram[4] != Version:
		return ErrVersion
	case datagram[5]&^knownFlags != 0:
		return ErrFlags
	}
	h.flags = datagram[5]
	h.keyID = binary.LittleEndian.Uint16(datagram[6:])
	h.edgeID = binary.LittleEndian.Uint16(datagram[8:])
	h.count = binary.LittleEndian.Uint16(datagram[10:])
	h.boot.ID = binary.LittleEndian.Uint64(datagram[12:])
	h.seq = binary.LittleEndian.Uint64(datagram[seqOffset:])
	copy(h.boot.Salt[:], datagram[28:])
	return nil
}

// RecordCount is the number of records that a datagram says it carries: the
// clear count of its header, which only the collector can verify. It is 0 for
// anything but data of a known version.
func RecordCount(datagram []byte) int {
	var h header
	if h.parse(datagram) != nil || h.flags&flagAck != 0 {
		return 0
	}
	return int(h.count)
}
