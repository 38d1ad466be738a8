package accesslog

import (
	"bytes"
	"strconv"
)

const (
	// maxMethodBytes is what is kept of a method; the longest standard one has 7.
	maxMethodBytes = 16
	// maxURIBytes is what is kept of a URI: twice what a postback may have, so
	// that one too long can still be recognised.
	maxURIBytes = 4_096

	// maxLineBytes is the longest line: every byte escaped, long numbers.
	maxLineBytes = 256 + escapedBytes*(maxMethodBytes+maxURIBytes)
	escapedBytes = len(`\u00ff`)

	sigName  = "sig"
	redacted = "redacted"
)

// line is what is kept of an Entry.
type line struct {
	unixNs, durationNs int64
	status             int
	uriBytes           int // of a URI that was cut, as it came; else 0
	method, uri        []byte
}

// cut keeps what may be kept of e; it copies nothing.
func cut(e *Entry) line {
	l := line{
		unixNs: e.UnixNs, durationNs: e.DurationNs, status: e.Status,
		method: e.Method[:min(len(e.Method), maxMethodBytes)], uri: e.URI[:min(len(e.URI), maxURIBytes)],
	}
	if len(e.URI) > maxURIBytes {
		l.uriBytes = len(e.URI)
	}
	return l
}

// appendJSON appends l as one line of JSON, its line feed included.
func (l *line) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"unix_ns":`...)
	dst = strconv.AppendInt(dst, l.unixNs, 10)
	dst = append(dst, `,"duration_ns":`...)
	dst = strconv.AppendInt(dst, l.durationNs, 10)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(l.status), 10)
	dst = append(dst, `,"method":"`...)
	dst = appendEscaped(dst, l.method)
	dst = append(dst, `","uri":"`...)
	dst = appendURI(dst, l.uri)
	dst = append(dst, '"')
	if l.uriBytes > 0 {
		dst = append(dst, `,"uri_bytes":`...)
		dst = strconv.AppendInt(dst, int64(l.uriBytes), 10)
	}
	return append(dst, "}\n"...)
}

// appendURI appends uri without the values of its signatures.
func appendURI(dst, uri []byte) []byte {
	for {
		before, after, found := cutSecret(uri)
		dst = appendEscaped(dst, before)
		if !found {
			return dst
		}
		dst = append(dst, redacted...)
		uri = after
	}
}

// cutSecret returns what stands before and after the first value of a
// signature; if there is none, all of uri is before it.
func cutSecret(uri []byte) (before, after []byte, found bool) {
	value := sigValue(uri)
	if value < 0 {
		return uri, nil, false
	}
	end := bytes.IndexByte(uri[value:], '&') // a semicolon is part of the value
	if end < 0 {
		end = len(uri) - value
	}
	return uri[:value], uri[value+end:], true
}

// sigValue is where the first value of a signature begins, -1 if there is none.
func sigValue(uri []byte) int {
	for i, c := range uri {
		if c != '?' && c != '&' && c != ';' && c != '#' {
			continue
		}
		if n := sigNameBytes(uri[i+1:]); n > 0 {
			return i + 1 + n
		}
	}
	return -1
}

// sigNameBytes is the length of "sig=" at b's beginning, however it is
// escaped; 0 if something else stands there.
func sigNameBytes(b []byte) int {
	n := 0
	for _, want := range []byte(sigName) {
		c, size := unescape(b[n:])
		if c|0x20 != want { // the bit between upper and lower case
			return 0
		}
		n += size
	}
	if n == len(b) || b[n] != '=' {
		return 0
	}
	return n + 1
}

// unescape reads one byte of a parameter's name, as %XX or as it is.
func unescape(b []byte) (c byte, size int) {
	if len(b) >= 3 && b[0] == '%' {
		high, low := unhex(b[1]), unhex(b[2])
		if high >= 0 && low >= 0 {
			return byte(high<<4 | low), 3
		}
	}
	if len(b) == 0 {
		return 0, 0
	}
	return b[0], 1
}

// unhex is the value of a hexadecimal digit, -1 of anything else.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// appendEscaped appends the inside of a JSON string, one character a byte.
func appendEscaped(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c > '~':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
