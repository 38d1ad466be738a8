package postback

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func testRecord() *Record {
	return &Record{
		ClickID: []byte("c1"), TxID: []byte("t-9"), OfferID: []byte("o7"), Event: EventSale, Payout: 12_500_000,
		Currency: Currency{'E', 'U', 'R'}, KID: []byte("k1"), ReceivedUnixNs: 1_700_000_000_000_000_001,
	}
}

// The example in FORMAT.md is the golden: if the code and the page part, one of
// them needs a new version.
func TestFormatDocRecord(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("```hex\n([0-9a-f \n]+)```").FindSubmatch(doc)
	if m == nil {
		t.Fatal("FORMAT.md has no ```hex block")
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(m[1])), ""))
	if err != nil {
		t.Fatal(err)
	}
	got, err := AppendRecord(nil, testRecord())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got % x, %v\nwant % x", got, err, want)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	long := func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }
	tests := []struct {
		name   string
		record Record
	}{
		{"example", *testRecord()},
		{"smallest", Record{ClickID: []byte("c")}},
		{"largest", Record{
			ClickID: long(MaxClickIDBytes), TxID: long(MaxTxIDBytes), OfferID: long(MaxOfferIDBytes), Event: EventRebill,
			Payout: -1 << 63, Currency: Currency{'Z', 'Z', 'Z'}, KID: long(MaxKIDBytes), ReceivedUnixNs: 1<<63 - 1,
		}},
	}
	for _, tt := range tests {
		b, err := AppendRecord([]byte("before"), &tt.record)
		if err != nil || !bytes.HasPrefix(b, []byte("before")) {
			t.Errorf("%s: %q, %v", tt.name, b, err)
			continue
		}
		b = b[len("before"):]
		if len(b) > MaxRecordBytes {
			t.Errorf("%s: %d bytes", tt.name, len(b))
		}
		got := *testRecord() // stale
		if err := got.Decode(b); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		again, err := AppendRecord(nil, &got)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: decoded to %+v", tt.name, got)
		}
		if &got.ClickID[0] != &b[recordHeaderBytes] || cap(got.ClickID) != len(got.ClickID) {
			t.Errorf("%s: click_id is a copy or can grow into its neighbour", tt.name)
		}
	}
}

func TestAppendRecordRefuses(t *testing.T) {
	tests := []struct {
		name   string
		spoil  func(*Record)
		reason error
	}{
		{"click_id", func(r *Record) { r.ClickID = nil }, ErrMissing},
		{"click_id", func(r *Record) { r.ClickID = make([]byte, MaxClickIDBytes+1) }, ErrTooLong},
		{"txid", func(r *Record) { r.TxID = make([]byte, MaxTxIDBytes+1) }, ErrTooLong},
		{"offer_id", func(r *Record) { r.OfferID = make([]byte, MaxOfferIDBytes+1) }, ErrTooLong},
		{"kid", func(r *Record) { r.KID = make([]byte, MaxKIDBytes+1) }, ErrTooLong},
		{"event", func(r *Record) { r.Event = lastEvent + 1 }, ErrBadValue},
		{"currency", func(r *Record) { r.Currency = Currency{'e', 'u', 'r'} }, ErrBadCurrency},
		{"received_unix_ns", func(r *Record) { r.ReceivedUnixNs = -1 }, ErrBadValue},
	}
	for _, tt := range tests {
		r := testRecord()
		tt.spoil(r)
		b, err := AppendRecord([]byte("before"), r)
		if !errors.Is(err, tt.reason) || !strings.Contains(err.Error(), tt.name) || string(b) != "before" {
			t.Errorf("%s: %q, %v; want %v", tt.name, b, err, tt.reason)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	valid, err := AppendRecord(nil, testRecord())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		at     int
		to     byte
		field  string
		offset int
	}{
		{0, 0, "version", 0},
		{0, 2, "version", 0},
		{1, 6, "event", 1},
		{2, 0, "currency", 2},
		{4, 'r', "currency", 2},
		{5, 0, "click_id length", 5},
		{5, 129, "click_id length", 5},
		{5, 128, "click_id", 25},
		{6, 129, "txid length", 6},
		{6, 128, "txid", 27},
		{7, 65, "offer_id length", 7},
		{8, 33, "kid length", 8},
		{8, 3, "kid", 32},
		{8, 1, "end", 33},
		{24, 0x80, "received_unix_ns", 17},
	}
	for _, tt := range tests {
		b := bytes.Clone(valid)
		b[tt.at] = tt.to
		checkCorrupt(t, b, tt.field, tt.offset)
	}
	checkCorrupt(t, append(bytes.Clone(valid), 0), "end", len(valid))
	checkCorrupt(t, nil, "version", 0)
	checkCorrupt(t, valid[:recordHeaderBytes-1], "received_unix_ns", 17)
	for n := range valid {
		var r Record
		if r.Decode(valid[:n]) == nil {
			t.Errorf("the first %d bytes decoded", n)
		}
	}
}

func checkCorrupt(t *testing.T, b []byte, field string, offset int) {
	t.Helper()
	r := *testRecord() // stale
	err := r.Decode(b)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Field != field || corrupt.Offset != offset {
		t.Errorf("got %v, want %s at %d", err, field, offset)
	}
	if !reflect.DeepEqual(r, Record{}) {
		t.Errorf("the refused record is not empty: %+v", r)
	}
}

func TestCorruptErrorText(t *testing.T) {
	err := new(Record).Decode([]byte{9})
	if want := "postback: record: version at byte 0: unknown version, expected 1"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
