package transport

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

const (
	// serverTiming is the header of an answer that says what the server's
	// stages took (W3C Server Timing).
	serverTiming = "Server-Timing"
	// maxTimingBytes is how much of it is kept of one answer.
	maxTimingBytes = readBufferBytes
	// maxNumberBytes is the longest duration that is read.
	maxNumberBytes = 32
	// maxStageNs keeps any sum of stages far from overflow.
	maxStageNs = int64(24 * time.Hour)
)

// addTiming appends one header line to value; cut says that it had no room.
func addTiming[line ~string | ~[]byte](value []byte, more line) (longer []byte, cut bool) {
	const separator = ", "
	if len(value)+len(separator)+len(more) > maxTimingBytes {
		return value, true
	}
	if len(value) > 0 {
		value = append(value, separator...)
	}
	return append(value, more...), false
}

// Timing reads the stages out of the value of a Server-Timing header. It
// allocates nothing and has no errors: what it cannot read it leaves out.
type Timing struct{ rest []byte }

// ReadTiming begins to read a value; several header lines are joined by
// commas.
func ReadTiming(value []byte) Timing { return Timing{value} }

// Next returns the next stage that has a duration, in ns of 0 to 24 hours. The
// name is part of the value.
func (t *Timing) Next() (name []byte, durationNs int64, ok bool) {
	for {
		t.rest = bytes.TrimLeft(t.rest, " \t,")
		if len(t.rest) == 0 {
			return nil, 0, false
		}
		name = t.token()
		durationNs, timed := t.parameters()
		if timed && len(name) > 0 {
			return name, durationNs, true
		}
	}
}

// parameters reads up to the end of a stage. Of several durations the first
// one counts.
func (t *Timing) parameters() (durationNs int64, timed bool) {
	seen := false
	for len(t.rest) > 0 && t.rest[0] != ',' {
		if t.rest[0] != ';' {
			t.skip()
			continue
		}
		t.rest = bytes.TrimLeft(t.rest[1:], " \t")
		key := t.token()
		t.blanks()
		if len(t.rest) == 0 || t.rest[0] != '=' {
			continue
		}
		t.rest = bytes.TrimLeft(t.rest[1:], " \t")
		value := t.value()
		if !seen && bytes.EqualFold(key, []byte("dur")) {
			seen = true
			durationNs, timed = parseMilliseconds(value)
		}
	}
	return durationNs, timed
}

// token takes a token, which may be empty.
func (t *Timing) token() []byte {
	end := 0
	for end < len(t.rest) && isTokenByte(t.rest[end]) {
		end++
	}
	token := t.rest[:end]
	t.rest = t.rest[end:]
	return token
}

// value takes a token or what stands between quotes, escapes and all.
func (t *Timing) value() []byte {
	if len(t.rest) > 0 && t.rest[0] == '"' {
		return t.quoted()
	}
	return t.token()
}

// quoted takes a quoted string; without an end it reaches to the value's.
func (t *Timing) quoted() []byte {
	for i := 1; i < len(t.rest); i++ {
		switch t.rest[i] {
		case '\\':
			i++
		case '"':
			text := t.rest[1:i]
			t.rest = t.rest[i+1:]
			return text
		}
	}
	text := t.rest[1:]
	t.rest = nil
	return text
}

// skip leaves out what stands where it must not.
func (t *Timing) skip() {
	if t.rest[0] == '"' {
		t.quoted()
		return
	}
	t.rest = t.rest[1:]
}

func (t *Timing) blanks() { t.rest = bytes.TrimLeft(t.rest, " \t") }

// isTokenByte is tchar of RFC 9110 §5.6.2.
func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c != 0 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

// parseMilliseconds reads a decimal number that is not negative.
func parseMilliseconds(number []byte) (ns int64, ok bool) {
	if len(number) == 0 || len(number) > maxNumberBytes {
		return 0, false
	}
	for _, c := range number {
		// ParseFloat would take infinities and hexadecimal figures as well.
		if (c < '0' || c > '9') && bytes.IndexByte([]byte("+-.eE"), c) < 0 {
			return 0, false
		}
	}
	ms, err := strconv.ParseFloat(string(number), 64)
	if err != nil || ms < 0 {
		return 0, false
	}
	return int64(math.Round(min(ms*1e6, float64(maxStageNs)))), true
}
