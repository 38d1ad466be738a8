package replicate

import (
	"errors"
	"fmt"
	"strconv"
)

// The names of FORMAT.md, version 1.
const (
	Index    = "pb1:index"  // the stream
	Group    = "central"    // its consumer group
	Consumer = "replicator" // the group's only consumer
	KeyField = "key"        // the only field of an entry of the index
)

// KeyBytes is the length of every arrival's key.
const KeyBytes = 42

const keyPrefix = "pb1:"

// ErrKey says that a string is not the key of an arrival, version 1.
var ErrKey = errors.New("not the key of an arrival (format pb1)")

// Key names one arrival at an edge. The zero Key names none.
type Key struct {
	Edge    uint16
	Boot    uint64 // of the edge process
	Counter uint64 // from 1, in each boot
}

// Append appends the key's KeyBytes bytes to dst.
func (k Key) Append(dst []byte) []byte {
	dst = append(dst, keyPrefix...)
	dst = appendHex(dst, uint64(k.Edge), 4)
	dst = append(dst, ':')
	dst = appendHex(dst, k.Boot, 16)
	dst = append(dst, ':')
	return appendHex(dst, k.Counter, 16)
}

// String is the key as Redis has it.
func (k Key) String() string { return string(k.Append(make([]byte, 0, KeyBytes))) }

func appendHex(dst []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[v>>shift&0xf])
	}
	return dst
}

// ParseKey reads a key. It accepts exactly what Append writes, and returns an
// error around ErrKey for anything else.
func ParseKey(s string) (Key, error) {
	if len(s) != KeyBytes || s[:4] != keyPrefix || s[8] != ':' || s[25] != ':' {
		return Key{}, refusedKey(s)
	}
	edge, okEdge := parseHex(s[4:8])
	boot, okBoot := parseHex(s[9:25])
	counter, okCounter := parseHex(s[26:])
	if !okEdge || !okBoot || !okCounter || counter == 0 {
		return Key{}, refusedKey(s)
	}
	return Key{Edge: uint16(edge), Boot: boot, Counter: counter}, nil
}

func refusedKey(s string) error { return fmt.Errorf("parse %.60q: %w", s, ErrKey) }

// parseHex refuses what strconv would let pass: uppercase digits, signs and
// underscores would give one arrival several keys.
func parseHex(s string) (uint64, bool) {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return v, err == nil
}
