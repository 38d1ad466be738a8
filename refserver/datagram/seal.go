package datagram

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	keyBytes = 32 // AES-256

	// The directions have keys of their own, so that neither end's datagrams
	// can be reflected to it.
	dataLabel = "postbench datagram 1 data"
	ackLabel  = "postbench datagram 1 ack"
)

var (
	// ErrNoKey says that an edge's pre-shared key is all zero: never set.
	ErrNoKey = errors.New("datagram: the edge's pre-shared key is all zero; set it")
	// ErrNoBoot says that a boot has no id or no salt.
	ErrNoBoot = errors.New("datagram: the boot needs an id above 0 and a random salt")
)

// Edge is who sends, and the secret that it shares with central.
type Edge struct {
	ID    uint16
	KeyID uint16 // tells an edge's keys apart while they are being replaced
	PSK   [32]byte
}

// Boot is one life of a sender. Its ID rises from life to life, whatever the
// clock does; Salt is random.
type Boot struct {
	ID   uint64
	Salt [16]byte
}

func (e *Edge) check() error {
	if e.PSK == [32]byte{} {
		return fmt.Errorf("edge %d, key %d: %w", e.ID, e.KeyID, ErrNoKey)
	}
	return nil
}

func (b *Boot) check() error {
	if b.ID == 0 || b.Salt == [16]byte{} {
		return ErrNoBoot
	}
	return nil
}

// newAEAD derives the key of one direction from the boots that it covers.
func newAEAD(e *Edge, label string, boots ...Boot) (cipher.AEAD, error) {
	var salt []byte
	for _, b := range boots {
		salt = binary.LittleEndian.AppendUint64(salt, b.ID)
		salt = append(salt, b.Salt[:]...)
	}
	info := binary.LittleEndian.AppendUint16([]byte(label), e.KeyID)
	info = binary.LittleEndian.AppendUint16(info, e.ID)
	key, err := hkdf.Key(sha256.New, e.PSK[:], salt, string(info), keyBytes)
	if err != nil {
		return nil, fmt.Errorf("datagram: derive the key of edge %d: %w", e.ID, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("datagram: key of edge %d: %w", e.ID, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("datagram: key of edge %d: %w", e.ID, err)
	}
	return aead, nil
}

// nonce is kept beside the AEAD that uses it: as a local variable it would be
// allocated for every call through the interface.
type nonce [12]byte

func (n *nonce) of(seq uint64) []byte {
	binary.LittleEndian.PutUint64(n[4:], seq)
	return n[:]
}

// sealing is what both directions do: a header, then the body under it.
type sealing struct {
	aead    cipher.AEAD
	header  header // of the last datagram
	nonce   nonce
	lastSeq uint64
}

func (s *sealing) seal(dst []byte, seq uint64, count int, body []byte) []byte {
	switch {
	case len(body) > MaxBodyBytes:
		panic(fmt.Sprintf("BUG: datagram: body of %d bytes, at most %d fit", len(body), MaxBodyBytes))
	case count < 0 || count > len(body):
		panic(fmt.Sprintf("BUG: datagram: %d entries in a body of %d bytes", count, len(body)))
	case seq <= s.lastSeq:
		// The same nonce for two bodies would give away both and the key of the tags.
		panic(fmt.Sprintf("BUG: datagram: sequence number %d after %d", seq, s.lastSeq))
	}
	s.lastSeq, s.header.seq, s.header.count = seq, seq, uint16(count)
	start := len(dst)
	dst = s.header.append(dst)
	return s.aead.Seal(dst, s.nonce.of(seq), body, dst[start:])
}

// Sealer makes an edge's data datagrams, for one boot.
type Sealer struct{ sealing }

// NewSealer derives the boot's key. Its errors are ErrNoKey and ErrNoBoot.
func NewSealer(e Edge, b Boot) (*Sealer, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	aead, err := newAEAD(&e, dataLabel, b)
	if err != nil {
		return nil, err
	}
	return &Sealer{sealing{aead: aead, header: header{keyID: e.KeyID, edgeID: e.ID, boot: b}}}, nil
}

// AskForAcks marks all datagrams from now on as wanting acks.
func (s *Sealer) AskForAcks() { s.header.flags |= flagWantsAck }

// Seal appends the datagram with the given body of count frames. It does not
// allocate if dst has room for Overhead + len(body) bytes. Body may lie where
// the sealed one will: HeaderBytes after dst's end; otherwise it must not
// overlap dst's spare room. Seq begins at 1 and rises with every call, whether
// the datagram is then sent or not. A seq that does not rise, or a body beyond
// MaxBodyBytes, is the caller's bug and panics.
func (s *Sealer) Seal(dst []byte, seq uint64, count int, body []byte) []byte {
	return s.seal(dst, seq, count, body)
}
