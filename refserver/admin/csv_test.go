package admin

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/store"
)

func readAll[T any](t table[T], file string) (rows []T, err error) {
	for row, err := range t.rows(strings.NewReader(file)) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func TestReadPopulation(t *testing.T) {
	clicks, err := readAll(clickTable(), "\ufeffclick_id,offer_id,clicked_unix_s\r\nc-1,o,1700000000\r\n\"c,2\",\"o\",0")
	if want := []store.Click{{ClickID: "c-1", OfferID: "o", ClickedUnixS: 1700000000}, {ClickID: "c,2", OfferID: "o"}}; err != nil || fmt.Sprint(clicks) != fmt.Sprint(want) {
		t.Errorf("clicks %v, %v; want %v", clicks, err, want)
	}
	offers, err := readAll(offerTable(), "offer_id,cap,payout,currency,attribution_window_s\no-1,100,12.5,EUR,3600\no-2,0,0,,0\n")
	want := []store.Offer{
		{OfferID: "o-1", Cap: 100, Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, AttributionWindowS: 3600},
		{OfferID: "o-2"},
	}
	if err != nil || fmt.Sprint(offers) != fmt.Sprint(want) {
		t.Errorf("offers %v, %v; want %v", offers, err, want)
	}
	offers, err = readAll(offerTable(), "offer_id,cap,payout,currency,attribution_window_s,cap_window_s\no-1,100,12.5,EUR,3600,86400\no-2,0,0,,0,0\n")
	want[0].CapWindowS = 86_400
	if err != nil || fmt.Sprint(offers) != fmt.Sprint(want) {
		t.Errorf("offers with caps that reset %v, %v; want %v", offers, err, want)
	}
	keys, err := readAll(keyTable(), "kid,secret_hex\np1,00ff\n")
	if err != nil || len(keys) != 1 || keys[0].KID != "p1" || string(keys[0].Secret) != "\x00\xff" {
		t.Errorf("keys %v, %v", keys, err)
	}
	if none, err := readAll(keyTable(), "kid,secret_hex\n"); err != nil || len(none) != 0 {
		t.Errorf("a header alone is an empty population: %v, %v", none, err)
	}
}

func TestReadPopulationErrors(t *testing.T) {
	const clicks, offers, keys = "click_id,offer_id,clicked_unix_s\n", "offer_id,cap,payout,currency,attribution_window_s\n", "kid,secret_hex\n"
	windowed := strings.TrimSpace(offers) + ",cap_window_s\n"
	long := strings.Repeat("x", 200)
	for _, test := range []struct{ name, file, want string }{
		{"empty", "", `line 1: empty, expected the header "click_id,offer_id,clicked_unix_s"`},
		{"other header", "cid,offer\n", `line 1: header "cid,offer", expected "click_id,offer_id,clicked_unix_s"`},
		{"too few fields", clicks + "c,o,1\nc,o\n", "line 3: 2 fields, expected 3 (click_id,offer_id,clicked_unix_s)"},
		{"blank line", clicks + "\nc,o,1\n", "line 2: 1 fields, expected 3 (click_id,offer_id,clicked_unix_s)"},
		{"no click", clicks + ",o,1\n", `line 2: click_id "": expected 1 to 128 bytes of text`},
		{"long offer", clicks + "c," + long + ",1\n", `line 2: offer_id "` + long[:40] + `": expected 1 to 64 bytes of text`},
		{"milliseconds", clicks + "c,o,1700000000000\n", `line 2: clicked_unix_s "1700000000000": expected an integer from 0 to 253402300799`},
		{"open quote", clicks + "\"c,o,1\n", "line 2: bad quotes"},
		{"long line", clicks + strings.Repeat("x", 5000) + "\n", "line 2: longer than 4096 bytes"},
		{"negative cap", offers + "o,-1,1,EUR,0\n", `line 2: cap "-1": expected an integer from 0 to 1000000000000`},
		{"bad payout", offers + "o,1,\"1,5\",EUR,0\n", `line 2: payout "1,5": expected an amount such as 12.5`},
		{"negative payout", offers + "o,1,-1,EUR,0\n", `line 2: payout "-1": expected an amount such as 12.5`},
		{"bad currency", offers + "o,1,1,euro,0\n", `line 2: currency "euro": expected a code such as EUR`},
		{"bad window", offers + "o,1,1,EUR,1h\n", `line 2: attribution_window_s "1h": expected an integer from 0 to 253402300799`},
		{"other last column", "offer_id,cap,payout,currency,attribution_window_s,cap_every\n",
			`line 1: header "offer_id,cap,payout,currency,attribution_window_s,cap_every", expected "offer_id,cap,payout,currency,attribution_window_s[,cap_window_s]"`},
		{"a column more than the header", offers + "o,1,1,EUR,0,0\n", "line 2: 6 fields, expected 5 (offer_id,cap,payout,currency,attribution_window_s)"},
		{"a column less than the header", windowed + "o,1,1,EUR,0\n", "line 2: 5 fields, expected 6 (offer_id,cap,payout,currency,attribution_window_s,cap_window_s)"},
		{"endless cap window", windowed + "o,1,1,EUR,0,31622401\n", `line 2: cap_window_s "31622401": expected an integer from 0 to 31622400`},
		{"bad secret", keys + "k,topsecret\n", "line 2: secret_hex is not hexadecimal"},
	} {
		var err error
		switch {
		case strings.HasPrefix(test.file, strings.TrimSpace(offers)):
			_, err = readAll(offerTable(), test.file)
		case strings.HasPrefix(test.file, keys):
			_, err = readAll(keyTable(), test.file)
		default:
			_, err = readAll(clickTable(), test.file)
		}
		var bad *csvError
		if !errors.As(err, &bad) || err.Error() != test.want {
			t.Errorf("%s:\ngot  %v\nwant %s", test.name, err, test.want)
		}
	}
}

// FuzzReadClicks: whatever is accepted keeps to the limits and reads back.
func FuzzReadClicks(f *testing.F) {
	f.Add("c,o,1\n\"c,2\",\"o\"\"x\",0")
	f.Add("\r\n,,\n")
	f.Fuzz(func(t *testing.T, body string) {
		clicks, err := readAll(clickTable(), clickTable().header+"\n"+body)
		var bad *csvError
		if err != nil && (!errors.As(err, &bad) || bad.Line < 2 || strings.Contains(err.Error(), "\n")) {
			t.Fatalf("%q: %v", body, err)
		}
		for _, c := range clicks {
			if c.ClickID == "" || len(c.ClickID) > postback.MaxClickIDBytes || !accept.IsText([]byte(c.ClickID)) ||
				c.OfferID == "" || len(c.OfferID) > postback.MaxOfferIDBytes || c.ClickedUnixS < 0 || c.ClickedUnixS > maxUnixS {
				t.Fatalf("%q: accepted %+v", body, c)
			}
		}
	})
}
