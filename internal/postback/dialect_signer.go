package postback

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
)

// DialectSigner writes the requests of one partner in its dialect. It is not
// safe for concurrent use: give each worker its own.
type DialectSigner struct {
	shape   *dialectShape
	partner []byte
	secret  []byte
	suffix  []byte // "&name=" before the signature
	signer  *Signer
	mac     *sha1MAC
	digest  []byte
}

// NewDialectSigner returns the signer of a dialect; the error is Validate's.
func NewDialectSigner(d *Dialect) (*DialectSigner, error) {
	shape, err := compileDialect(d)
	if err != nil {
		return nil, err
	}
	s := &DialectSigner{
		shape: shape, partner: []byte(d.Partner), secret: append([]byte(nil), d.Secret...),
		suffix: fmt.Appendf(nil, "&%s=", shape.authParam),
	}
	switch shape.scheme {
	case AuthHMACSHA256:
		s.signer = NewSigner(d.Partner, s.secret)
	case AuthHMACSHA1:
		s.mac = newSHA1MAC(s.secret)
	}
	return s, nil
}

// Auth is the partner's scheme.
func (s *DialectSigner) Auth() AuthScheme { return s.shape.scheme }

// Fill sets what the dialect says of f: KID, EventWord and Token, all read only.
func (s *DialectSigner) Fill(f *Fields) {
	f.KID, f.EventWord, f.Token = s.partner, nil, s.shape.token
	if f.Event <= lastEvent {
		f.EventWord = s.shape.words[f.Event]
	}
}

// AppendTarget appends path and query with the values of f, which Fill has
// seen, without the signature.
func (s *DialectSigner) AppendTarget(dst []byte, f *Fields) []byte {
	return s.shape.target.append(dst, f, escapeURL)
}

// AppendSignature appends what signs target, which may be more or less than
// AppendTarget wrote, to target itself: nothing with AuthNone and AuthToken.
func (s *DialectSigner) AppendSignature(target, method []byte, f *Fields) []byte {
	// The cut parts stay what they are while target grows behind them.
	path, query, _ := bytes.Cut(target, questionMark)
	switch s.shape.scheme {
	case AuthHMACSHA256:
		return s.signer.AppendSignature(append(target, s.suffix...), method, path, query)
	case AuthHMACSHA1:
		return hex.AppendEncode(append(target, s.suffix...), s.mac.compute(path, query))
	case AuthMD5:
		s.digest = s.shape.digest.append(s.digest[:0], f, escapeNone)
		s.digest = hex.AppendEncode(s.digest, s.secret)
		sum := md5.Sum(s.digest)
		return hex.AppendEncode(append(target, s.suffix...), sum[:])
	}
	return target
}

// Signs tells whether AppendSignature appends anything.
func (s *DialectSigner) Signs() bool { return s.shape.authParam != "" }

// ClickIDParam is the name of the parameter that carries the click id, as it
// stands in the target.
func (s *DialectSigner) ClickIDParam() string {
	for _, p := range s.shape.params {
		if p.id == paramClickID {
			return p.name
		}
	}
	panic("BUG: a dialect without a click id was compiled")
}
