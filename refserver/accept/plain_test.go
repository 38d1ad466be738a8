package accept_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
)

func TestParsePlain(t *testing.T) {
	full := postback.Record{ClickID: []byte("c 1"), TxID: []byte("t/1"), OfferID: []byte("o"), Event: postback.EventLead,
		Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}}
	for _, test := range []struct {
		name, query string
		want        postback.Record
		err         error
	}{
		{"all fields", "click_id=c+1&txid=t%2F1&offer_id=o&event=lead&payout=12.5&currency=EUR", full, nil},
		{"any order, unknown parameters", "utm=1&currency=EUR&payout=12.5&event=lead&offer_id=o&txid=t%2f1&click_id=c%201&utm=2", full, nil},
		{"empty values count as absent", "click_id=c&txid=&event=&payout=&currency=&offer_id=", postback.Record{ClickID: []byte("c")}, nil},
		{"no click", "txid=t", postback.Record{}, postback.ErrMissing},
		{"empty click", "click_id=", postback.Record{}, postback.ErrMissing},
		{"nothing", "", postback.Record{}, postback.ErrMissing},
		{"a key twice", "click_id=c&payout=1&payout=2", postback.Record{}, postback.ErrDuplicateKey},
		{"a key twice, once empty", "click_id=&click_id=c", postback.Record{}, postback.ErrDuplicateKey},
		{"bad escape", "click_id=c%zz", postback.Record{}, postback.ErrBadEscape},
		{"bad escape in an unknown key", "click_id=c&x=%zz", postback.Record{}, postback.ErrBadEscape},
		{"unknown event", "click_id=c&event=party", postback.Record{}, postback.ErrBadValue},
		{"decimal comma", "click_id=c&payout=1,5", postback.Record{}, postback.ErrBadMoney},
		{"unexpanded macro", "click_id=c&payout={payout}", postback.Record{}, postback.ErrBadMoney},
		{"lower-case currency", "click_id=c&currency=eur", postback.Record{}, postback.ErrBadCurrency},
		{"longest click", "click_id=" + strings.Repeat("c", 128), postback.Record{ClickID: bytes.Repeat([]byte("c"), 128)}, nil},
		{"click too long", "click_id=" + strings.Repeat("c", 129), postback.Record{}, postback.ErrTooLong},
		{"control character", "click_id=c%0A", postback.Record{}, accept.ErrNotText},
		{"not UTF-8", "click_id=c%ff", postback.Record{}, accept.ErrNotText},
	} {
		got, err := accept.ParsePlain(test.query)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.err)
		} else if err == nil && !bytes.Equal(encode(t, got), encode(t, &test.want)) {
			t.Errorf("%s: %+v, want %+v", test.name, *got, test.want)
		}
	}
}

// FuzzParsePlain holds the ordinary parser against the careful one: whatever
// it accepts, the other reads the same way.
func FuzzParsePlain(f *testing.F) {
	for _, seed := range []string{
		"click_id=c+1&txid=t%2F1&offer_id=o&event=lead&payout=12.5&currency=EUR",
		"click%5fid=c&&x=%zz;payout=-1", "click_id=c&payout=00000000000000000000000000000000001",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got, err := accept.ParsePlain(query)
		if err != nil || len(query) > postback.MaxQueryBytes {
			return
		}
		var p postback.Postback
		if err := p.ParsePlain([]byte(query)); err != nil {
			t.Fatalf("%q was accepted, ParsePlain says %v", query, err)
		}
		if want := accept.RecordOf(&p); !bytes.Equal(encode(t, got), encode(t, &want)) {
			t.Fatalf("%q: %+v, ParsePlain reads %+v", query, *got, want)
		}
	})
}

// encode fails for a record that no buffer could take.
func encode(t *testing.T, r *postback.Record) []byte {
	t.Helper()
	record, err := postback.AppendRecord(nil, r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return record
}
