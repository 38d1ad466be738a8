package schedule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ParseVegetaTargets reads vegeta's target files, in either format; the first
// line that is neither blank nor a # comment tells which.
//
// HTTP format: targets separated by blank lines, each METHOD URL and then
// header lines. A line "@file" naming a body is refused with ErrBodyFile.
// JSON format: one object a line with method, url, body (base64) and header
// (name to list of values; put in order of name, as an object has no order).
//
// URLs may also be paths. A Host header becomes Host. Content-Length and
// Transfer-Encoding are left out: framing is the sender's, and vegeta does the
// same. DueNs is always 0. Errors are *ParseError.
func ParseVegetaTargets(name string, r io.Reader) ([]Replayed, error) {
	p := targetParser{lines: newLineReader(name, r)}
	for {
		line, ok := p.lines.next()
		if !ok {
			break
		}
		if err := p.line(line); err != nil {
			return nil, p.lines.fail(err)
		}
	}
	if err := p.lines.err(); err != nil {
		return nil, err
	}
	if len(p.entries) == 0 {
		return nil, &ParseError{File: name, Err: ErrEmpty}
	}
	return p.entries, nil
}

type targetParser struct {
	lines    *lineReader
	entries  []Replayed
	json     bool // decided by the first target
	inTarget bool // HTTP format: the last entry may still get headers
}

func (p *targetParser) line(line []byte) error {
	switch {
	case len(line) == 0:
		p.inTarget = false
		return nil
	case line[0] == '#' && !p.json:
		return nil
	case len(p.entries) == 0 && line[0] == '{':
		p.json = true
	}
	if p.json {
		return p.add(parseJSONTarget(line))
	}
	if !p.inTarget || isRequestLine(line) {
		p.inTarget = true
		return p.add(parseHTTPTarget(line))
	}
	if line[0] == '@' {
		return fmt.Errorf("%w: %s; use the JSON format, which holds the body itself", ErrBodyFile, quoteStart(line))
	}
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found {
		return fmt.Errorf("%s is no header; want Name: value", quoteStart(line))
	}
	return p.entries[len(p.entries)-1].addHeader(string(bytes.TrimSpace(name)), string(bytes.TrimSpace(value)))
}

func (p *targetParser) add(e Replayed, err error) error {
	if err == nil {
		p.entries, err = appendEntry(p.entries, e)
	}
	return err
}

// isRequestLine tells METHOD URL from a header line, which may look alike up to
// the URL: "ACCEPT : text/plain".
func isRequestLine(line []byte) bool {
	method, url, _ := bytes.Cut(line, []byte(" "))
	url = bytes.TrimSpace(url)
	_, absolute := cutScheme(url)
	return isMethod(method) && (absolute || bytes.HasPrefix(url, []byte("/")))
}

func parseHTTPTarget(line []byte) (Replayed, error) {
	method, url, found := bytes.Cut(line, []byte(" "))
	if !found {
		return Replayed{}, fmt.Errorf("%s is no target; want METHOD URL", quoteStart(line))
	}
	return newTarget(method, bytes.TrimSpace(url))
}

func newTarget(method, url []byte) (e Replayed, err error) {
	if e.Method, err = parseMethod(method); err != nil {
		return Replayed{}, err
	}
	if bytes.ContainsAny(url, " \t") {
		return Replayed{}, fmt.Errorf("URL %s holds a space; write %%20", quoteStart(url))
	}
	e.Host, e.Target, err = splitTarget(url)
	return e, err
}

type jsonTarget struct {
	Method string              `json:"method"`
	URL    string              `json:"url"`
	Body   []byte              `json:"body"`
	Header map[string][]string `json:"header"`
}

// parseJSONTarget refuses unknown keys: a misspelt "headers" would otherwise
// send other requests than the file seems to say.
func parseJSONTarget(line []byte) (Replayed, error) {
	var t jsonTarget
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return Replayed{}, jsonError(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Replayed{}, errors.New("more than one JSON value on the line; want one target per line")
	}
	if t.Method == "" || t.URL == "" {
		return Replayed{}, errors.New(`a target needs "method" and "url"`)
	}
	e, err := newTarget([]byte(t.Method), []byte(t.URL))
	if err != nil {
		return Replayed{}, err
	}
	if len(t.Body) > 0 {
		e.Body = t.Body
	}
	names := make([]string, 0, len(t.Header))
	for name := range t.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range t.Header[name] {
			if err := e.addHeader(name, value); err != nil {
				return Replayed{}, err
			}
		}
	}
	return e, nil
}

// jsonError says in the file's words what the decoder says in Go's.
func jsonError(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return fmt.Errorf("JSON target: want an object, not a %s", wrongType.Value)
	case errors.As(err, &wrongType):
		return fmt.Errorf("JSON target: %q cannot be a %s", wrongType.Field, wrongType.Value)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("JSON target: the object does not end on its line")
	}
	return fmt.Errorf("JSON target: %w", err)
}

// addHeader checks that a header can neither end early nor start another one.
func (e *Replayed) addHeader(name, value string) error {
	if value = strings.TrimSpace(value); name == "" || value == "" {
		return fmt.Errorf("header %s needs a name and a value", quoteStart([]byte(name)))
	}
	for i := range len(name) {
		if !isPrintable(name[i]) || strings.IndexByte(`"(),/:;<=>?@[\]{}`, name[i]) >= 0 {
			return fmt.Errorf("byte %q in header name %s", name[i], quoteStart([]byte(name)))
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("control byte %q in the value of header %s", c, name)
		}
	}
	switch {
	case strings.EqualFold(name, "Host"):
		host, err := parseHost([]byte(value))
		if err != nil {
			return fmt.Errorf("Host header: %w", err)
		}
		e.Host = host
	case strings.EqualFold(name, "Content-Length"), strings.EqualFold(name, "Transfer-Encoding"):
	default:
		e.Header = append(e.Header, [2]string{name, value})
	}
	return nil
}
