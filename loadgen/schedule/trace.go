package schedule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ParseTrace reads a rate over time as CSV: a header "at_s,rate_per_s", then a
// line per point, seconds since the start (decimals allowed) and requests per
// second. Blank lines and lines that begin with # are passed over. Errors are
// *ParseError; what Curve.Validate refuses is wrapped in one without a line.
func ParseTrace(name string, r io.Reader) (Curve, error) {
	lines := newLineReader(name, r)
	var curve Curve
	header := false
	for {
		line, ok := lines.next()
		if !ok {
			break
		}
		switch {
		case len(line) == 0 || line[0] == '#':
			continue
		case !header:
			if header = string(bytes.TrimPrefix(line, []byte("\ufeff"))) == "at_s,rate_per_s"; !header {
				return nil, lines.fail(fmt.Errorf("want the header at_s,rate_per_s, got %s", quoteStart(line)))
			}
			continue
		case len(curve) == MaxCurvePoints:
			return nil, lines.fail(fmt.Errorf("%w: more than %d points", ErrLimit, MaxCurvePoints))
		}
		p, err := parseTracePoint(line)
		if err != nil {
			return nil, lines.fail(err)
		}
		if len(curve) > 0 && p.AtNs < curve[len(curve)-1].AtNs {
			return nil, lines.fail(errors.New("earlier than the line before; sort the points by time"))
		}
		curve = append(curve, p)
	}
	if err := lines.err(); err != nil {
		return nil, err
	}
	if err := curve.Validate(); err != nil {
		return nil, &ParseError{File: name, Err: err}
	}
	return curve, nil
}

func parseTracePoint(line []byte) (Point, error) {
	at, rate, ok := bytes.Cut(line, []byte(","))
	atS, atErr := strconv.ParseFloat(string(bytes.TrimSpace(at)), 64)
	ratePerS, rateErr := strconv.ParseFloat(string(bytes.TrimSpace(rate)), 64)
	const maxS = MaxReplaySpanNs / nsPerS
	switch {
	case !ok || atErr != nil || rateErr != nil:
		return Point{}, fmt.Errorf("want seconds and requests/s such as 1.5,200, got %s", quoteStart(line))
	case !(atS >= 0 && atS <= maxS):
		return Point{}, fmt.Errorf("%v s; times must be 0 to %d s", atS, int64(maxS))
	case !(ratePerS >= 0 && ratePerS <= MaxRatePerS):
		return Point{}, fmt.Errorf("%v requests/s; rates must be 0 to %d/s", ratePerS, int64(MaxRatePerS))
	}
	return Point{AtNs: int64(atS * nsPerS), RatePerS: ratePerS}, nil
}
