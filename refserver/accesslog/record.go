package accesslog

import (
	"strconv"
	"time"
)

// Record is an entry as a log has kept it: cut, and without its secrets.
type Record struct {
	Entry
	// URIBytes is the length of a URI that was cut; 0 otherwise.
	URIBytes int
}

// textTime is RFC 3339 with all of its nine digits, so that columns stay.
const textTime = "2006-01-02T15:04:05.000000000Z"

// AppendJSON appends the line that the JSON log has for r, its line feed included.
func (r *Record) AppendJSON(dst []byte) []byte {
	l := line{unixNs: r.UnixNs, durationNs: r.DurationNs, status: r.Status, uriBytes: r.URIBytes, method: r.Method, uri: r.URI}
	return l.appendJSON(dst)
}

// AppendText appends a line for people: time (UTC), status, milliseconds, method
// and URI, with the same escapes as in JSON, and a line feed.
func (r *Record) AppendText(dst []byte) []byte {
	dst = time.Unix(0, r.UnixNs).UTC().AppendFormat(dst, textTime)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendFloat(dst, time.Duration(r.DurationNs).Seconds()*1000, 'f', 3, 64)
	dst = append(dst, "ms "...)
	dst = appendEscaped(dst, r.Method)
	dst = append(dst, ' ')
	dst = appendURI(dst, r.URI)
	if r.URIBytes > 0 {
		dst = append(dst, " (cut, "...)
		dst = strconv.AppendInt(dst, int64(r.URIBytes), 10)
		dst = append(dst, " bytes)"...)
	}
	return append(dst, '\n')
}
