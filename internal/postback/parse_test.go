package postback

import (
	"errors"
	"math"
	"strings"
	"testing"
)

const (
	plainExample  = "click_id=c1&txid=t9&offer_id=o7&event=sale&payout=12.5&currency=EUR"
	signedExample = plainExample + "&kid=k1&ts=1700000000&sig=" + anySig
	anySig        = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

// values is a Postback's content in a form that == compares.
type values struct {
	clickID, txID, offerID, event, payout, currency, kid string
	ts                                                   int64
	sig                                                  [32]byte
}

func valuesOf(p *Postback) values {
	return values{
		string(p.ClickID), string(p.TxID), string(p.OfferID), p.Event.String(), p.Payout.String(),
		p.Currency.String(), string(p.KID), p.TSUnixS, p.Sig,
	}
}

func TestParsePlain(t *testing.T) {
	full := values{clickID: "c1", txID: "t9", offerID: "o7", event: "sale", payout: "12.5", currency: "EUR"}
	only := func(clickID string) values { return values{clickID: clickID, payout: "0"} }
	tests := []struct {
		name, in string
		want     values
	}{
		{"all", plainExample, full},
		{"any order", "currency=EUR&payout=12.5&event=sale&offer_id=o7&txid=t9&click_id=c1", full},
		{"unknown ignored", "a=1&" + plainExample + "&b&c=%ZZ&%=1&&=x&", full},
		{"signed fields ignored", plainExample + "&kid=k&kid=k&ts=x&sig=y", full},
		{"escapes", "click%5Fid=%63%31&txid=t%39&offer_id=%6f7&event=s%61le&payout=12%2E5&currency=%45UR", full},
		{"only a click", "click_id=c1", only("c1")},
		{"empty is absent", "click_id=c1&txid=&offer_id&event=&payout=&currency=", only("c1")},
		{"plus and %20", "click_id=a+b%20c%2B", only("a b c+")},
		{"any byte", "click_id=%00%ff\xfe", only("\x00\xff\xfe")},
		{"equals sign in a value", "click_id=YWI==", only("YWI==")},
		{"macro left unexpanded", "click_id={click_id}", only("{click_id}")},
		{"longest", "click_id=" + strings.Repeat("x", 128), only(strings.Repeat("x", 128))},
		{"longest, escaped", "click_id=" + strings.Repeat("%78", 128), only(strings.Repeat("x", 128))},
	}
	var p Postback // reused: nothing may be left over from the test before
	for _, tt := range tests {
		if err := p.ParsePlain([]byte(tt.in)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if got := valuesOf(&p); got != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

// refusal is a query and the error that it must cause.
type refusal struct {
	name, in string
	param    string
	reason   error
}

func checkRefusals(t *testing.T, parse func(*Postback, []byte) error, tests []refusal) {
	t.Helper()
	for _, tt := range tests {
		p := Postback{ClickID: []byte("stale"), TSUnixS: 1}
		err := parse(&p, []byte(tt.in))
		var parseErr *ParseError
		if !errors.As(err, &parseErr) || parseErr.Param != tt.param || !errors.Is(err, tt.reason) {
			t.Errorf("%s: got %v, want %q %v", tt.name, err, tt.param, tt.reason)
		}
		if got := valuesOf(&p); got != (values{payout: "0"}) {
			t.Errorf("%s: the refused postback is not empty: %+v", tt.name, got)
		}
	}
}

func TestParsePlainRefuses(t *testing.T) {
	checkRefusals(t, (*Postback).ParsePlain, []refusal{
		{"nothing", "", "click_id", ErrMissing},
		{"no click", "txid=1", "click_id", ErrMissing},
		{"empty click", "click_id=&txid=1", "click_id", ErrMissing},
		{"click without value", "click_id", "click_id", ErrMissing},
		{"twice", "click_id=a&click_id=a", "click_id", ErrDuplicateKey},
		{"twice, first empty", "click_id=&click_id=a", "click_id", ErrDuplicateKey},
		{"twice, one name escaped", "click_id=a&click%5fid=b", "click_id", ErrDuplicateKey},
		{"short escape", "click_id=a%4", "click_id", ErrBadEscape},
		{"bare percent", "click_id=a&txid=%", "txid", ErrBadEscape},
		{"no hex", "click_id=%G0", "click_id", ErrBadEscape},
		{"event", "click_id=a&event=sold", "event", ErrBadValue},
		{"payout", "click_id=a&payout=12,5", "payout", ErrBadMoney},
		{"currency", "click_id=a&currency=usd", "currency", ErrBadCurrency},
		{"long click", "click_id=" + strings.Repeat("x", 129), "click_id", ErrTooLong},
		{"long click, escape last", "click_id=" + strings.Repeat("x", 128) + "%78", "click_id", ErrTooLong},
		{"long click, escape first", "click_id=%78" + strings.Repeat("x", 128), "click_id", ErrTooLong},
		{"long click, escape beyond", "click_id=" + strings.Repeat("x", 129) + "%78", "click_id", ErrTooLong},
		{"long txid", "click_id=a&txid=" + strings.Repeat("x", 129), "txid", ErrTooLong},
		{"long offer", "click_id=a&offer_id=" + strings.Repeat("x", 65), "offer_id", ErrTooLong},
		{"long query", "click_id=a&x=" + strings.Repeat("x", MaxQueryBytes), "", ErrTooLong},
	})
}

func TestParseSigned(t *testing.T) {
	want := values{clickID: "c1", txID: "t9", offerID: "o7", event: "sale", payout: "12.5", currency: "EUR", kid: "k1", ts: 1_700_000_000}
	for i := range want.sig {
		want.sig[i] = byte(i%16) * 0x11
	}
	noTxID, largestTS := want, want
	noTxID.txID = ""
	largestTS.ts = math.MaxInt64
	tests := []struct {
		name, in string
		want     values
	}{
		{"as the template", signedExample, want},
		{"other order", "ts=1700000000&kid=k1&" + plainExample + "&sig=" + anySig, want},
		{"escapes", strings.NewReplacer("=c1", "=%631", "=k1", "=%6B%31", "12.5", "12%2e5").Replace(signedExample), want},
		{"empty txid", strings.Replace(signedExample, "=t9", "=", 1), noTxID},
		{"largest ts", strings.Replace(signedExample, "1700000000", "9223372036854775807", 1), largestTS},
	}
	var p Postback
	for _, tt := range tests {
		if err := p.ParseSigned([]byte(tt.in)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if got := valuesOf(&p); got != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

func TestParseSignedRefuses(t *testing.T) {
	with := func(old, new string) string {
		if !strings.Contains(signedExample, old) {
			t.Fatalf("the example does not contain %q", old)
		}
		return strings.Replace(signedExample, old, new, 1)
	}
	tests := []refusal{
		{"nothing", "", "click_id", ErrMissing},
		{"unknown key", "a=1&" + signedExample, "a", ErrUnknownKey},
		{"unknown long key", strings.Repeat("a", 99) + "=1&" + signedExample, strings.Repeat("a", 32), ErrUnknownKey},
		{"escaped key", with("click_id", "click%5Fid"), "click%5Fid", ErrUnknownKey},
		{"upper-case key", with("txid", "TXID"), "TXID", ErrUnknownKey},
		{"empty pair", "&" + signedExample, "", ErrUnknownKey},
		{"pair after sig", signedExample + "&txid=1", "txid", ErrDuplicateKey},
		{"ampersand after sig", signedExample + "&", "", ErrUnknownKey},
		{"sig not last", "sig=" + anySig + "&" + plainExample + "&kid=k1&ts=1", "sig", ErrSigNotLast},
		{"sig twice", signedExample + "&sig=" + anySig, "sig", ErrDuplicateKey},
		{"no equals sign", with("txid=t9", "txid"), "txid", ErrBadValue},
		{"plus", with("=c1", "=c+1"), "click_id", ErrBadEscape},
		{"bad escape", with("=c1", "=c%1"), "click_id", ErrBadEscape},
		{"encoded control byte", with("=c1", "=c%0A"), "click_id", ErrBadValue},
		{"encoded DEL", with("=t9", "=%7f"), "txid", ErrBadValue},
		{"not ASCII", with("=o7", "=\xc3\xa4"), "offer_id", ErrBadValue},
		{"event", with("sale", "Sale"), "event", ErrBadValue},
		{"payout", with("12.5", "1e3"), "payout", ErrBadMoney},
		{"currency", with("EUR", "EURO"), "currency", ErrBadCurrency},
		{"long kid", with("=k1", "="+strings.Repeat("k", 33)), "kid", ErrTooLong},
		{"long token", with("12.5", strings.Repeat("0", 33)), "payout", ErrTooLong},
		{"long query", with("=c1", "="+strings.Repeat("x", MaxQueryBytes)), "", ErrTooLong},
		{"sig upper case", with("aabb", "AABB"), "sig", ErrBadValue},
		{"sig escaped", with("0011", "%30011"), "sig", ErrBadValue},
		{"sig short", signedExample[:len(signedExample)-1], "sig", ErrBadValue},
		{"sig long", signedExample + "0", "sig", ErrBadValue},
		{"sig empty", with(anySig, ""), "sig", ErrMissing},
		{"sig not hex", with("aabb", "ggbb"), "sig", ErrBadValue},
	}
	for _, ts := range []string{"0", "-1", "+1", "01", "1.5", "1e9", "9223372036854775808", "99999999999999999999", "x"} {
		want := ErrBadValue
		if ts == "+1" {
			want = ErrBadEscape
		}
		tests = append(tests, refusal{"ts " + ts, with("1700000000", ts), "ts", want})
	}
	for _, pair := range strings.Split(signedExample, "&") {
		name, _, _ := strings.Cut(pair, "=")
		without := strings.Trim(strings.Replace("&"+signedExample, "&"+pair, "", 1), "&")
		tests = append(tests, refusal{name + " absent", without, name, ErrMissing})
		if name != "sig" { // in front, it is not last either
			tests = append(tests, refusal{name + " twice", pair + "&" + signedExample, name, ErrDuplicateKey})
		}
		if name != "txid" {
			tests = append(tests, refusal{name + " empty", with(pair, name+"="), name, ErrMissing})
		}
	}
	checkRefusals(t, (*Postback).ParseSigned, tests)
}

func TestParseErrorText(t *testing.T) {
	tests := []struct {
		in   string
		want string
	}{
		{"x%0a\n=1", `postback: parameter "x%0a\n": not allowed here, expected click_id txid offer_id event payout currency kid ts sig`},
		{"click_id=", `postback: parameter "click_id": missing or empty`},
		{"kid=" + strings.Repeat("k", 99), `postback: parameter "kid": too long: at most 32 bytes once decoded`},
		{strings.Repeat("k", 9999), `postback: query: too long: at most 2048 bytes`},
		{"=1", `postback: parameter without a name: not allowed here, expected click_id txid offer_id event payout currency kid ts sig`},
	}
	for _, tt := range tests {
		var p Postback
		if err := p.ParseSigned([]byte(tt.in)); err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

// Values without an escape alias the query, others the Postback; neither way
// can an append to one value reach another.
func TestParseOwnership(t *testing.T) {
	query := []byte("click_id=plain&txid=t%39&offer_id=o7")
	var p Postback
	if err := p.ParsePlain(query); err != nil {
		t.Fatal(err)
	}
	if &p.ClickID[0] != &query[len("click_id=")] {
		t.Error("click_id was copied")
	}
	if &p.TxID[0] != &p.scratch.txID[0] {
		t.Error("a decoded txid is not in the scratch")
	}
	_ = append(p.ClickID, "overwritten"...)
	_ = append(p.TxID, "overwritten"...)
	if got := string(query); got != "click_id=plain&txid=t%39&offer_id=o7" || p.scratch.txID[2] != 0 {
		t.Errorf("appending to a value wrote behind it: %q", got)
	}
	if err := p.ParsePlain([]byte("click_id=c&txid=%74%39%39")); err != nil {
		t.Fatal(err)
	}
	if string(p.TxID) != "t99" || p.OfferID != nil {
		t.Errorf("reuse: txid %q, offer_id %q", p.TxID, p.OfferID)
	}
}
