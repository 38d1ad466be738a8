package postback

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxTextBytes bounds the source of a Text.
const MaxTextBytes = 16 << 10

// Text is a compiled "literal {macro} literal". A macro is a name in braces;
// braces around anything else are literal, so that a JSON body needs no
// escaping: {"cid":"{click_id}"}. The zero value is the empty text.
type Text struct {
	source string
	pieces []piece
}

// piece is a literal followed by a macro; paramUnknown = by none.
type piece struct {
	literal string
	macro   param
}

// Fields are the values that a template's macros stand for. The same value
// may be used for many requests; nothing is kept.
type Fields struct {
	ClickID, TxID, OfferID []byte
	Event                  Event
	Payout                 Money
	Currency               Currency
	KID                    []byte
	TSUnixS                int64 // unix seconds

	// EventWord stands for {event} instead of Event's own name, if not empty.
	EventWord []byte
	// Token stands for {token}, which only dialects have.
	Token []byte
	// Unexpanded leaves {payout} as it is written: the sender forgot to fill it in.
	Unexpanded bool
}

// ParseText compiles s. A name in braces that is no macro, and a macro whose
// brace is not closed, are errors that list the macros there are.
func ParseText(s string) (Text, error) {
	t, err := compileText(s, paramTS)
	if err != nil {
		return Text{}, fmt.Errorf("postback: template: %w", err)
	}
	return t, nil
}

// compileText knows the macros up to last. Its errors say only what is wrong.
func compileText(s string, last param) (Text, error) {
	if len(s) > MaxTextBytes {
		return Text{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(s), MaxTextBytes)
	}
	t := Text{source: s}
	literal := 0 // where the current piece's literal starts
	for i := 0; i < len(s); i++ {
		if s[i] != '{' {
			continue
		}
		name := leadingName(s[i+1:])
		end := i + 1 + len(name)
		closed := end < len(s) && s[end] == '}'
		macro := lookupMacro(name, last)
		switch {
		case closed && name != "" && macro == paramUnknown:
			return Text{}, fmt.Errorf("unknown macro {%s} at byte %d, expected one of %s",
				shorten(name), i, macroList(last))
		case !closed && macro != paramUnknown:
			return Text{}, fmt.Errorf("macro {%s at byte %d is not closed, write {%s}", name, i, name)
		case !closed || name == "":
			continue
		}
		t.pieces = append(t.pieces, piece{literal: s[literal:i], macro: macro})
		literal = end + 1
		i = end
	}
	if literal < len(s) {
		t.pieces = append(t.pieces, piece{literal: s[literal:]})
	}
	return t, nil
}

// String is the source that the text was compiled from.
func (t Text) String() string { return t.source }

// Has reports whether the text uses a macro, named without braces.
func (t Text) Has(macro string) bool {
	id := lookupMacro(macro, paramToken)
	for _, p := range t.pieces {
		if p.macro == id && id != paramUnknown {
			return true
		}
	}
	return false
}

// lookupMacro knows the macros up to last; sig never is one.
func lookupMacro(name string, last param) param {
	for id := paramClickID; id <= last; id++ {
		if id != paramSig && id.String() == name {
			return id
		}
	}
	return paramUnknown
}

// macroList lists the macros up to last.
func macroList(last param) string {
	names := macroNames
	if last == paramToken {
		names += " " + paramToken.String()
	}
	return "{" + strings.ReplaceAll(names, " ", "} {") + "}"
}

// leadingName is the longest prefix of s that could be a macro's name.
func leadingName(s string) string {
	for i := range len(s) {
		c := s[i]
		if c != '_' && c != '-' && !isLetterOrDigit(c) {
			return s[:i]
		}
	}
	return s
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// shorten keeps error messages to one readable line.
func shorten(s string) string {
	const maxShown = 80
	if len(s) <= maxShown {
		return s
	}
	return s[:maxShown] + "…"
}

// escaping is how an inserted value is kept from being read as syntax. Literals
// are the user's own and go out as they are.
type escaping uint8

const (
	escapeNone   escaping = iota // the value as it is
	escapeURL                    // everything but RFC 3986 unreserved as %XX: right in a path, a query and a form
	escapeJSON                   // inside a JSON string (RFC 8259 §7)
	escapeHeader                 // what could end a header field as %XX
)

// append appends the text with f's values inserted.
func (t Text) append(dst []byte, f *Fields, how escaping) []byte {
	for i := range t.pieces {
		dst = append(dst, t.pieces[i].literal...)
		switch t.pieces[i].macro {
		case paramClickID:
			dst = appendEscaped(dst, f.ClickID, how)
		case paramTxID:
			dst = appendEscaped(dst, f.TxID, how)
		case paramOfferID:
			dst = appendEscaped(dst, f.OfferID, how)
		case paramKID:
			dst = appendEscaped(dst, f.KID, how)
		case paramEvent:
			dst = f.appendEvent(dst, how)
		case paramPayout:
			dst = f.appendPayout(dst)
		// The rest is letters, digits and "-", the same in every escaping.
		case paramCurrency:
			dst = f.Currency.Append(dst)
		case paramTS:
			dst = strconv.AppendInt(dst, f.TSUnixS, 10)
		case paramToken:
			dst = append(dst, f.Token...)
		}
	}
	return dst
}

func (f *Fields) appendEvent(dst []byte, how escaping) []byte {
	if len(f.EventWord) > 0 {
		return appendEscaped(dst, f.EventWord, how)
	}
	return append(dst, f.Event.String()...)
}

func (f *Fields) appendPayout(dst []byte) []byte {
	if f.Unexpanded {
		return append(dst, "{payout}"...)
	}
	return f.Payout.Append(dst)
}

func appendEscaped(dst, value []byte, how escaping) []byte {
	const upperHex = "0123456789ABCDEF"
	start := 0 // of the run that needs no escape
	for i, c := range value {
		if !needsEscape(c, how) {
			continue
		}
		dst = append(dst, value[start:i]...)
		start = i + 1
		switch {
		case how != escapeJSON:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, '\\', 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
		}
	}
	return append(dst, value[start:]...)
}

func needsEscape(c byte, how escaping) bool {
	switch how {
	case escapeURL:
		return !isLetterOrDigit(c) && c != '-' && c != '.' && c != '_' && c != '~'
	case escapeJSON:
		return c < ' ' || c == '"' || c == '\\'
	case escapeHeader:
		return c < ' ' || c == 0x7f
	}
	return false
}
