package postback

import (
	"errors"
	"strconv"
)

// What can be wrong with a request. Parsers return them inside a *ParseError,
// so test for them with errors.Is.
var (
	ErrMissing      = errors.New("missing or empty")
	ErrDuplicateKey = errors.New("given more than once")
	ErrBadEscape    = errors.New("bad escape, expected % and two hexadecimal digits")
	ErrBadValue     = errors.New("bad value")
	ErrUnknownKey   = errors.New("not allowed here, expected " + macroNames + " sig")
	ErrSigNotLast   = errors.New("must be the last parameter")

	// ErrTooLong means that a value or the whole query exceeds its Max… limit.
	// A server answers it with 414.
	ErrTooLong = errors.New("too long")
)

// ErrBadSignature is the only error of Keyring.Verify: a wrong signature and
// an unknown key id look the same from outside.
var ErrBadSignature = errors.New("postback: signature refused")

// maxShownBytes bounds how much of an unknown name an error repeats.
const maxShownBytes = 32

// ParseError says which parameter of a query was refused, and why.
type ParseError struct {
	Param  string // name, of an unknown one its first 32 bytes; "" for the query as a whole and for an empty name
	Reason error  // one of the sentinels, or an error that wraps one
}

// Error implements error.
func (e *ParseError) Error() string {
	switch {
	case e.Param == "" && errors.Is(e.Reason, ErrUnknownKey):
		return "postback: parameter without a name: " + e.Reason.Error()
	case e.Param == "":
		return "postback: query: " + e.Reason.Error()
	}
	// Quoted, for an unknown key is the sender's bytes and ends up in logs.
	return "postback: parameter " + strconv.Quote(e.Param) + ": " + e.Reason.Error()
}

// Unwrap is for errors.Is and errors.As.
func (e *ParseError) Unwrap() error { return e.Reason }
