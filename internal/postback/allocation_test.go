//go:build !race

// The race detector makes sync.Pool drop items at random.

package postback

import (
	"bytes"
	"testing"
)

func TestNoAllocations(t *testing.T) {
	var (
		p      Postback
		r      Record
		record = testRecord()
		signer = NewSigner("k1", []byte("secret one"))
		keys   = testKeyring()
		fields = testFields()
		tmpl   = SignedTemplate()
		post   = Template{
			Headers: []Header{{"Content-Type", parseText(t, "application/json")}, {"X-Key", parseText(t, "{kid}")}},
			Body:    parseText(t, `{"cid":"{click_id}","sum":{payout}}`),
		}
		buf                      = make([]byte, 0, 4096)
		method, path             = []byte("GET"), []byte("/pb/signed")
		plain, signed            = []byte(plainExample), []byte(signedExample)
		escapedPlain             = []byte("click%5Fid=c%31&txid=a+b&offer_id=%6f&payout=1%2E5&unknown=%zz")
		escapedSigned            = []byte("kid=%6b1&" + "click_id=c%31&txid=&offer_id=%6f&event=lead&payout=-1&currency=USD&ts=1&sig=" + anySig)
		authentic                = []byte(unsignedQuery + SigPrefix + sign("secret one", "GET", "/pb/signed", unsignedQuery))
		unknownKID               = []byte("kid=zz&" + plainExample + "&ts=1&sig=" + anySig)
		pAuthentic, pUnknown     Postback
		encoded, encodeErr       = AppendRecord(nil, record)
		errAuthentic, errUnknown = pAuthentic.ParseSigned(authentic), pUnknown.ParseSigned(unknownKID)
		must                     = func(ok bool) {
			if !ok {
				t.Fatal("the measured call failed")
			}
		}
	)
	must(encodeErr == nil && errAuthentic == nil && errUnknown == nil)
	tests := []struct {
		name string
		f    func()
	}{
		{"ParsePlain", func() { must(p.ParsePlain(plain) == nil) }},
		{"ParsePlain with escapes", func() { must(p.ParsePlain(escapedPlain) == nil) }},
		{"ParseSigned", func() { must(p.ParseSigned(signed) == nil) }},
		{"ParseSigned with escapes", func() { must(p.ParseSigned(escapedSigned) == nil) }},
		{"AppendSignature", func() { must(len(signer.AppendSignature(buf, method, path, signed)) == 64) }},
		{"Verify", func() { must(keys.Verify(method, path, authentic, &pAuthentic) == nil) }},
		{"Verify an unknown kid", func() { must(keys.Verify(method, path, unknownKID, &pUnknown) != nil) }},
		{"AppendTarget", func() { must(len(tmpl.AppendTarget(buf, fields)) > 0) }},
		{"AppendBody", func() { must(len(post.AppendBody(buf, fields)) > 0) }},
		{"AppendHeader", func() { must(len(post.AppendHeader(buf, 1, fields)) > 0) }},
		{"AppendRecord", func() {
			b, err := AppendRecord(buf, record)
			must(err == nil && len(b) > 0)
		}},
		{"Decode", func() { must(r.Decode(encoded) == nil) }},
	}
	for _, tt := range tests {
		if allocs := testing.AllocsPerRun(1000, tt.f); allocs != 0 {
			t.Errorf("%s: %v allocations per call", tt.name, allocs)
		}
	}
}

func TestNoAllocationsInDialects(t *testing.T) {
	ds, fields := readers(t), dialectFields()
	for _, d := range testDialects() {
		signer, err := NewDialectSigner(&d)
		if err != nil {
			t.Fatal(err)
		}
		var p Postback
		buf, method := make([]byte, 0, 4096), []byte("GET")
		target := []byte(render(t, &d, fields))
		path, query, _ := bytes.Cut(target, []byte{'?'})
		tests := []struct {
			name string
			f    func() bool
		}{
			{"write", func() bool {
				signer.Fill(&fields)
				return len(signer.AppendSignature(signer.AppendTarget(buf, &fields), method, &fields)) > 0
			}},
			{"Find", func() bool { return ds.Find(path) != nil }},
			{"Parse", func() bool { return ds.Find(path).Parse(&p, query) == nil }},
			{"AppendRedacted", func() bool { return len(ds.Find(path).AppendRedacted(buf, target)) > 0 }},
			{"Verify", func() bool { return ds.Find(path).Verify(method, path, query, &p) == nil }},
		}
		for _, tt := range tests {
			if !tt.f() {
				t.Fatalf("%s, %s: the measured call failed", d.Partner, tt.name)
			}
			if allocs := testing.AllocsPerRun(1000, func() { tt.f() }); allocs != 0 {
				t.Errorf("%s, %s: %v allocations per call", d.Partner, tt.name, allocs)
			}
		}
	}
}
