package postback

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// macroToken is the macro that may stand in a path.
const macroToken = "{token}"

// dialectShape is a dialect, checked and compiled.
type dialectShape struct {
	scheme AuthScheme // never ""
	target Text       // with dialectPrefix and the partner in front
	digest Text       // of AuthMD5
	params []dialectParam
	words  [lastEvent + 1][]byte // by Event; nil for EventNone

	// The raw path is pathStart, and if pathToken the token and pathEnd.
	pathStart, pathEnd []byte
	pathToken          bool

	authParam string // with a signature at the end of the query; else ""
	token     []byte // hexadecimal, of AuthToken
}

// dialectParam is a parameter whose value a server reads. name is decoded.
type dialectParam struct {
	name string
	id   param
}

// compileDialect checks everything that Validate promises.
func compileDialect(d *Dialect) (*dialectShape, error) {
	c := &dialectShape{scheme: d.Auth}
	switch c.scheme {
	case "":
		c.scheme = AuthNone
	case AuthNone, AuthToken, AuthHMACSHA256, AuthHMACSHA1, AuthMD5:
	default:
		return nil, &DialectError{d.Partner, fmt.Errorf("auth %.40q: want %s, %s, %s, %s or %s", c.scheme,
			AuthNone, AuthToken, AuthHMACSHA256, AuthHMACSHA1, AuthMD5)}
	}
	if !isPartnerName(d.Partner) {
		return nil, &DialectError{d.Partner, fmt.Errorf("want a partner's name of 1 to %d letters, digits, -, _ or .", MaxKIDBytes)}
	}
	for _, step := range []func(*Dialect) error{c.setTarget, c.setPath, c.setParams, c.setAuth, c.setDigest, c.setWords, checkAnswers} {
		if err := step(d); err != nil {
			return nil, &DialectError{d.Partner, err}
		}
	}
	return c, nil
}

func isPartnerName(s string) bool {
	for i := range len(s) {
		if !isLetterOrDigit(s[i]) && strings.IndexByte("-_.", s[i]) < 0 {
			return false
		}
	}
	// A path of dots would be another path to every HTTP library.
	return s != "" && len(s) <= MaxKIDBytes && strings.Trim(s, ".") != ""
}

func (c *dialectShape) setTarget(d *Dialect) (err error) {
	switch {
	case !strings.HasPrefix(d.Target, "/"):
		return fmt.Errorf("target %q: want path and query, such as /postback?cid={click_id}", shorten(d.Target))
	case len(d.Target) > MaxDialectTargetBytes:
		return fmt.Errorf("target: %w: %d bytes, at most %d", ErrTooLong, len(d.Target), MaxDialectTargetBytes)
	}
	if _, err = compileText(d.Target, paramToken); err != nil {
		return err // counts bytes as its author does
	}
	if c.target, err = compileText(dialectPrefix+d.Partner+d.Target, paramToken); err != nil {
		return err
	}
	for _, p := range c.target.pieces {
		if err := checkTargetLiteral(p.literal); err != nil {
			return fmt.Errorf("target %q: %w", shorten(d.Target), err)
		}
	}
	return nil
}

// setPath also refuses what an HTTP library would rewrite before we see it.
func (c *dialectShape) setPath(d *Dialect) error {
	path, _, _ := strings.Cut(d.Target, "?")
	if strings.Contains(path, "%") {
		return fmt.Errorf("path %q: no escapes, a server may read them or not", shorten(path))
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if strings.Trim(segment, ".") == "" && path != "/" {
			return fmt.Errorf("path %q: no empty segment and none of dots, a server may take it for another path", shorten(path))
		}
	}
	start, end, found := strings.Cut(path, macroToken)
	if strings.Contains(start+end, "{") {
		return fmt.Errorf("path %q: of the macros only one %s may stand in a path", shorten(path), macroToken)
	}
	c.pathStart, c.pathEnd, c.pathToken = []byte(dialectPrefix+d.Partner+start), []byte(end), found
	return nil
}

// setParams derives from the target which parameter means what.
func (c *dialectShape) setParams(d *Dialect) error {
	_, query, _ := strings.Cut(d.Target, "?")
	seen := make(map[string]bool)
	for pairs := scanQuery([]byte(query)); pairs.next(); {
		name := string(pairs.key)
		switch {
		case name == "" || len(name) > maxDialectNameBytes || strings.ContainsAny(name, "{}%+"):
			return fmt.Errorf("parameter %q: want a name of 1 to %d bytes without macros and escapes", shorten(name), maxDialectNameBytes)
		case seen[name]:
			return fmt.Errorf("parameter %q is there twice", name)
		}
		seen[name] = true
		if bytes.IndexByte(pairs.value, '{') < 0 {
			continue // an extra
		}
		id := c.wholeMacro(string(pairs.value))
		switch {
		case id == paramUnknown:
			return fmt.Errorf("parameter %q: value %q: a macro must be the whole value, else a server could not read it", name, shorten(string(pairs.value)))
		case c.has(id):
			return fmt.Errorf("parameter %q: {%s} is there twice", name, id)
		}
		c.params = append(c.params, dialectParam{name, id})
	}
	if !c.has(paramClickID) {
		return fmt.Errorf("target %q: no parameter={click_id}: whose conversion would it be", shorten(d.Target))
	}
	if own := c.signatureParam(d); own != "" && seen[own] {
		return fmt.Errorf("auth %s: parameter %q is in the target already; it is appended", c.scheme, own)
	}
	return nil
}

// signatureParam is the parameter that a signature is appended as, or "".
func (c *dialectShape) signatureParam(d *Dialect) string {
	switch c.scheme {
	case AuthHMACSHA256:
		return "sig"
	case AuthHMACSHA1, AuthMD5:
		return d.AuthParam
	}
	return ""
}

// wholeMacro is the macro that value consists of.
func (c *dialectShape) wholeMacro(value string) param {
	if len(value) < 2 || value[0] != '{' || value[len(value)-1] != '}' {
		return paramUnknown
	}
	return lookupMacro(value[1:len(value)-1], paramToken)
}

func (c *dialectShape) has(id param) bool {
	return slices.ContainsFunc(c.params, func(p dialectParam) bool { return p.id == id })
}

func (c *dialectShape) setAuth(d *Dialect) error {
	hasToken := c.pathToken || c.has(paramToken)
	switch {
	case c.scheme != AuthNone && len(d.Secret) == 0:
		return fmt.Errorf("auth %s: the secret is empty, anyone could sign", c.scheme)
	case c.scheme == AuthToken && len(d.Secret) < tokenBytes:
		return fmt.Errorf("auth %s: a secret of %d bytes, want at least %d", c.scheme, len(d.Secret), tokenBytes)
	case hasToken != (c.scheme == AuthToken) || c.pathToken && c.has(paramToken):
		return fmt.Errorf("auth %s: %s must stand in the target once with auth %s, and never without", c.scheme, macroToken, AuthToken)
	case c.scheme == AuthHMACSHA256 && !(c.has(paramKID) && c.has(paramTS)):
		return fmt.Errorf("auth %s: want {kid} and {ts} in the target, the signature is bound to them", c.scheme)
	case c.scheme == AuthHMACSHA1 || c.scheme == AuthMD5:
		if !isAuthParam(d.AuthParam) {
			return fmt.Errorf("auth %s: parameter %q: want a name of 1 to %d letters, digits, -, _, . or ~", c.scheme, shorten(d.AuthParam), maxDialectNameBytes)
		}
	case d.AuthParam != "" && d.AuthParam != c.signatureParam(d):
		return fmt.Errorf("auth %s: parameter %q: only %s and %s have one to name", c.scheme, shorten(d.AuthParam), AuthHMACSHA1, AuthMD5)
	}
	if c.scheme == AuthToken {
		c.token = hex.AppendEncode(nil, d.Secret[:tokenBytes])
	}
	if c.authParam = c.signatureParam(d); c.authParam != "" {
		c.params = append(c.params, dialectParam{c.authParam, paramSig})
	}
	return nil
}

func isAuthParam(s string) bool {
	for i := range len(s) {
		if needsEscape(s[i], escapeURL) {
			return false
		}
	}
	return s != "" && len(s) <= maxDialectNameBytes
}

// setDigest refuses values that are not sent: a server could not check them.
func (c *dialectShape) setDigest(d *Dialect) (err error) {
	if (d.Digest != "") != (c.scheme == AuthMD5) {
		return fmt.Errorf("auth %s: digest %q: %s needs one, such as {click_id}{txid}, the others have none", c.scheme, shorten(d.Digest), AuthMD5)
	}
	if len(d.Digest) > MaxDialectTargetBytes {
		return fmt.Errorf("digest: %w: %d bytes, at most %d", ErrTooLong, len(d.Digest), MaxDialectTargetBytes)
	}
	if c.digest, err = compileText(d.Digest, paramTS); err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	for _, p := range c.digest.pieces {
		if p.macro != paramUnknown && !c.has(p.macro) {
			return fmt.Errorf("digest %q: {%s} is not in the target, the server could not know it", shorten(d.Digest), p.macro)
		}
	}
	return nil
}

// setWords refuses words that stand for two events.
func (c *dialectShape) setWords(d *Dialect) error {
	for name := range d.Events {
		if _, ok := ParseEvent([]byte(name)); !ok {
			return fmt.Errorf("events: %.40q is none of ours, want lead, sale, rejected, refund or rebill", name)
		}
	}
	owner := make(map[string]Event)
	for e := EventLead; e <= lastEvent; e++ {
		word, ok := d.Events[e.String()]
		if !ok {
			word = e.String()
		}
		switch {
		case word == "" || len(word) > maxTokenBytes || !isPrintable([]byte(word)):
			return fmt.Errorf("events: %s: %.40q: want 1 to %d bytes of printable ASCII", e, word, maxTokenBytes)
		case owner[word] != EventNone:
			return fmt.Errorf("events: %q stands for %s and for %s", word, owner[word], e)
		}
		owner[word] = e
		c.words[e] = []byte(word)
	}
	return nil
}

func checkAnswers(d *Dialect) error {
	for _, answer := range []string{d.OK, d.Duplicate} {
		if len(answer) > maxAnswerBytes || !isPrintable([]byte(answer)) {
			return fmt.Errorf("answer %.40q: want at most %d bytes of printable ASCII", answer, maxAnswerBytes)
		}
	}
	return nil
}

// isPath tells whether a raw path is this dialect's, whatever token it holds.
func (c *dialectShape) isPath(path []byte) bool {
	if !c.pathToken {
		return bytes.Equal(path, c.pathStart)
	}
	return len(path) >= len(c.pathStart)+len(c.pathEnd) && bytes.HasPrefix(path, c.pathStart) && bytes.HasSuffix(path, c.pathEnd) &&
		bytes.IndexByte(c.tokenOf(path), '/') < 0
}

// tokenOf cuts the token out of a path that isPath accepts the ends of.
func (c *dialectShape) tokenOf(path []byte) []byte {
	return path[len(c.pathStart) : len(path)-len(c.pathEnd)]
}
