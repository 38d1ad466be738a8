package monolith

import (
	"errors"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/store"
)

func TestParsePlain(t *testing.T) {
	full := store.Conversion{ClickID: "c 1", TxID: "t/1", ClaimedOfferID: "o", Event: postback.EventLead,
		Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}}
	for _, test := range []struct {
		name, query string
		want        store.Conversion
		err         error
	}{
		{"all fields", "click_id=c+1&txid=t%2F1&offer_id=o&event=lead&payout=12.5&currency=EUR", full, nil},
		{"any order, unknown parameters", "utm=1&currency=EUR&payout=12.5&event=lead&offer_id=o&txid=t%2f1&click_id=c%201&utm=2", full, nil},
		{"empty values count as absent", "click_id=c&txid=&event=&payout=&currency=&offer_id=", store.Conversion{ClickID: "c"}, nil},
		{"no click", "txid=t", store.Conversion{}, postback.ErrMissing},
		{"empty click", "click_id=", store.Conversion{}, postback.ErrMissing},
		{"nothing", "", store.Conversion{}, postback.ErrMissing},
		{"a key twice", "click_id=c&payout=1&payout=2", store.Conversion{}, postback.ErrDuplicateKey},
		{"a key twice, once empty", "click_id=&click_id=c", store.Conversion{}, postback.ErrDuplicateKey},
		{"bad escape", "click_id=c%zz", store.Conversion{}, postback.ErrBadEscape},
		{"bad escape in an unknown key", "click_id=c&x=%zz", store.Conversion{}, postback.ErrBadEscape},
		{"unknown event", "click_id=c&event=party", store.Conversion{}, postback.ErrBadValue},
		{"decimal comma", "click_id=c&payout=1,5", store.Conversion{}, postback.ErrBadMoney},
		{"unexpanded macro", "click_id=c&payout={payout}", store.Conversion{}, postback.ErrBadMoney},
		{"lower-case currency", "click_id=c&currency=eur", store.Conversion{}, postback.ErrBadCurrency},
		{"longest click", "click_id=" + strings.Repeat("c", 128), store.Conversion{ClickID: strings.Repeat("c", 128)}, nil},
		{"click too long", "click_id=" + strings.Repeat("c", 129), store.Conversion{}, postback.ErrTooLong},
		{"control character", "click_id=c%0A", store.Conversion{}, accept.ErrNotText},
		{"not UTF-8", "click_id=c%ff", store.Conversion{}, accept.ErrNotText},
	} {
		got, err := parsePlain(test.query)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.err)
		} else if err == nil && *got != test.want {
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
		got, err := parsePlain(query)
		if err != nil || len(query) > postback.MaxQueryBytes {
			return
		}
		var p postback.Postback
		if err := p.ParsePlain([]byte(query)); err != nil {
			t.Fatalf("%q was accepted, ParsePlain says %v", query, err)
		}
		want := store.Conversion{ClickID: string(p.ClickID), TxID: string(p.TxID), ClaimedOfferID: string(p.OfferID),
			Event: p.Event, Payout: p.Payout, Currency: p.Currency}
		if *got != want {
			t.Fatalf("%q: %+v, ParsePlain reads %+v", query, *got, want)
		}
	})
}
