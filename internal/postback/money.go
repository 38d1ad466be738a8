package postback

import (
	"fmt"
	"math"
	"strconv"
)

// Money is an amount in millionths of a currency unit: 12.5 is 12_500_000.
// Integers keep sums exact; six decimals hold every currency's minor unit and
// the fractions of a cent that cheap conversions pay.
type Money int64

const (
	microsPerUnit = 1_000_000
	moneyDecimals = 6
)

// ErrBadMoney is wrapped by every error of ParseMoney, and wraps ErrBadValue.
var ErrBadMoney = fmt.Errorf("%w: not an amount such as 12.5", ErrBadValue)

var (
	errMoneySyntax   = fmt.Errorf("%w (digits, at most one point, a minus sign in front)", ErrBadMoney)
	errMoneyComma    = fmt.Errorf("%w (write the decimal point as a point, not as a comma)", ErrBadMoney)
	errMoneyDecimals = fmt.Errorf("%w (more than %d decimals)", ErrBadMoney, moneyDecimals)
	errMoneyRange    = fmt.Errorf("%w (beyond ±9223372036854.775807)", ErrBadMoney)
)

// ParseMoney reads a decimal amount: an optional minus sign, digits, and
// optionally a point followed by one to six digits. Exponents, commas, plus
// signs, spaces and amounts beyond int64 millionths are refused with an error
// that wraps ErrBadMoney. It never rounds.
func ParseMoney(b []byte) (Money, error) {
	limit := uint64(math.MaxInt64)
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
		limit++
	}
	var v uint64
	decimals := -1 // no point seen yet
	for i, c := range b {
		digit := uint64(c - '0')
		switch {
		case c == '.' && decimals < 0 && i > 0:
			decimals = 0
			continue
		case c == ',':
			return 0, errMoneyComma
		case c < '0' || c > '9':
			return 0, errMoneySyntax
		case decimals == moneyDecimals:
			return 0, errMoneyDecimals
		case v > (limit-digit)/10:
			return 0, errMoneyRange
		}
		v = v*10 + digit
		if decimals >= 0 {
			decimals++
		}
	}
	if len(b) == 0 || decimals == 0 {
		return 0, errMoneySyntax
	}
	for range moneyDecimals - max(decimals, 0) {
		if v > limit/10 {
			return 0, errMoneyRange
		}
		v *= 10
	}
	if negative {
		return Money(-v), nil // two's complement: also right for the smallest int64
	}
	return Money(v), nil
}

// Append appends m as the shortest decimal that ParseMoney reads back as m:
// "12.5", "-3", "0".
func (m Money) Append(dst []byte) []byte {
	micros := uint64(m)
	if m < 0 {
		dst = append(dst, '-')
		micros = -micros
	}
	dst = strconv.AppendUint(dst, micros/microsPerUnit, 10)
	fraction := micros % microsPerUnit
	if fraction == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := uint64(microsPerUnit / 10); fraction > 0; unit /= 10 {
		dst = append(dst, '0'+byte(fraction/unit))
		fraction %= unit
	}
	return dst
}

// String is Append as a string.
func (m Money) String() string { return string(m.Append(nil)) }
