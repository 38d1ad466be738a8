package accept

import (
	"github.com/postbench/postbench/internal/postback"
)

// ParseDialect reads a postback under /p/ into p. A nil d is a partner that
// nobody knows: to it, it looks like a wrong signature. signedOnly refuses
// partners without authentication. Of the error Status knows what it means.
func ParseDialect(d *postback.DialectReader, p *postback.Postback, rawQuery []byte, signedOnly bool) error {
	switch {
	case d == nil:
		return postback.ErrBadSignature
	case signedOnly && d.Auth() == postback.AuthNone:
		return ErrUnsigned
	}
	if err := d.Parse(p, rawQuery); err != nil {
		return err
	}
	switch {
	case !IsText(p.ClickID):
		return notText("click_id")
	case !IsText(p.TxID):
		return notText("txid")
	case !IsText(p.OfferID):
		return notText("offer_id")
	case !IsText(p.KID):
		return notText("kid")
	}
	return nil
}

func notText(param string) error { return &postback.ParseError{Param: param, Reason: ErrNotText} }

// VerifyDialect believes what ParseDialect has read, or says why not. method,
// path and rawQuery are the bytes of the request line.
func VerifyDialect(d *postback.DialectReader, p *postback.Postback, method, path, rawQuery []byte, receivedUnixS int64) error {
	if err := d.Verify(method, path, rawQuery, p); err != nil {
		return err
	}
	if d.Auth() == postback.AuthHMACSHA256 {
		return Fresh(p.TSUnixS, receivedUnixS)
	}
	return nil
}
