package schedule

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// accessLogTime is the layout of %t (Apache) and $time_local (nginx).
const accessLogTime = "02/Jan/2006:15:04:05 -0700"

// errNotALogLine says that a line has no time followed by a quoted request.
var errNotALogLine = errors.New(`not an access log line; want: ADDRESS - USER [10/Oct/2000:13:55:36 -0700] "GET /path HTTP/1.1" 200 123`)

// errNotHTTP marks a line that is a log line but whose request was no HTTP.
var errNotHTTP = errors.New("no HTTP request")

// ParseAccessLog reads the log of nginx or Apache in the common or combined
// format; further fields behind those, and a virtual host before them, are
// passed over. Bodies are not in such a log and other headers hardly: entries
// carry method, target and, where the request line was absolute, host.
//
// Times have a resolution of 1 s. The k requests of one second are spread
// evenly over it, 1/k s apart, in the file's order. Servers log a request when
// it ends, so seconds may be out of order; they are sorted, stably. The first
// request is due at 0.
//
// Every real log has lines whose request was no HTTP ("-" after a timeout, TLS
// bytes on a plain port, "OPTIONS *"): they cannot be sent again and are counted
// in skipped. Any other line is an error (*ParseError). Blank lines are passed
// over.
func ParseAccessLog(name string, r io.Reader) (entries []Replayed, skipped int64, err error) {
	lines := newLineReader(name, r)
	// DueNs holds unix seconds until spread.
	for {
		line, ok := lines.next()
		if !ok {
			break
		}
		if len(line) == 0 {
			continue
		}
		e, err := parseLogLine(line)
		if errors.Is(err, errNotHTTP) {
			skipped++
			continue
		}
		if err == nil {
			entries, err = appendEntry(entries, e)
		}
		if err != nil {
			return nil, 0, lines.fail(err)
		}
	}
	if err := lines.err(); err != nil {
		return nil, 0, err
	}
	if len(entries) == 0 {
		return nil, 0, &ParseError{File: name, Err: ErrEmpty}
	}
	slices.SortStableFunc(entries, func(a, b Replayed) int { return cmp.Compare(a.DueNs, b.DueNs) })
	const maxSpanS = MaxReplaySpanNs / nsPerS
	if spanS := entries[len(entries)-1].DueNs - entries[0].DueNs; spanS >= maxSpanS {
		return nil, 0, &ParseError{File: name, Err: fmt.Errorf("%w: it spans %d days, at most %d are possible; check the times",
			ErrLimit, spanS/86_400, int64(maxSpanS/86_400))}
	}
	spreadSeconds(entries)
	return entries, skipped, nil
}

// spreadSeconds turns sorted unix seconds into due times.
func spreadSeconds(entries []Replayed) {
	firstS := entries[0].DueNs
	for start := 0; start < len(entries); {
		second := entries[start].DueNs
		end := start
		for end < len(entries) && entries[end].DueNs == second {
			end++
		}
		k := int64(end - start)
		for i := range k {
			entries[start+int(i)].DueNs = (second-firstS)*nsPerS + i*nsPerS/k
		}
		start = end
	}
}

// parseLogLine reads one line. Its DueNs is the time in unix seconds.
func parseLogLine(line []byte) (Replayed, error) {
	at, rest, ok := cutLogTime(line)
	if !ok {
		return Replayed{}, errNotALogLine
	}
	request, rest, ok := cutQuoted(rest)
	if !ok {
		return Replayed{}, errors.New("the quoted request does not end")
	}
	if err := checkStatusAndBytes(rest); err != nil {
		return Replayed{}, err
	}
	e, err := parseRequestLine(request)
	if err != nil {
		return Replayed{}, fmt.Errorf("%w: %s: %w", errNotHTTP, quoteStart(request), err)
	}
	e.DueNs = at.Unix()
	return e, nil
}

// cutLogTime finds the first `[time] "` behind a space. It tries every bracket,
// because a user name comes before the time and may hold anything. rest starts
// behind the opening quote.
func cutLogTime(line []byte) (at time.Time, rest []byte, ok bool) {
	const behindTime = `] "`
	for i := bytes.Index(line, []byte(" [")); i >= 0; {
		inside := line[i+len(" ["):]
		// The length is fixed, so a line of nothing but brackets costs linear time.
		if n := len(accessLogTime); len(inside) > n && bytes.HasPrefix(inside[n:], []byte(behindTime)) {
			// Parsing in UTC keeps the machine's own zone out of it.
			if at, err := time.ParseInLocation(accessLogTime, string(inside[:n]), time.UTC); err == nil {
				return at, inside[n+len(behindTime):], true
			}
		}
		next := bytes.Index(inside, []byte(" ["))
		if next < 0 {
			break
		}
		i += len(" [") + next
	}
	return time.Time{}, nil, false
}

// cutQuoted reads up to the closing quote and undoes the escapes of nginx (\xHH)
// and Apache (\" \\ \n …). A backslash before anything else stays.
func cutQuoted(b []byte) (text, rest []byte, ok bool) {
	end := 0
	for end < len(b) && b[end] != '"' {
		if b[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(b) {
		return nil, nil, false
	}
	return unescape(b[:end]), b[end+1:], true
}

func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			continue
		}
		i++
		if b[i] == 'x' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]) {
			out = append(out, unhex(b[i+1])<<4|unhex(b[i+2]))
			i += 2
		} else if at := bytes.IndexByte([]byte(`"\abfnrtv`), b[i]); at >= 0 {
			out = append(out, "\"\\\a\b\f\n\r\t\v"[at])
		} else {
			out = append(out, '\\', b[i])
		}
	}
	return out
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// checkStatusAndBytes makes sure that the quoted text was the request, not a
// referer in a format of another order.
func checkStatusAndBytes(rest []byte) error {
	fields := bytes.Fields(rest)
	if len(fields) < 2 || len(fields[0]) != 3 || !isNumber(fields[0]) ||
		!isNumber(fields[1]) && string(fields[1]) != "-" {
		return fmt.Errorf("want status and bytes after the request, not %s", quoteStart(rest))
	}
	return nil
}

func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// parseRequestLine splits METHOD TARGET [HTTP/x]. The target may hold spaces, as
// servers accept them; HTTP/0.9 has no version.
func parseRequestLine(b []byte) (Replayed, error) {
	method, rest, found := bytes.Cut(b, []byte(" "))
	if !found {
		return Replayed{}, errors.New("it is no HTTP request")
	}
	target := rest
	if i := bytes.LastIndex(rest, []byte(" HTTP/")); i >= 0 {
		target = rest[:i]
	}
	var e Replayed
	var err error
	if e.Method, err = parseMethod(method); err != nil {
		return Replayed{}, err
	}
	if e.Host, e.Target, err = splitTarget(target); err != nil {
		return Replayed{}, err
	}
	return e, nil
}
