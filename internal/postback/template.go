package postback

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Template is a request as data: what a partner sends, with macros where the
// conversion's values go. The macros are click_id txid offer_id event payout
// currency kid ts.
type Template struct {
	Name    string
	Method  string // as on the request line, "GET" or "POST"
	Target  Text   // path and query, without scheme and host
	Headers []Header
	Body    Text
	// Signed: the sender appends SigPrefix and the Signer's digits to what
	// AppendTarget wrote.
	Signed bool
	// Dialect is whose own words the template is in; nil for the others. Its
	// sender fills in and signs with a DialectSigner.
	Dialect *Dialect
}

// Header is one header field of a template.
type Header struct {
	Name  string
	Value Text
}

const (
	plainTarget = "/pb?" + plainQuery
	plainQuery  = "click_id={click_id}&txid={txid}&offer_id={offer_id}&event={event}&payout={payout}&currency={currency}"

	signedTarget = "/pb/signed?" + plainQuery + "&kid={kid}&ts={ts}"
)

// PlainTemplate is the unsigned request that ParsePlain reads, to /pb.
func PlainTemplate() Template {
	return Template{Name: "plain", Method: "GET", Target: mustText(plainTarget)}
}

// SignedTemplate is the request that ParseSigned reads, to /pb/signed, without
// its signature.
func SignedTemplate() Template {
	return Template{Name: "signed", Method: "GET", Target: mustText(signedTarget), Signed: true}
}

func mustText(s string) Text {
	t, err := ParseText(s)
	if err != nil {
		panic("BUG: built-in template: " + err.Error())
	}
	return t
}

// TemplateFromURL makes an unsigned GET template named "url" from a user's own
// postback URL with macros in its path or query. origin is scheme, host and
// port, "https://me:8443", to connect to.
func TemplateFromURL(raw string) (t Template, origin string, err error) {
	origin, target, err := splitURL(raw)
	if err != nil {
		return Template{}, "", fmt.Errorf("postback: URL %q: %w", shorten(raw), err)
	}
	text, err := ParseText(target)
	if err != nil {
		return Template{}, "", fmt.Errorf("postback: URL %q: %w", shorten(raw), err)
	}
	for _, p := range text.pieces {
		if err := checkTargetLiteral(p.literal); err != nil {
			return Template{}, "", fmt.Errorf("postback: URL %q: %w", shorten(raw), err)
		}
	}
	return Template{Name: "url", Method: "GET", Target: text}, origin, nil
}

// splitURL cuts raw after the authority. The target stays raw: net/url would
// re-encode what the user wrote.
func splitURL(raw string) (origin, target string, err error) {
	const example = "'https://tracker.example/pb?cid={click_id}'"
	if len(raw) > MaxTextBytes {
		return "", "", fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(raw), MaxTextBytes)
	}
	scheme, rest, found := strings.Cut(raw, "://")
	if !found || strings.ContainsAny(scheme, "/?#{") {
		return "", "", errors.New("no scheme and host, write the whole URL, such as " + example)
	}
	scheme = strings.ToLower(scheme)
	if scheme != "http" && scheme != "https" {
		return "", "", fmt.Errorf("scheme %q is not supported, write http:// or https://", scheme)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, target := rest[:end], rest[end:]
	if err := checkHost(scheme, host, example); err != nil {
		return "", "", err
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	return scheme + "://" + host, target, nil
}

func checkHost(scheme, host, example string) error {
	if strings.Contains(host, "{") {
		return fmt.Errorf("a macro in the host %q, macros belong into the path or the query", host)
	}
	u, err := url.Parse(scheme + "://" + host)
	switch {
	case err != nil:
		return fmt.Errorf("host %q is not valid, write a name or an address with an optional port, such as %s", host, example)
	case u.User != nil:
		return errors.New("a user name in front of the host, send it as a header instead, such as 'Authorization: Basic …'")
	case u.Hostname() == "":
		return errors.New("no host, write the whole URL, such as " + example)
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		// net/url accepts any digits, and none.
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
	}
	return nil
}

// checkTargetLiteral refuses what may not stand on a request line, or would
// not reach the server as meant.
func checkTargetLiteral(s string) error {
	for i := range len(s) {
		c := s[i]
		switch {
		case c <= ' ' || c >= 0x7f:
			return fmt.Errorf("byte 0x%02x is not allowed in a URL, write %%%02X", c, c)
		case c == '#':
			return errors.New("a fragment (#…) is never sent to a server, leave it out or write %23")
		case c == '{' || c == '}':
			return fmt.Errorf("a brace that belongs to no macro, write %%%02X or one of %s", c, macroList(paramTS))
		case c == '%' && (len(s)-i < 3 || !isHex(s[i+1]) || !isHex(s[i+2])):
			return fmt.Errorf("%w: a percent sign itself is written %%25", ErrBadEscape)
		}
	}
	return nil
}

// ParseHeader reads "Name: value", with macros in the value.
func ParseHeader(s string) (Header, error) {
	name, value, found := strings.Cut(s, ":")
	if !found || !isHeaderName(name) {
		return Header{}, fmt.Errorf("postback: header %q: expected 'Name: value'", shorten(s))
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if needsEscape(value[i], escapeHeader) && value[i] != '\t' {
			return Header{}, fmt.Errorf("postback: header %q: byte 0x%02x is not allowed in a value", shorten(s), value[i])
		}
	}
	text, err := ParseText(value)
	if err != nil {
		return Header{}, fmt.Errorf("postback: header %q: %w", name, err)
	}
	return Header{Name: name, Value: text}, nil
}

// isHeaderName reports whether s is a token of RFC 9110 §5.6.2.
func isHeaderName(s string) bool {
	for i := range len(s) {
		if !isLetterOrDigit(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// AppendTarget appends the path and query. Inserted values are escaped so that
// only RFC 3986 unreserved characters are left. It adds no signature.
func (t *Template) AppendTarget(dst []byte, f *Fields) []byte {
	return t.Target.append(dst, f, escapeURL)
}

// AppendHeader appends the value of t.Headers[i]. Control bytes of inserted
// values are percent-encoded: a value can never end its header.
func (t *Template) AppendHeader(dst []byte, i int, f *Fields) []byte {
	return t.Headers[i].Value.append(dst, f, escapeHeader)
}

// AppendBody appends the body. Inserted values are escaped as the Content-Type
// asks: as JSON strings in JSON, as form values in a form, not at all in other
// types. Without a Content-Type, a body that starts with a brace or a bracket
// is JSON and any other a form.
func (t *Template) AppendBody(dst []byte, f *Fields) []byte {
	return t.Body.append(dst, f, t.bodyEscaping())
}

func (t *Template) bodyEscaping() escaping {
	for i := range t.Headers {
		if strings.EqualFold(t.Headers[i].Name, "Content-Type") {
			return escapingOf(t.Headers[i].Value.source)
		}
	}
	if len(t.Body.pieces) == 0 {
		return escapeURL
	}
	// The first literal, not the source: a body may start with a macro's brace.
	start := strings.TrimLeft(t.Body.pieces[0].literal, " \t\r\n")
	if strings.HasPrefix(start, "{") || strings.HasPrefix(start, "[") {
		return escapeJSON
	}
	return escapeURL
}

// escapingOf looks at the media type only, parameters such as charset aside.
func escapingOf(contentType string) escaping {
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.Trim(mediaType, " \t")
	const jsonSuffix = "json" // application/json, application/problem+json
	switch {
	case len(mediaType) >= len(jsonSuffix) && strings.EqualFold(mediaType[len(mediaType)-len(jsonSuffix):], jsonSuffix):
		return escapeJSON
	case strings.EqualFold(mediaType, "application/x-www-form-urlencoded"):
		return escapeURL
	}
	return escapeNone
}

// Has reports whether the target, a header or the body uses a macro.
func (t *Template) Has(macro string) bool {
	for i := range t.Headers {
		if t.Headers[i].Value.Has(macro) {
			return true
		}
	}
	return t.Target.Has(macro) || t.Body.Has(macro)
}
