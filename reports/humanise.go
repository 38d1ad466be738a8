package reports

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Words for figures that are no number.
const (
	unackedText = "unacked" // the rank falls on an entry that is slower than all
	noDataText  = "-"       // not known
)

// round3 rounds to three significant digits.
func round3(x float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'e', 2, 64), 64)
	if err != nil {
		panic("BUG: reports: " + err.Error())
	}
	return rounded
}

// digits3 prints three significant digits without an exponent, more only for
// whole digits: 0.0123, 1.02, 12.3, 412, 1234567.
func digits3(x float64) string {
	rounded := round3(x)
	if rounded == 0 {
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(rounded))))
	if decimals <= 0 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(rounded, 'f', decimals, 64)
}

// duration prints microseconds with three significant digits in the unit that
// suits: 500ns, 412µs, 3.21ms, 1.02s.
func duration(us float64) string {
	if us == 0 {
		return "0"
	}
	for _, unit := range []struct {
		name string
		us   float64
	}{{"ns", 1e-3}, {"µs", 1}, {"ms", 1e3}} {
		if x := round3(us / unit.us); math.Abs(x) < 1000 {
			return digits3(x) + unit.name
		}
	}
	return digits3(us/1e6) + "s"
}

// latencyText prints a percentile of a block that may be empty.
func latencyText(us *float64, empty bool) string {
	switch {
	case empty:
		return noDataText
	case us == nil:
		return unackedText
	}
	return duration(*us)
}

// percent prints a rate of 0..1, or beyond, as a percentage.
func percent(rate float64) string { return digits3(100*rate) + "%" }

func countText(n *int64) string {
	if n == nil {
		return noDataText
	}
	return strconv.FormatInt(*n, 10)
}

// micros prints millionths as a decimal with at least two places; signed puts
// a plus before what is above zero.
func micros(m int64, signed bool) string {
	sign := ""
	magnitude := uint64(m)
	switch {
	case m < 0:
		sign, magnitude = "-", -magnitude
	case m > 0 && signed:
		sign = "+"
	}
	fraction := strconv.FormatUint(1_000_000+magnitude%1_000_000, 10)[1:]
	for len(fraction) > 2 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	return sign + strconv.FormatUint(magnitude/1_000_000, 10) + "." + fraction
}

// clean replaces what could move the cursor or break the line: click ids and
// errors come from outside.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// cut shortens to at most width columns, keeping both ends: variants often
// differ only at the last.
func cut(s string, width int) string {
	runes := []rune(clean(s))
	if len(runes) <= width {
		return string(runes)
	}
	if width <= 1 {
		return "…"
	}
	tail := (width - 1) / 2
	return string(runes[:width-1-tail]) + "…" + string(runes[len(runes)-tail:])
}

// pad fills up with blanks on the right to width columns.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// wrap breaks text between words so that no line exceeds MaxColumns. The first
// line starts with first blanks, further ones with indent; words that fit in no
// line are cut.
func wrap(text string, first, indent int) string {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", first))
	column, start := first, true
	for _, word := range strings.Fields(clean(text)) {
		word = cut(word, MaxColumns-max(first, indent))
		width := utf8.RuneCountInString(word)
		switch {
		case start:
		case column+1+width > MaxColumns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width
		start = false
	}
	return b.String() + "\n"
}
