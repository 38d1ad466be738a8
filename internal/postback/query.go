package postback

import "bytes"

// Limits, in bytes after decoding. They bound the scratch of a Postback and
// the size of a Record; a longer value is refused with ErrTooLong.
const (
	MaxClickIDBytes = 128
	MaxTxIDBytes    = 128
	MaxOfferIDBytes = 64
	MaxKIDBytes     = 32

	// MaxQueryBytes bounds the raw query: three bytes for each byte of the
	// longest values would still fit.
	MaxQueryBytes = 2048

	// maxTokenBytes bounds event, payout, currency and ts: the longest valid
	// one, an amount, has 21 bytes.
	maxTokenBytes = 32

	// maxNameBytes is the length of the longest parameter name, click_id.
	maxNameBytes = 8
)

// param is a parameter of the two query templates, and a macro of every
// template. The zero value is a name that we do not know.
type param uint8

const (
	paramUnknown param = iota
	paramClickID
	paramTxID
	paramOfferID
	paramEvent
	paramPayout
	paramCurrency
	paramKID
	paramTS
	paramSig
	paramToken // a macro of dialects only
)

// macroNames is every name that a template may use; sig is not one, for it is
// computed over the finished query.
const macroNames = "click_id txid offer_id event payout currency kid ts"

// lookupParam returns paramUnknown for any other name.
func lookupParam(name []byte) param {
	switch string(name) {
	case "click_id":
		return paramClickID
	case "txid":
		return paramTxID
	case "offer_id":
		return paramOfferID
	case "event":
		return paramEvent
	case "payout":
		return paramPayout
	case "currency":
		return paramCurrency
	case "kid":
		return paramKID
	case "ts":
		return paramTS
	case "sig":
		return paramSig
	}
	return paramUnknown
}

func (id param) String() string {
	switch id {
	case paramClickID:
		return "click_id"
	case paramTxID:
		return "txid"
	case paramOfferID:
		return "offer_id"
	case paramEvent:
		return "event"
	case paramPayout:
		return "payout"
	case paramCurrency:
		return "currency"
	case paramKID:
		return "kid"
	case paramTS:
		return "ts"
	case paramSig:
		return "sig"
	case paramToken:
		return "token"
	}
	return ""
}

// paramSet holds one bit per param.
type paramSet uint16

func (s paramSet) has(id param) bool { return s&(1<<id) != 0 }
func (s *paramSet) add(id param)     { *s |= 1 << id }

// queryScanner walks the "&"-separated pairs of a raw query without copying or
// decoding. Empty pairs are reported, so that a strict reader can refuse them.
type queryScanner struct {
	key, value []byte // of the current pair, raw
	hasValue   bool   // the pair holds a "="

	rest []byte
	done bool
}

func scanQuery(raw []byte) queryScanner {
	return queryScanner{rest: raw, done: len(raw) == 0}
}

// next moves to the next pair; false after the last.
func (s *queryScanner) next() bool {
	if s.done {
		return false
	}
	pair := s.rest
	if end := bytes.IndexByte(pair, '&'); end >= 0 {
		pair, s.rest = pair[:end], pair[end+1:]
	} else {
		s.done = true
	}
	s.key, s.value, s.hasValue = bytes.Cut(pair, []byte{'='})
	return true
}

// unescape decodes %XX and, if plusIsSpace, "+". Without an escape the result
// is raw itself, else it lies in room, whose length is the limit for both.
// The result's capacity ends with it: appending to it cannot reach its
// neighbours.
func unescape(room, raw []byte, plusIsSpace bool) ([]byte, error) {
	i := 0
	for i < len(raw) && raw[i] != '%' && raw[i] != '+' {
		i++
	}
	if i > len(room) {
		return nil, ErrTooLong
	}
	if i == len(raw) {
		return raw[:i:i], nil
	}
	n := copy(room, raw[:i])
	for i < len(raw) {
		c := raw[i]
		i++
		switch {
		case c == '%':
			if len(raw)-i < 2 || !isHex(raw[i]) || !isHex(raw[i+1]) {
				return nil, ErrBadEscape
			}
			c = unhex(raw[i])<<4 | unhex(raw[i+1])
			i += 2
		case c == '+' && plusIsSpace:
			c = ' '
		case c == '+':
			return nil, ErrBadEscape
		}
		if n == len(room) {
			return nil, ErrTooLong
		}
		room[n] = c
		n++
	}
	return room[:n:n], nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unhex is the value of a digit that isHex accepts.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// isWellEscaped reports whether every "%" begins an escape.
func isWellEscaped(raw []byte) bool {
	for {
		i := bytes.IndexByte(raw, '%')
		if i < 0 {
			return true
		}
		raw = raw[i+1:]
		if len(raw) < 2 || !isHex(raw[0]) || !isHex(raw[1]) {
			return false
		}
		raw = raw[2:]
	}
}

// isPrintable reports whether b is ASCII from space to tilde.
func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
