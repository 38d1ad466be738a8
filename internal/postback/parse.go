package postback

import (
	"errors"
	"fmt"
	"math"
)

// Postback is a parsed query. It is meant to be reused: one per worker, parsed
// into again and again without allocating. Its []byte fields point into the
// parsed query, or into the Postback itself for values that held an escape;
// they are valid until the next Parse call or until the query's memory changes.
// Hence a Postback must not be copied.
type Postback struct {
	ClickID  []byte // never empty after a successful Parse
	TxID     []byte // may be empty
	OfferID  []byte // empty only if unsigned
	Event    Event  // EventNone only if unsigned
	Payout   Money
	Currency Currency // unset only if unsigned

	// Signed queries only.
	KID     []byte   // id of the partner's key
	TSUnixS int64    // the sender's clock, > 0
	Sig     [32]byte // as claimed: worth nothing before Keyring.Verify

	sigBytes int // of Sig that a dialect's parameter gave; 0 = no digits there

	scratch scratch
	_       noCopy
}

// scratch has room for each value that must outlive the parse, and one for the
// values that are converted at once.
type scratch struct {
	clickID [MaxClickIDBytes]byte
	txID    [MaxTxIDBytes]byte
	offerID [MaxOfferIDBytes]byte
	kid     [MaxKIDBytes]byte
	token   [maxTokenBytes]byte
}

// noCopy makes go vet's copylocks check refuse copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

var (
	errBadEvent     = fmt.Errorf("%w: expected lead, sale, rejected, refund or rebill", ErrBadValue)
	errBadTS        = fmt.Errorf("%w: expected unix seconds, a positive integer without leading zeros", ErrBadValue)
	errBadSigHex    = fmt.Errorf("%w: expected 64 lower-case hexadecimal digits", ErrBadValue)
	errNotPrintable = fmt.Errorf("%w: expected printable ASCII", ErrBadValue)
	errNoEquals     = fmt.Errorf("%w: expected name=value", ErrBadValue)
)

// ParsePlain reads the raw query of an unsigned postback (what follows the
// "?"), as lenient as trackers are: any order, unknown parameters ignored,
// %XX and "+" decoded in names and values, empty parameters as if absent. Only
// click_id is required; values are arbitrary bytes. A known parameter that
// comes twice is refused, since either choice would be a guess about money.
//
// An error is a *ParseError, and leaves p empty.
func (p *Postback) ParsePlain(rawQuery []byte) error {
	p.reset()
	if err := p.parsePlain(rawQuery); err != nil {
		p.reset() // half a postback must not be mistaken for one
		return err
	}
	return nil
}

// ParseSigned reads the raw query of a signed postback: exactly the parameters
// click_id txid offer_id event payout currency kid ts sig, each once, sig last,
// only txid empty, %XX as the only escape (no "+"), printable ASCII. Accepted
// means well-formed, not authentic: that is Keyring.Verify's to say.
//
// An error is a *ParseError, and leaves p empty.
func (p *Postback) ParseSigned(rawQuery []byte) error {
	p.reset()
	if err := p.parseSigned(rawQuery); err != nil {
		p.reset()
		return err
	}
	return nil
}

func (p *Postback) parsePlain(rawQuery []byte) error {
	if len(rawQuery) > MaxQueryBytes {
		return queryTooLong()
	}
	var seen paramSet
	for pairs := scanQuery(rawQuery); pairs.next(); {
		id := lookupPlain(pairs.key)
		if id == paramUnknown {
			continue
		}
		if seen.has(id) {
			return p.refuse(id, ErrDuplicateKey)
		}
		seen.add(id)
		value, err := unescape(p.room(id), pairs.value, true)
		if err == nil && len(value) > 0 {
			err = p.set(id, value)
		}
		if err != nil {
			return p.refuse(id, err)
		}
	}
	if len(p.ClickID) == 0 {
		return p.refuse(paramClickID, ErrMissing)
	}
	return nil
}

// lookupPlain decodes the name first if need be: "click%5Fid" is the same
// parameter, and must count as its duplicate.
func lookupPlain(name []byte) param {
	var room [maxNameBytes]byte
	name, err := unescape(room[:], name, true)
	if err != nil {
		return paramUnknown
	}
	if id := lookupParam(name); id <= paramCurrency {
		return id
	}
	return paramUnknown // kid, ts and sig mean nothing here
}

func (p *Postback) parseSigned(rawQuery []byte) error {
	if len(rawQuery) > MaxQueryBytes {
		return queryTooLong()
	}
	var seen paramSet
	for pairs := scanQuery(rawQuery); pairs.next(); {
		id := lookupParam(pairs.key)
		switch {
		case id == paramUnknown:
			return &ParseError{Param: string(pairs.key[:min(len(pairs.key), maxShownBytes)]), Reason: ErrUnknownKey}
		case seen.has(id):
			return p.refuse(id, ErrDuplicateKey)
		case seen.has(paramSig):
			return p.refuse(paramSig, ErrSigNotLast)
		case !pairs.hasValue:
			return p.refuse(id, errNoEquals)
		}
		seen.add(id)
		if err := p.setSigned(id, pairs.value); err != nil {
			return p.refuse(id, err)
		}
	}
	for id := paramClickID; id <= paramSig; id++ {
		if !seen.has(id) {
			return p.refuse(id, ErrMissing)
		}
	}
	return nil
}

func (p *Postback) setSigned(id param, raw []byte) error {
	switch {
	case len(raw) == 0 && id == paramTxID:
		return nil
	case len(raw) == 0:
		return ErrMissing
	case id == paramSig:
		// Not decoded: "&sig=" and 64 digits are what Verify cuts off.
		return p.setSig(raw)
	}
	value, err := unescape(p.room(id), raw, false)
	if err != nil {
		return err
	}
	if !isPrintable(value) {
		return errNotPrintable
	}
	return p.set(id, value)
}

// set stores a decoded value that is not empty.
func (p *Postback) set(id param, value []byte) (err error) {
	switch id {
	case paramClickID:
		p.ClickID = value
	case paramTxID:
		p.TxID = value
	case paramOfferID:
		p.OfferID = value
	case paramKID:
		p.KID = value
	case paramEvent:
		var ok bool
		if p.Event, ok = ParseEvent(value); !ok {
			err = errBadEvent
		}
	case paramPayout:
		p.Payout, err = ParseMoney(value)
	case paramCurrency:
		p.Currency, err = ParseCurrency(value)
	case paramTS:
		p.TSUnixS, err = parseTS(value)
	}
	return err
}

func (p *Postback) setSig(digits []byte) error {
	if len(digits) != 2*len(p.Sig) {
		return errBadSigHex
	}
	for i := range p.Sig {
		hi, lo := digits[2*i], digits[2*i+1]
		if !isLowerHex(hi) || !isLowerHex(lo) {
			return errBadSigHex
		}
		p.Sig[i] = unhex(hi)<<4 | unhex(lo)
	}
	return nil
}

func isLowerHex(c byte) bool { return isHex(c) && (c < 'A' || c > 'F') }

func parseTS(b []byte) (int64, error) {
	if len(b) == 0 || b[0] == '0' {
		return 0, errBadTS
	}
	var ts int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, errBadTS
		}
		digit := int64(c - '0')
		if ts > (math.MaxInt64-digit)/10 {
			return 0, errBadTS
		}
		ts = ts*10 + digit
	}
	return ts, nil
}

// room is where a value of id is decoded to; its length is the value's limit.
func (p *Postback) room(id param) []byte {
	switch id {
	case paramClickID:
		return p.scratch.clickID[:]
	case paramTxID:
		return p.scratch.txID[:]
	case paramOfferID:
		return p.scratch.offerID[:]
	case paramKID:
		return p.scratch.kid[:]
	}
	return p.scratch.token[:]
}

// reset clears all but the scratch, whose bytes only matter while a field
// points at them.
func (p *Postback) reset() {
	p.ClickID, p.TxID, p.OfferID, p.KID = nil, nil, nil, nil
	p.Event, p.Payout, p.Currency = EventNone, 0, Currency{}
	p.TSUnixS, p.Sig, p.sigBytes = 0, [32]byte{}, 0
}

func (p *Postback) refuse(id param, reason error) error {
	if errors.Is(reason, ErrTooLong) {
		reason = fmt.Errorf("%w: at most %d bytes once decoded", ErrTooLong, len(p.room(id)))
	}
	return &ParseError{Param: id.String(), Reason: reason}
}

func queryTooLong() error {
	return &ParseError{Reason: fmt.Errorf("%w: at most %d bytes", ErrTooLong, MaxQueryBytes)}
}
