package postback

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"testing"
)

func fieldsOf(p *Postback) *Fields {
	return &Fields{
		ClickID: p.ClickID, TxID: p.TxID, OfferID: p.OfferID, Event: p.Event, Payout: p.Payout, Currency: p.Currency,
		KID: p.KID, TSUnixS: p.TSUnixS,
	}
}

// queryOf renders the query that a partner would send to report p.
func queryOf(tmpl Template, p *Postback) []byte {
	_, query, _ := bytes.Cut(tmpl.AppendTarget(nil, fieldsOf(p)), []byte{'?'})
	return query
}

// checkTyped fails unless err is what the parsers promise.
func checkTyped(t *testing.T, err error) {
	t.Helper()
	var parseErr *ParseError
	if !errors.As(err, &parseErr) || parseErr.Reason == nil || strings.Contains(err.Error(), "\n") {
		t.Fatalf("not a one-line *ParseError: %q", err)
	}
}

func FuzzParsePlain(f *testing.F) {
	for _, seed := range []string{
		"", plainExample, "click_id=c1", "click%5Fid=a+b%20c%2B&x&y=%ZZ&&", "click_id=%ff&txid=%00&payout=-0.000001",
		"click_id=a&click_id=b", "click_id=%4", "currency=EUR&event=&click_id=" + strings.Repeat("%78", 128),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, query []byte) {
		var p, again Postback
		if err := p.ParsePlain(query); err != nil {
			checkTyped(t, err)
			return
		}
		rendered := queryOf(PlainTemplate(), &p)
		if err := again.ParsePlain(rendered); err != nil || valuesOf(&again) != valuesOf(&p) {
			t.Fatalf("%q\nrendered as %q\nparses to %+v, %v", query, rendered, valuesOf(&again), err)
		}
		// The standard library reads the same, where it reads anything: it
		// refuses ";" and bad escapes in parameters that are none of ours.
		if std, err := url.ParseQuery(string(query)); err == nil {
			got, want := valuesOf(&p), [3]string{std.Get("click_id"), std.Get("txid"), std.Get("offer_id")}
			if [3]string{got.clickID, got.txID, got.offerID} != want {
				t.Fatalf("%q: got %+v, net/url reads %q", query, got, want)
			}
		}
	})
}

func FuzzParseSigned(f *testing.F) {
	for _, seed := range []string{
		"", signedExample, "ts=1&kid=%6b1&" + plainExample + "&sig=" + anySig,
		strings.Replace(signedExample, "t9", "", 1), strings.Replace(signedExample, "c1", "%7e%20%25", 1),
		signedExample + "&", "sig=" + anySig, strings.Replace(signedExample, "c1", "+", 1),
	} {
		f.Add([]byte(seed))
	}
	keys := testKeyring()
	f.Fuzz(func(t *testing.T, query []byte) {
		var p, again Postback
		if err := p.ParseSigned(query); err != nil {
			checkTyped(t, err)
			return
		}
		if keys.Verify([]byte("GET"), []byte("/pb/signed"), query, &p) == nil {
			t.Fatalf("forged: %q", query)
		}
		rendered := queryOf(SignedTemplate(), &p)
		rendered = hex.AppendEncode(append(rendered, SigPrefix...), p.Sig[:])
		if err := again.ParseSigned(rendered); err != nil || valuesOf(&again) != valuesOf(&p) {
			t.Fatalf("%q\nrendered as %q\nparses to %+v, %v", query, rendered, valuesOf(&again), err)
		}
		// What the strict reader accepts, the lenient one reads alike.
		if err := again.ParsePlain(query); err != nil || !bytes.Equal(again.ClickID, p.ClickID) || again.Payout != p.Payout {
			t.Fatalf("%q: as plain %+v, %v", query, valuesOf(&again), err)
		}
	})
}

func FuzzDialects(f *testing.F) {
	ds := readers(f)
	for i, d := range testDialects() {
		target := render(f, &d, dialectFields())
		_, query, _ := strings.Cut(target, "?")
		f.Add(uint8(i), query)
		f.Add(uint8(i), query+"&x=%zz")
		f.Add(uint8(i), strings.ReplaceAll(query, "2", "%32"))
	}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		d := testDialects()[int(which)%len(testDialects())]
		path, _, _ := strings.Cut(render(t, &d, dialectFields()), "?")
		r := ds.Find([]byte(path))
		var p, again Postback
		if err := r.Parse(&p, []byte(query)); err != nil {
			checkTyped(t, err)
			if valuesOf(&p) != (values{payout: "0"}) {
				t.Fatalf("%q: refused, but left %+v", query, valuesOf(&p))
			}
			return
		}
		// Whether or not it was signed, its own sender says the same.
		_ = r.Verify([]byte("GET"), []byte(path), []byte(query), &p)
		fields := fieldsOf(&p)
		if d.Auth == AuthHMACSHA256 && fields.TSUnixS == 0 {
			fields.TSUnixS = 1 // it is never left out
		}
		if p.Event == EventNone && strings.Contains(d.Target, "{event}") {
			fields.Event = EventSale
		}
		if p.Currency == (Currency{}) {
			fields.Currency = Currency{'E', 'U', 'R'}
		}
		target := render(t, &d, *fields)
		if err := receiveDialect(ds, &again, target); err != nil {
			t.Fatalf("%q\nrendered as %q: %v", query, target, err)
		}
		if !bytes.Equal(again.ClickID, p.ClickID) || !bytes.Equal(again.TxID, p.TxID) || !bytes.Equal(again.OfferID, p.OfferID) || again.Payout != p.Payout ||
			again.Event != p.Event && p.Event != EventNone || again.Currency != p.Currency && p.Currency != (Currency{}) {
			t.Fatalf("%q\nrendered as %q\nparses to %+v", query, target, valuesOf(&again))
		}
	})
}

func FuzzDialectValidate(f *testing.F) {
	for _, d := range testDialects() {
		f.Add(d.Partner, d.Target, string(d.Auth), d.AuthParam, d.Digest, d.OK)
	}
	f.Fuzz(func(t *testing.T, partner, target, auth, authParam, digest, ok string) {
		d := Dialect{Partner: partner, Target: target, Auth: AuthScheme(auth), AuthParam: authParam, Digest: digest, OK: ok, Secret: []byte(dialectSecret)}
		if err := d.Validate(); err != nil {
			if !errors.Is(err, ErrDialect) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("not a one-line ErrDialect: %q", err)
			}
			return
		}
		// What is accepted can be sent and is read back.
		ds, err := NewDialects([]Dialect{d})
		if err != nil {
			t.Fatal(err)
		}
		var p Postback
		fields := dialectFields()
		sent := render(t, &d, fields)
		if strings.ContainsAny(sent, " #\r\n\x00{}") {
			t.Fatalf("not fit for a request line: %q", sent)
		}
		if err := receiveDialect(ds, &p, sent); err != nil || !bytes.Equal(p.ClickID, fields.ClickID) {
			t.Fatalf("%q: %q, %v", sent, p.ClickID, err)
		}
	})
}

func FuzzMoney(f *testing.F) {
	for _, seed := range []string{"0", "12.5", "-3", "0.000001", "-9223372036854.775808", "9223372036854.775808", "1,5", "1e3", "-", "."} {
		f.Add([]byte(seed), int64(len(seed)))
	}
	f.Fuzz(func(t *testing.T, text []byte, micros int64) {
		printed := Money(micros).String()
		if back, err := ParseMoney([]byte(printed)); err != nil || back != Money(micros) {
			t.Fatalf("%d prints %q and reads %d, %v", micros, printed, back, err)
		}
		m, err := ParseMoney(text)
		if err != nil {
			if !errors.Is(err, ErrBadMoney) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		// Shortest form: never longer than what was read.
		shortest := m.Append(nil)
		if back, err := ParseMoney(shortest); err != nil || back != m || len(shortest) > len(text) {
			t.Fatalf("%q is %d, prints %q and reads %d, %v", text, m, shortest, back, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	seed, err := AppendRecord(nil, testRecord())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, []byte("c1"), []byte("t9"), []byte("o7"), []byte("k1"), uint8(2), int64(12_500_000), int64(1))
	f.Add(seed[:recordHeaderBytes], []byte(nil), []byte(nil), []byte(nil), []byte(nil), uint8(9), int64(-1), int64(-1))
	f.Add(append(seed, 0), make([]byte, 129), make([]byte, 128), make([]byte, 65), make([]byte, 32), uint8(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, raw, clickID, txID, offerID, kid []byte, event uint8, payout, receivedUnixNs int64) {
		var r Record
		if err := r.Decode(raw); err == nil {
			if again, err := AppendRecord(nil, &r); err != nil || !bytes.Equal(again, raw) || len(raw) > MaxRecordBytes {
				t.Fatalf("% x\nre-encodes to\n% x, %v", raw, again, err)
			}
		} else if corrupt := (*CorruptError)(nil); !errors.As(err, &corrupt) || corrupt.Offset > len(raw) {
			t.Fatalf("% x: %v", raw, err)
		}
		in := Record{
			ClickID: clickID, TxID: txID, OfferID: offerID, KID: kid,
			Event: Event(event), Payout: Money(payout), ReceivedUnixNs: receivedUnixNs,
		}
		encoded, err := AppendRecord(nil, &in)
		if err != nil {
			return
		}
		if err := r.Decode(encoded); err != nil {
			t.Fatalf("%+v: %v", in, err)
		}
		if !bytes.Equal(r.ClickID, clickID) || !bytes.Equal(r.TxID, txID) || !bytes.Equal(r.OfferID, offerID) ||
			!bytes.Equal(r.KID, kid) || r.Event != in.Event || r.Payout != in.Payout || r.ReceivedUnixNs != receivedUnixNs {
			t.Fatalf("in  %+v\nout %+v", in, r)
		}
	})
}

func FuzzTemplateFromURL(f *testing.F) {
	for _, seed := range []string{
		"https://me/pb?cid={click_id}&sum={payout}", "http://[::1]:80?{txid}{kid}{ts}", "HTTP://me", "me/pb", "https://{ts}/",
		"http://u:p@me:1/", "http://me:99999/", "http://me/%4{event}", "http://me/{currency}/%7B{offer_id}#x", "http://me/{ts",
	} {
		f.Add(seed, []byte("c/1 &?#\r\n\xff"))
	}
	f.Fuzz(func(t *testing.T, raw string, value []byte) {
		tmpl, origin, err := TemplateFromURL(raw)
		if err != nil {
			return
		}
		if text, err := ParseText(tmpl.Target.String()); err != nil || text.String() != tmpl.Target.String() {
			t.Fatalf("%q: the target does not compile again: %v", raw, err)
		}
		fields := testFields()
		fields.ClickID, fields.TxID, fields.OfferID, fields.KID = value, value, value, value
		target := string(tmpl.AppendTarget(nil, fields))
		if !strings.HasPrefix(target, "/") || strings.ContainsAny(target, " #\r\n\x00{}") {
			t.Fatalf("%q: not fit for a request line: %q", raw, target)
		}
		// A client that parses the URL connects to the same host, and no value
		// can move the boundary between path and query.
		u, err := url.Parse(origin + target)
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q: %q does not parse: %v", raw, origin+target, err)
		}
		if _, query, _ := strings.Cut(tmpl.Target.String(), "?"); (query == "") != (u.RawQuery == "") && len(value) > 0 {
			t.Fatalf("%q: query %q became %q", raw, query, u.RawQuery)
		}
	})
}
