package datagram

import (
	"encoding/binary"
	"errors"
)

const (
	stateVersion = 1
	stateBytes   = 35
)

// ErrBadState says that stored bytes are no BootState.
var ErrBadState = errors.New("datagram: stored boot state is damaged or of an unknown version; restore the store")

// BootState is what the collector remembers of an edge across its restarts.
type BootState struct {
	EdgeID     uint16
	Boot       uint64 // the highest
	Salt       [16]byte
	HighestSeq uint64 // opened of that boot
}

// Append appends the state in the format of FORMAT.md.
func (s *BootState) Append(dst []byte) []byte {
	dst = append(dst, stateVersion)
	dst = binary.LittleEndian.AppendUint16(dst, s.EdgeID)
	dst = binary.LittleEndian.AppendUint64(dst, s.Boot)
	dst = append(dst, s.Salt[:]...)
	return binary.LittleEndian.AppendUint64(dst, s.HighestSeq)
}

// Decode reads what Append wrote; its error is ErrBadState.
func (s *BootState) Decode(b []byte) error {
	if len(b) != stateBytes || b[0] != stateVersion {
		return ErrBadState
	}
	*s = BootState{
		EdgeID: binary.LittleEndian.Uint16(b[1:]), Boot: binary.LittleEndian.Uint64(b[3:]),
		Salt: [16]byte(b[11:27]), HighestSeq: binary.LittleEndian.Uint64(b[27:]),
	}
	return nil
}
