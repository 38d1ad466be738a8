package schedule

import (
	"bytes"
	"errors"
	"fmt"
)

const maxMethodBytes = 20

// parseMethod accepts upper-case methods; the two usual ones cost no
// allocation.
func parseMethod(b []byte) (string, error) {
	switch string(b) {
	case "GET":
		return "GET", nil
	case "POST":
		return "POST", nil
	}
	if !isMethod(b) {
		return "", fmt.Errorf("%s is not an HTTP method", quoteStart(b))
	}
	return string(b), nil
}

func isMethod(b []byte) bool {
	if len(b) == 0 || len(b) > maxMethodBytes {
		return false
	}
	for _, c := range b {
		if (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

// splitTarget takes a request target apart: "/path?query", or an absolute
// http(s) URL, of which host is the authority. The fragment never travels and
// is cut off an absolute URL.
func splitTarget(b []byte) (host, target string, err error) {
	rest, absolute := cutScheme(b)
	if !absolute {
		if len(b) == 0 || b[0] != '/' {
			return "", "", fmt.Errorf("%s is neither a path nor an http URL", quoteStart(b))
		}
		return "", escapeTarget(b), nil
	}
	rest, _, _ = bytes.Cut(rest, []byte("#"))
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if host, err = parseHost(rest[:end]); err != nil {
		return "", "", fmt.Errorf("URL %s: %w", quoteStart(b), err)
	}
	target = escapeTarget(rest[end:])
	if target == "" || target[0] == '?' {
		target = "/" + target
	}
	return host, target, nil
}

// parseHost checks host[:port] for bytes that could break out of a Host header.
func parseHost(b []byte) (string, error) {
	if len(b) == 0 {
		return "", errors.New("it has no host")
	}
	for _, c := range b {
		if c == '@' {
			return "", errors.New("a user name in it is not supported; send an Authorization header")
		}
		if !isPrintable(c) || bytes.IndexByte([]byte(`"/\?#<>`), c) >= 0 {
			return "", fmt.Errorf("byte %q in the host", c)
		}
	}
	return string(b), nil
}

func cutScheme(b []byte) (rest []byte, ok bool) {
	for _, scheme := range []string{"http://", "https://"} {
		if len(b) >= len(scheme) && bytes.EqualFold(b[:len(scheme)], []byte(scheme)) {
			return b[len(scheme):], true
		}
	}
	return b, false
}

// escapeTarget percent-encodes what may not stand in a request line: white
// space, controls, DEL and non-ASCII. Everything else stays byte for byte,
// invalid escapes included, since a recording may hold them on purpose.
func escapeTarget(b []byte) string {
	bad := 0
	for _, c := range b {
		if !isPrintable(c) {
			bad++
		}
	}
	if bad == 0 {
		return string(b)
	}
	const hexDigits = "0123456789ABCDEF"
	out := make([]byte, 0, len(b)+2*bad)
	for _, c := range b {
		if isPrintable(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(out)
}

// isPrintable tells visible ASCII: no space, no control, no byte above 0x7e.
func isPrintable(c byte) bool { return c > ' ' && c < 0x7f }
