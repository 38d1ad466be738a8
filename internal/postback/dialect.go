package postback

import (
	"bytes"
	"errors"
	"fmt"
)

// AuthScheme is how a partner proves that a postback is its own.
type AuthScheme string

// The schemes. FORMAT.md says what each of them signs; "" is AuthNone.
const (
	AuthNone       AuthScheme = "none"
	AuthToken      AuthScheme = "token"       // a constant of the partner's, in a parameter or in the path
	AuthHMACSHA256 AuthScheme = "hmac-sha256" // pb1, as /pb/signed has it: kid, ts, sig
	AuthHMACSHA1   AuthScheme = "hmac-sha1"   // over the raw target
	AuthMD5        AuthScheme = "md5"         // of values and the secret, one after the other
)

// Dialect is a partner's own way to write a postback: the names and the order
// of its parameters, its words for events, its authentication and the answers
// that it wants to read. A JSON array of these tells a server what to accept.
type Dialect struct {
	// Partner is 1 to 32 letters, digits, "-", "_" or ".". On the wire every
	// dialect lies under "/p/<Partner>", since a tracker gives each network a
	// URL of its own.
	Partner string `json:"partner"`
	// Target is path and query. In the query, macros stand as whole values
	// (name={macro}), each at most once, {click_id} always; other parameters are
	// sent as they are, and the server ignores them. {token} may stand in the path.
	Target string     `json:"target"`
	Auth   AuthScheme `json:"auth,omitempty"`
	// AuthParam names the parameter of AuthHMACSHA1 and AuthMD5.
	AuthParam string `json:"auth_param,omitempty"`
	// Digest is what AuthMD5 hashes in front of the secret, with macros.
	Digest string `json:"digest,omitempty"`
	// Secret is required with any authentication: at least 16 bytes for AuthToken.
	Secret []byte `json:"secret,omitempty"`
	// Events maps our words for events to the partner's ("sale": "2"); an event
	// that is not in it keeps our word.
	Events map[string]string `json:"events,omitempty"`
	// OK and Duplicate are the bodies of a server's 200 to a new conversion and
	// to a repeated one; "" means "OK" and "DUP".
	OK        string `json:"ok,omitempty"`
	Duplicate string `json:"duplicate,omitempty"`
	// Success is what the partner takes for success, told to whoever writes a
	// server: the beginning of a 2xx's body; none: every 2xx.
	Success []string `json:"success,omitempty"`
}

// Limits of a dialect.
const (
	// MaxDialects bounds NewDialects: far more networks than a tracker has.
	MaxDialects = 10_000

	// MaxDialectTargetBytes leaves room for the values below MaxQueryBytes.
	MaxDialectTargetBytes = 1024

	maxDialectNameBytes = 64  // of a parameter
	maxAnswerBytes      = 256 // of OK and Duplicate
	tokenBytes          = 16  // of the secret, that a token shows

	dialectPrefix = "/p/"

	// DefaultOK and DefaultDuplicate are the bodies of a server's 200 where a
	// dialect names none.
	DefaultOK        = "OK"
	DefaultDuplicate = "DUP"
)

// ErrDialect is wrapped by every error about a dialect.
var ErrDialect = errors.New("postback: dialect")

// DialectError says what is wrong with one partner's dialect.
type DialectError struct {
	Partner string
	Reason  error // for those who say themselves whose dialect it is
}

// Error implements error, in one line.
func (e *DialectError) Error() string {
	if !isPartnerName(e.Partner) {
		return fmt.Sprintf("%v of %.40q: %v", ErrDialect, e.Partner, e.Reason)
	}
	return fmt.Sprintf("%v of %s: %v", ErrDialect, e.Partner, e.Reason)
}

// Unwrap is for errors.Is and errors.As.
func (e *DialectError) Unwrap() []error { return []error{ErrDialect, e.Reason} }

// Validate says in one line what is wrong, as a *DialectError, and changes
// nothing.
func (d *Dialect) Validate() error {
	_, err := compileDialect(d)
	return err
}

// Template is what the partner sends, named after it. Its Target has no
// signature yet: see DialectSigner.
func (d *Dialect) Template() (Template, error) {
	c, err := compileDialect(d)
	if err != nil {
		return Template{}, err
	}
	own := *d
	return Template{Name: d.Partner, Method: "GET", Target: c.target, Dialect: &own}, nil
}

// As is the same dialect as another partner with another secret speaks it.
func (d *Dialect) As(partner string, secret []byte) *Dialect {
	other := *d
	other.Partner, other.Secret = partner, secret
	return &other
}

// Dialects finds the partner that a path belongs to. It is immutable.
type Dialects struct {
	readers map[string]*DialectReader
}

// NewDialects compiles what a server accepts. No two dialects may have the
// same partner. The error wraps ErrDialect.
func NewDialects(list []Dialect) (*Dialects, error) {
	if len(list) > MaxDialects {
		return nil, fmt.Errorf("%w: %d of them, at most %d", ErrDialect, len(list), MaxDialects)
	}
	ds := &Dialects{readers: make(map[string]*DialectReader, len(list))}
	for i := range list {
		reader, err := newDialectReader(&list[i])
		if err != nil {
			return nil, err
		}
		if ds.readers[list[i].Partner] != nil {
			return nil, &DialectError{list[i].Partner, errors.New("given twice, each partner has one")}
		}
		ds.readers[list[i].Partner] = reader
	}
	return ds, nil
}

// IsDialectPath tells whether a raw path is meant for some partner's dialect,
// whether or not there is one.
func IsDialectPath(path []byte) bool { return bytes.HasPrefix(path, []byte(dialectPrefix)) }

// Find returns the reader for the raw path of a request line; nil when no
// partner's postback goes there. A wrong {token} in the path is for
// DialectReader.Verify to refuse. It does not allocate.
func (ds *Dialects) Find(path []byte) *DialectReader {
	if !IsDialectPath(path) {
		return nil
	}
	partner, _, _ := bytes.Cut(path[len(dialectPrefix):], []byte{'/'})
	r := ds.readers[string(partner)]
	if r == nil || !r.shape.isPath(path) {
		return nil
	}
	return r
}
