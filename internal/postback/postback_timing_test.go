package postback

import "testing"

func BenchmarkParsePlain(b *testing.B) {
	var p Postback
	query := []byte(plainExample)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.ParsePlain(query); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseSignedAndVerify(b *testing.B) {
	var p Postback
	keys := testKeyring()
	method, path := []byte("GET"), []byte("/pb/signed")
	query := []byte(unsignedQuery + SigPrefix + sign("secret one", "GET", "/pb/signed", unsignedQuery))
	b.ReportAllocs()
	for b.Loop() {
		if err := p.ParseSigned(query); err != nil {
			b.Fatal(err)
		}
		if err := keys.Verify(method, path, query, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendTarget(b *testing.B) {
	tmpl, fields := SignedTemplate(), testFields()
	buf := make([]byte, 0, MaxQueryBytes)
	b.ReportAllocs()
	for b.Loop() {
		tmpl.AppendTarget(buf, fields)
	}
}

func BenchmarkRecord(b *testing.B) {
	var out Record
	in := testRecord()
	buf := make([]byte, 0, MaxRecordBytes)
	b.ReportAllocs()
	for b.Loop() {
		encoded, err := AppendRecord(buf, in)
		if err != nil || out.Decode(encoded) != nil {
			b.Fatal("the record does not round-trip")
		}
	}
}
