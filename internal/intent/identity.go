package intent

import (
	"encoding/base32"
	"encoding/binary"
)

// Limits of an identity. 24 bits of run number and 40 bits of index fill the
// 64-bit block that is permuted.
const (
	MaxRunNumber = 1<<24 - 1
	MaxIndex     = 1<<40 - 1
	// IDBytes is the length of every generated click id and txid, close to
	// what trackers really use (Voluum: 26 characters, TUNE: 30).
	IDBytes = 26

	feistelRounds = 6
)

// Domain separates kinds of ids made from one seed, so that a txid is never
// taken for a click id.
type Domain uint64

const (
	// DomainClick makes click ids.
	DomainClick Domain = iota + 1
	// DomainTx makes transaction ids.
	DomainTx
)

// Codec writes (run number, index) as an id and reads it back. An id is 128
// bits in lower-case base32hex: the permuted block and a keyed tag over it.
// The tag tells our ids from anybody else's: a foreign id passes with
// probability 2^-64.
type Codec struct {
	keys     [feistelRounds]uint64
	tagKey   uint64
	encoding *base32.Encoding
}

// NewCodec returns the codec of a seed and a domain.
func NewCodec(seed uint64, domain Domain) Codec {
	c := Codec{encoding: base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)}
	// Not mix64(seed) ^ mix64(domain): that gives seed 1's txids the keys of
	// seed 2's click ids.
	state := mix64(mix64(seed) + uint64(domain))
	for i := range c.keys {
		state = mix64(state)
		c.keys[i] = state
	}
	c.tagKey = mix64(state)
	return c
}

// Append writes the id of intent index of run runNumber, IDBytes long, to
// dst. Both must be within their limits.
func (c *Codec) Append(dst []byte, runNumber uint32, index uint64) []byte {
	if runNumber > MaxRunNumber || index > MaxIndex {
		panic("BUG: identity outside its limits")
	}
	block := c.permute(uint64(runNumber)<<40 | index)
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], block)
	binary.BigEndian.PutUint64(raw[8:], mix64(block^c.tagKey))
	return c.encoding.AppendEncode(dst, raw[:])
}

// Decode reads an id back. ok is false for anything that Append of this codec
// never writes.
func (c *Codec) Decode(id []byte) (runNumber uint32, index uint64, ok bool) {
	if len(id) != IDBytes {
		return 0, 0, false
	}
	var raw [IDBytes]byte // Decode wants room for whole groups
	n, err := c.encoding.Decode(raw[:], id)
	if err != nil || n != 16 {
		return 0, 0, false
	}
	block := binary.BigEndian.Uint64(raw[:8])
	if binary.BigEndian.Uint64(raw[8:16]) != mix64(block^c.tagKey) {
		return 0, 0, false
	}
	var canonical [IDBytes]byte
	// 26 characters hold two bits more than the id: refuse the spellings that
	// differ only there.
	if string(c.encoding.AppendEncode(canonical[:0], raw[:16])) != string(id) {
		return 0, 0, false
	}
	plain := c.unpermute(block)
	return uint32(plain >> 40), plain & MaxIndex, true
}

// permute is a balanced Feistel network over two 32-bit halves (Luby, Rackoff
// 1988: four rounds of good functions already give a permutation that cannot
// be told from random; six leave a margin for a cheap round function).
func (c *Codec) permute(x uint64) uint64 {
	left, right := uint32(x>>32), uint32(x)
	for _, key := range c.keys {
		left, right = right, left^uint32(mix64(uint64(right)^key))
	}
	return uint64(left)<<32 | uint64(right)
}

func (c *Codec) unpermute(x uint64) uint64 {
	left, right := uint32(x>>32), uint32(x)
	for i := len(c.keys) - 1; i >= 0; i-- {
		left, right = right^uint32(mix64(uint64(left)^c.keys[i])), left
	}
	return uint64(left)<<32 | uint64(right)
}
