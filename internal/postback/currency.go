package postback

import "fmt"

// Currency is an ISO 4217 code in upper case. The zero value means "not given".
type Currency [3]byte

// ErrBadCurrency is the error of ParseCurrency, and wraps ErrBadValue.
var ErrBadCurrency = fmt.Errorf("%w: not a currency such as EUR (three upper-case letters, ISO 4217)", ErrBadValue)

// ParseCurrency reads three upper-case letters, else it returns ErrBadCurrency.
// It does not consult the list of assigned codes, which changes under us.
func ParseCurrency(b []byte) (Currency, error) {
	if len(b) != len(Currency{}) {
		return Currency{}, ErrBadCurrency
	}
	c := Currency(b)
	if !c.isCode() {
		return Currency{}, ErrBadCurrency
	}
	return c, nil
}

// String is the code, or "" when the currency is not given.
func (c Currency) String() string { return string(c.Append(nil)) }

// Append appends the code, or nothing when the currency is not given.
func (c Currency) Append(dst []byte) []byte {
	if c == (Currency{}) {
		return dst
	}
	return append(dst, c[:]...)
}

func (c Currency) isCode() bool {
	for _, letter := range c {
		if letter < 'A' || letter > 'Z' {
			return false
		}
	}
	return true
}
