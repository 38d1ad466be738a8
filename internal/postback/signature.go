package postback

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// SigPrefix separates the signed part of a query from its signature.
const SigPrefix = "&sig="

// sigSuffixBytes is the length of SigPrefix and the 64 digits after it.
const sigSuffixBytes = len(SigPrefix) + 2*sha256.Size

// macVersion starts every MAC input and holds, as its last byte, the separator.
var macVersion = []byte("pb1\n")

// mac is one keyed HMAC-SHA256 with the memory for its result. Keying it
// costs more than a request's MAC and allocates, so it is kept and reset.
type mac struct {
	hmac hash.Hash
	sum  [sha256.Size]byte
}

func newMAC(secret []byte) *mac { return &mac{hmac: hmac.New(sha256.New, secret)} }

// compute returns the MAC of a request (FORMAT.md), valid until the next call.
func (m *mac) compute(method, path, query []byte) []byte {
	newline := macVersion[len(macVersion)-1:]
	m.hmac.Reset()
	m.hmac.Write(macVersion)
	m.hmac.Write(method)
	m.hmac.Write(newline)
	m.hmac.Write(path)
	m.hmac.Write(newline)
	m.hmac.Write(query)
	return m.hmac.Sum(m.sum[:0])
}

// CheckKey says what is wrong with a key that came from outside: kid must have
// 1 to MaxKIDBytes bytes of printable ASCII, secret must not be empty.
// NewSigner and Keyring.Add panic on keys that it refuses.
func CheckKey(kid string, secret []byte) error {
	switch {
	case kid == "":
		return errors.New("postback: key: the key id (kid) is empty")
	case len(kid) > MaxKIDBytes:
		return fmt.Errorf("postback: key %.*q: the key id (kid) is %w: %d bytes, at most %d",
			MaxKIDBytes, kid, ErrTooLong, len(kid), MaxKIDBytes)
	case !isPrintable([]byte(kid)):
		return fmt.Errorf("postback: key %q: the key id (kid) must be printable ASCII", kid)
	case len(secret) == 0:
		return fmt.Errorf("postback: key %q: the secret is empty, anyone could sign", kid)
	}
	return nil
}

// Signer signs the requests of one partner. It is not safe for concurrent use:
// give each worker its own.
type Signer struct {
	kid []byte
	mac *mac
}

// NewSigner returns a signer for a key that CheckKey accepts.
func NewSigner(kid string, secret []byte) *Signer {
	mustKey(kid, secret)
	return &Signer{kid: []byte(kid), mac: newMAC(secret)}
}

// KID is the key id to send along, for Fields.KID. Read only.
func (s *Signer) KID() []byte { return s.kid }

// AppendSignature appends the 64 hexadecimal digits that sign the request. path
// and rawQueryBeforeSig are the bytes of the request line, escapes and all,
// without the "?" between them and without SigPrefix behind them.
func (s *Signer) AppendSignature(dst, method, path, rawQueryBeforeSig []byte) []byte {
	return hex.AppendEncode(dst, s.mac.compute(method, path, rawQueryBeforeSig))
}

// Keyring holds the keys of all partners and verifies their requests. Add keys
// first; after the last Add, Verify is safe for concurrent use.
type Keyring struct {
	keys map[string]*sync.Pool // kid → idle *mac of that key
	// nobody stands in for unknown key ids.
	nobody *sync.Pool
}

// NewKeyring returns an empty keyring.
func NewKeyring() *Keyring {
	return &Keyring{
		keys:   make(map[string]*sync.Pool),
		nobody: newMACPool(make([]byte, sha256.Size)),
	}
}

// Add adds a key that CheckKey accepts, or replaces the secret of its kid.
func (k *Keyring) Add(kid string, secret []byte) {
	mustKey(kid, secret)
	k.keys[kid] = newMACPool(append([]byte(nil), secret...))
}

func newMACPool(secret []byte) *sync.Pool {
	return &sync.Pool{New: func() any { return newMAC(secret) }}
}

// Verify checks a request that p.ParseSigned accepted. method, path and
// rawQuery are the bytes of the request line, rawQuery the same that was
// parsed, sig included. It returns nil or ErrBadSignature.
//
// Signatures are compared in constant time, and an unknown kid costs the same
// MAC as a known one, so that nobody can probe for either. Freshness of p.TSUnixS and replays are the caller's.
func (k *Keyring) Verify(method, path, rawQuery []byte, p *Postback) error {
	signedBytes := len(rawQuery) - sigSuffixBytes
	if signedBytes < 0 || string(rawQuery[signedBytes:signedBytes+len(SigPrefix)]) != SigPrefix {
		return ErrBadSignature // not what ParseSigned accepted
	}
	pool, known := k.keys[string(p.KID)]
	if !known {
		pool = k.nobody
	}
	m := pool.Get().(*mac)
	equal := subtle.ConstantTimeCompare(m.compute(method, path, rawQuery[:signedBytes]), p.Sig[:])
	pool.Put(m)
	if !known || equal != 1 {
		return ErrBadSignature
	}
	return nil
}

func mustKey(kid string, secret []byte) {
	if err := CheckKey(kid, secret); err != nil {
		panic("BUG: key was not checked: " + err.Error())
	}
}
