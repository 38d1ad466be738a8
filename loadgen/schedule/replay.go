package schedule

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// Limits of a traffic file. Beyond any of them the parsers return an error,
// because half a recording would look like a lighter load.
const (
	// MaxLineBytes is the longest line, newline included.
	MaxLineBytes = 1 << 20
	// MaxReplayEntries is the highest number of requests.
	MaxReplayEntries = 5_000_000
	// MaxReplayBytes is the size of the whole file.
	MaxReplayBytes = 1 << 30
	// MaxReplaySpanNs is the longest time from the first to the last request:
	// 366 days.
	MaxReplaySpanNs = 366 * 24 * 3600 * nsPerS
)

var (
	// ErrEmpty says that a traffic file holds no request.
	ErrEmpty = errors.New("no request in it")
	// ErrLimit says that a traffic file exceeds a limit.
	ErrLimit = errors.New("too large to replay")
	// ErrBodyFile says that a vegeta target names a file as its body.
	ErrBodyFile = errors.New("body files are not supported")
	// ErrSpeed says that a replay speed is not a number above 0, or so low
	// that the last request would never be due.
	ErrSpeed = errors.New("impossible speed")
	// ErrNoTiming says that entries carry no time.
	ErrNoTiming = errors.New("no timing to replay")
)

// ParseError is a traffic file's fault at a line; Line 0 is the whole file. It
// prints as file:line: what, and what to do.
type ParseError struct {
	File string
	Line int
	Err  error
}

// Error implements error.
func (e *ParseError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *ParseError) Unwrap() error { return e.Err }

// Replayed is one recorded request.
type Replayed struct {
	DueNs  int64  // since the first request; 0 if the file holds no times
	Method string // upper case
	// Target is path?query as it goes on the wire: it starts with "/" and holds
	// printable ASCII only.
	Target string
	Header [][2]string // name and value, in file order; never Host nor framing
	Body   []byte
	Host   string // host[:port] if the file names one
}

type replay struct {
	entries []Replayed
	speed   float64
	next    int
}

// Replay is the original timing divided by speed: 2 plays a recording in half
// its time. Due times beyond 2⁵³ ns (104 days) are exact to 1e-16 only. It
// keeps entries and does not change them.
//
// Errors: ErrSpeed; ErrNoTiming if several entries are all due at once, as
// those of a vegeta file are (give them a rate: Constant or Poisson); ErrRate if
// the mean rate would exceed MaxRatePerS; ErrEmpty; entries out of order.
func Replay(entries []Replayed, speed float64) (Schedule, error) {
	if !(speed > 0) || math.IsInf(speed, 1) {
		return nil, fmt.Errorf("replay: %w: %v; it must be a number above 0", ErrSpeed, speed)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("replay: %w", ErrEmpty)
	}
	var lastNs int64
	for i := range entries {
		if entries[i].DueNs < lastNs {
			return nil, fmt.Errorf("replay: entry %d is due at %d ns, before %d ns; sort them", i, entries[i].DueNs, lastNs)
		}
		lastNs = entries[i].DueNs
	}
	scaledNs := float64(lastNs) / speed
	if scaledNs >= math.MaxInt64 {
		return nil, fmt.Errorf("replay: %w: %v puts the last request centuries away", ErrSpeed, speed)
	}
	if lastNs == 0 && len(entries) > 1 {
		return nil, fmt.Errorf("replay: %w: all %d requests are due at once; give a rate instead", ErrNoTiming, len(entries))
	}
	if rate := float64(len(entries)-1) / scaledNs * nsPerS; rate > MaxRatePerS {
		return nil, fmt.Errorf("replay: %w: speed %v makes %.3g requests/s, at most %d/s are possible", ErrRate, speed, rate, int64(MaxRatePerS))
	}
	return &replay{entries: entries, speed: speed}, nil
}

func (r *replay) Next() (dueNs int64, ok bool) {
	if r.next >= len(r.entries) {
		return 0, false
	}
	dueNs = int64(float64(r.entries[r.next].DueNs) / r.speed)
	r.next++
	return dueNs, true
}

// lineReader reads a traffic file line by line within the limits.
type lineReader struct {
	file    string
	scanner *bufio.Scanner
	line    int // of the text last returned; the first is 1
	bytes   int64
}

func newLineReader(file string, r io.Reader) *lineReader {
	s := bufio.NewScanner(r)
	s.Buffer(nil, MaxLineBytes)
	return &lineReader{file: file, scanner: s}
}

// next returns the next line without surrounding white space; it is valid until
// the following call. ok is false at the end and after an error: see err.
func (l *lineReader) next() (text []byte, ok bool) {
	if l.bytes > MaxReplayBytes || !l.scanner.Scan() {
		return nil, false
	}
	l.line++
	l.bytes += int64(len(l.scanner.Bytes())) + 1
	return bytes.TrimSpace(l.scanner.Bytes()), true
}

// err tells why next stopped, nil at the regular end.
func (l *lineReader) err() error {
	if l.bytes > MaxReplayBytes {
		return l.fail(fmt.Errorf("%w: more than %d bytes; split the file", ErrLimit, int64(MaxReplayBytes)))
	}
	err := l.scanner.Err()
	if err == nil {
		return nil
	}
	l.line++ // the line that could not be read
	if errors.Is(err, bufio.ErrTooLong) {
		return l.fail(fmt.Errorf("%w: the line is longer than %d bytes", ErrLimit, MaxLineBytes))
	}
	return l.fail(fmt.Errorf("read: %w", err))
}

// fail places an error at the current line.
func (l *lineReader) fail(err error) error {
	return &ParseError{File: l.file, Line: l.line, Err: err}
}

// appendEntry refuses one entry more than the limit.
func appendEntry(entries []Replayed, e Replayed) ([]Replayed, error) {
	if len(entries) >= MaxReplayEntries {
		return nil, fmt.Errorf("%w: more than %d requests; split the file", ErrLimit, MaxReplayEntries)
	}
	return append(entries, e), nil
}

// quoteStart quotes at most the first 60 bytes of s for an error message.
func quoteStart(s []byte) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
