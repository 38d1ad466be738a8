package postback

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"sync"
)

// DialectReader reads the postbacks of one partner. It is safe for concurrent
// use.
type DialectReader struct {
	shape   *dialectShape
	partner []byte
	// sigBytes is how long the token or the signature is, before its encoding.
	sigBytes  int
	secret    []byte
	keys      *Keyring  // of AuthHMACSHA256: one key
	macs      sync.Pool // of *sha1MAC, of AuthHMACSHA1
	digesters sync.Pool // of *digester, of AuthMD5
	ok, dup   string
}

// sha1MAC is one keyed HMAC-SHA1 with the memory for its result.
type sha1MAC struct {
	hmac hash.Hash
	sum  [sha1.Size]byte
}

func newSHA1MAC(secret []byte) *sha1MAC { return &sha1MAC{hmac: hmac.New(sha1.New, secret)} }

// compute returns the MAC of path?query, valid until the next call.
func (m *sha1MAC) compute(path, query []byte) []byte {
	m.hmac.Reset()
	m.hmac.Write(path)
	m.hmac.Write(questionMark)
	m.hmac.Write(query)
	return m.hmac.Sum(m.sum[:0])
}

// questionMark stands between path and query, in raw targets.
var questionMark = []byte("?")

// digester has the memory to put an md5's input together.
type digester struct {
	input []byte
	room  [MaxClickIDBytes]byte // for the longest value
}

func newDialectReader(d *Dialect) (*DialectReader, error) {
	shape, err := compileDialect(d)
	if err != nil {
		return nil, err
	}
	r := &DialectReader{shape: shape, partner: []byte(d.Partner), ok: d.OK, dup: d.Duplicate, secret: append([]byte(nil), d.Secret...)}
	if r.ok == "" {
		r.ok = DefaultOK
	}
	if r.dup == "" {
		r.dup = DefaultDuplicate
	}
	switch shape.scheme {
	case AuthToken:
		r.sigBytes = tokenBytes
	case AuthHMACSHA256:
		r.sigBytes, r.keys = sha256.Size, NewKeyring()
		r.keys.Add(d.Partner, r.secret)
	case AuthHMACSHA1:
		r.sigBytes = sha1.Size
		r.macs.New = func() any { return newSHA1MAC(r.secret) }
	case AuthMD5:
		r.sigBytes = md5.Size
		r.digesters.New = func() any { return &digester{} }
	}
	return r, nil
}

// OK is the answer to a new conversion; "OK" if r is nil.
func (r *DialectReader) OK() string {
	if r == nil {
		return DefaultOK
	}
	return r.ok
}

// Duplicate is the answer to one that was there already; "DUP" if r is nil.
func (r *DialectReader) Duplicate() string {
	if r == nil {
		return DefaultDuplicate
	}
	return r.dup
}

// Auth is the partner's scheme.
func (r *DialectReader) Auth() AuthScheme { return r.shape.scheme }

// Parse reads the raw query of a postback into p, as lenient as ParsePlain:
// any order, unknown parameters ignored, %XX and "+" decoded, empty parameters
// as if absent. Only the click id is required. A known parameter that comes
// twice is refused, and so is a payout that is no amount, such as a macro that
// nobody filled in. Unlike ParsePlain it refuses a bad escape anywhere.
//
// Of an authenticated partner p.KID is its name, unless the query gives one. A
// missing or malformed signature is for Verify to refuse. An error is a
// *ParseError with the partner's own parameter name, and leaves p empty.
func (r *DialectReader) Parse(p *Postback, rawQuery []byte) error {
	p.reset()
	if err := r.parse(p, rawQuery); err != nil {
		p.reset()
		return err
	}
	return nil
}

func (r *DialectReader) parse(p *Postback, rawQuery []byte) error {
	switch {
	case len(rawQuery) > MaxQueryBytes:
		return queryTooLong()
	case !isWellEscaped(rawQuery):
		return &ParseError{Reason: ErrBadEscape}
	}
	if r.shape.scheme != AuthNone && r.shape.scheme != AuthHMACSHA256 {
		p.KID = r.partner
	}
	var seen paramSet
	for pairs := scanQuery(rawQuery); pairs.next(); {
		id := r.shape.lookup(pairs.key)
		if id == paramUnknown {
			continue
		}
		if seen.has(id) {
			return r.refuse(p, id, ErrDuplicateKey)
		}
		seen.add(id)
		if err := r.set(p, id, pairs.value); err != nil {
			return r.refuse(p, id, err)
		}
	}
	if len(p.ClickID) == 0 {
		return r.refuse(p, paramClickID, ErrMissing)
	}
	return nil
}

// lookup decodes the name first, as lookupPlain does.
func (c *dialectShape) lookup(name []byte) param {
	var room [maxDialectNameBytes]byte
	name, err := unescape(room[:], name, true)
	if err != nil {
		return paramUnknown
	}
	for i := range c.params {
		if c.params[i].name == string(name) {
			return c.params[i].id
		}
	}
	return paramUnknown
}

func (r *DialectReader) set(p *Postback, id param, raw []byte) error {
	if id == paramSig || id == paramToken {
		p.setDigits(raw, r.sigBytes)
		return nil
	}
	value, err := unescape(p.room(id), raw, true)
	switch {
	case err != nil || len(value) == 0:
		return err
	case id != paramEvent:
		return p.set(id, value)
	}
	for e := EventLead; e <= lastEvent; e++ {
		if string(r.shape.words[e]) == string(value) {
			p.Event = e
			return nil
		}
	}
	return errBadEventWord
}

var errBadEventWord = fmt.Errorf("%w: none of the partner's words for an event", ErrBadValue)

// setDigits keeps n bytes of lower-case hexadecimal digits in Sig, or nothing.
func (p *Postback) setDigits(digits []byte, n int) {
	if len(digits) != 2*n {
		return
	}
	for i := range n {
		hi, lo := digits[2*i], digits[2*i+1]
		if !isLowerHex(hi) || !isLowerHex(lo) {
			return
		}
		p.Sig[i] = unhex(hi)<<4 | unhex(lo)
	}
	p.sigBytes = n
}

func (r *DialectReader) refuse(p *Postback, id param, reason error) error {
	err := p.refuse(id, reason).(*ParseError)
	for i := range r.shape.params {
		if r.shape.params[i].id == id {
			err.Param = r.shape.params[i].name
		}
	}
	return err
}

// Verify checks a request that r.Parse accepted, at a path that led Find to r.
// method, path and rawQuery are the bytes of the request line, rawQuery the
// same that was parsed. It returns nil or ErrBadSignature, and compares in
// constant time. Freshness of p.TSUnixS is the caller's, and means something
// with AuthHMACSHA256 only.
func (r *DialectReader) Verify(method, path, rawQuery []byte, p *Postback) error {
	if r.shape.scheme == AuthNone {
		return nil
	}
	if r.shape.pathToken {
		p.setDigits(r.shape.tokenOf(path), r.sigBytes)
	}
	if p.sigBytes != r.sigBytes {
		return ErrBadSignature
	}
	equal := false
	switch claimed := p.Sig[:r.sigBytes]; r.shape.scheme {
	case AuthToken:
		equal = subtle.ConstantTimeCompare(r.secret[:tokenBytes], claimed) == 1
	case AuthHMACSHA256:
		return r.keys.Verify(method, path, rawQuery, p)
	case AuthHMACSHA1:
		signed, ok := r.beforeSignature(rawQuery)
		if !ok {
			return ErrBadSignature
		}
		m := r.macs.Get().(*sha1MAC)
		equal = subtle.ConstantTimeCompare(m.compute(path, signed), claimed) == 1
		r.macs.Put(m)
	case AuthMD5:
		g := r.digesters.Get().(*digester)
		sum := g.sum(r, rawQuery)
		equal = subtle.ConstantTimeCompare(sum[:], claimed) == 1
		r.digesters.Put(g)
	}
	if !equal {
		return ErrBadSignature
	}
	return nil
}

// AppendRedacted appends a raw target for a log: without its token and its
// signature, which would let whoever reads the log speak for the partner. A nil
// r changes nothing. The target's path must be one that led Find to r.
func (r *DialectReader) AppendRedacted(dst, target []byte) []byte {
	if r == nil {
		return append(dst, target...)
	}
	path, query, found := bytes.Cut(target, questionMark)
	if r.shape.pathToken {
		dst = append(append(append(dst, r.shape.pathStart...), redacted...), r.shape.pathEnd...)
	} else {
		dst = append(dst, path...)
	}
	separator := byte('?')
	for pairs := scanQuery(query); pairs.next(); separator = '&' {
		dst = append(append(dst, separator), pairs.key...)
		if id := r.shape.lookup(pairs.key); id == paramSig || id == paramToken {
			dst = append(append(dst, '='), redacted...)
		} else if pairs.hasValue {
			dst = append(append(dst, '='), pairs.value...)
		}
	}
	if found && len(query) == 0 {
		dst = append(dst, separator)
	}
	return dst
}

const redacted = "redacted"

// beforeSignature cuts "&name=digits" off; false if that is not what ends the query.
func (r *DialectReader) beforeSignature(rawQuery []byte) ([]byte, bool) {
	name := r.shape.authParam
	start := len(rawQuery) - len("&=") - len(name) - 2*r.sigBytes
	if start < 0 || rawQuery[start] != '&' || string(rawQuery[start+1:start+1+len(name)]) != name || rawQuery[start+1+len(name)] != '=' {
		return nil, false
	}
	return rawQuery[:start], true
}

// sum is the md5 over the values as they were sent, which a Postback no longer
// has: "12.50" and "12.5" are the same money, not the same digest.
func (g *digester) sum(r *DialectReader, rawQuery []byte) [md5.Size]byte {
	g.input = g.input[:0]
	for i := range r.shape.digest.pieces {
		piece := &r.shape.digest.pieces[i]
		g.input = append(g.input, piece.literal...)
		if piece.macro != paramUnknown {
			g.input = append(g.input, r.rawValue(rawQuery, piece.macro, g.room[:])...)
		}
	}
	g.input = hex.AppendEncode(g.input, r.secret)
	return md5.Sum(g.input)
}

// rawValue finds a value again that Parse has accepted, decoded but not
// converted.
func (r *DialectReader) rawValue(rawQuery []byte, id param, room []byte) []byte {
	for pairs := scanQuery(rawQuery); pairs.next(); {
		if r.shape.lookup(pairs.key) == id {
			value, _ := unescape(room, pairs.value, true) // accepted before
			return value
		}
	}
	return nil
}
