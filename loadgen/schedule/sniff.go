package schedule

import (
	"bytes"
	"errors"
)

// SniffBytes is how much of a file's beginning Sniff wants to see.
const SniffBytes = 16 << 10

// Format is a kind of traffic file.
type Format uint8

// The formats. ParseAccessLog reads the first, ParseVegetaTargets both others.
const (
	FormatUnknown Format = iota
	FormatAccessLog
	FormatVegetaHTTP
	FormatVegetaJSON
)

// String names the format for messages.
func (f Format) String() string {
	switch f {
	case FormatAccessLog:
		return "access log"
	case FormatVegetaHTTP:
		return "vegeta HTTP targets"
	case FormatVegetaJSON:
		return "vegeta JSON targets"
	}
	return "unknown"
}

// Sniff tells a traffic file's format from its first SniffBytes (fewer if it is
// shorter), by the first line that is neither blank nor a # comment. It does
// not check the rest: parsing does. The error is a *ParseError.
func Sniff(name string, first []byte) (Format, error) {
	if bytes.HasPrefix(first, []byte{0x1f, 0x8b}) {
		return FormatUnknown, &ParseError{File: name, Err: errors.New("it is gzip-compressed; decompress it first")}
	}
	number := 0
	for line := range bytes.Lines(first) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if line[0] == '{' {
			return FormatVegetaJSON, nil
		}
		// Only up to the time: a long request may be cut off.
		if _, _, ok := cutLogTime(line); ok {
			return FormatAccessLog, nil
		}
		if isRequestLine(line) {
			return FormatVegetaHTTP, nil
		}
		return FormatUnknown, &ParseError{File: name, Line: number,
			Err: errors.New("neither an access log line (common or combined) nor a vegeta target")}
	}
	return FormatUnknown, &ParseError{File: name, Err: ErrEmpty}
}
