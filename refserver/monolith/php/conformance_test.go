package php

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
	"github.com/postbench/postbench/refserver/monolith"
	"github.com/postbench/postbench/refserver/store"
)

// pair is PHP and the Go monolith with the same population, each with a store
// of its own.
type pair struct {
	php, reference string // URLs
	stand          *stand
	books          *store.SQL // of the reference
	asked          int
}

const (
	dayS    = 24 * 60 * 60
	signKID = `k'\1`
)

func signSecret() []byte { return []byte("a secret with \x00 and \xff in it") }

func newPair(t *testing.T, s *stand, signedOnly bool) *pair {
	t.Helper()
	p := &pair{stand: s}
	p.php = p.stand.serve(t, func(c *Config) { c.Dialects, c.SignedOnly = accepttest.Dialects(), signedOnly }).url
	var err error
	if p.books, err = store.Open(t.Context(), store.Options{Dir: t.TempDir(), Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.books.Close() })
	reference, err := monolith.New(t.Context(), monolith.Config{Conversions: p.books, Books: p.books, Population: p.books, Keys: p.books,
		MaxInFlight: 8, Now: time.Now, Dialects: accepttest.Dialects(), SignedOnly: signedOnly, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(reference)
	t.Cleanup(server.Close)
	p.reference = server.URL
	for path, csv := range population(time.Now().Unix()) {
		for _, url := range []string{p.php, p.reference} {
			if response, body := ask(t, http.MethodPost, url, "/population/"+path, csv); response.StatusCode != http.StatusOK {
				t.Fatalf("load %s: %d %s", path, response.StatusCode, body)
			}
		}
	}
	return p
}

func population(nowUnixS int64) map[string]string {
	var clicks, offers strings.Builder
	clicks.WriteString("click_id,offer_id,clicked_unix_s\n")
	offers.WriteString("offer_id,cap,payout,currency,attribution_window_s,cap_window_s\n")
	for _, o := range []struct {
		id                       string
		cap, windowS, capWindowS int64
	}{{"free", 0, 0, 0}, {"capped", 2, 0, 0}, {"daily", 1, 0, dayS}, {"window", 0, dayS, 0}, {`o\'ü`, 0, 0, 0}} {
		fmt.Fprintf(&offers, "%s,%d,12.5,EUR,%d,%d\n", o.id, o.cap, o.windowS, o.capWindowS)
		for i := range 4 {
			fmt.Fprintf(&clicks, "%s-%d,%s,%d\n", o.id[:1], i, o.id, nowUnixS-60)
		}
	}
	fmt.Fprintf(&clicks, "late,window,%d\n", nowUnixS-2*dayS)
	fmt.Fprintf(&clicks, "early,window,%d\n", nowUnixS+dayS)
	fmt.Fprintf(&clicks, "lost,unloaded,%d\n", nowUnixS)
	fmt.Fprintf(&clicks, "c'\\ü,free,%d\n", nowUnixS)
	keys := fmt.Sprintf("kid,secret_hex\n%s,%x\nother,00ff\n0123,0a\n123,0b\n", signKID, signSecret())
	return map[string]string{"clicks": clicks.String(), "offers": offers.String(), "keys": keys}
}

// compare sends the same to both and fails unless they answer alike.
func (p *pair) compare(t *testing.T, method, target, body string) (status int, answer string) {
	t.Helper()
	p.asked++
	got, gotBody := ask(t, method, p.php, target, body)
	want, wantBody := ask(t, method, p.reference, target, body)
	if got.StatusCode != want.StatusCode || gotBody != wantBody {
		t.Errorf("%s %.200s\nPHP %d %q\nGo  %d %q", method, target, got.StatusCode, gotBody, want.StatusCode, wantBody)
	}
	for _, name := range []string{"Content-Type", "X-Content-Type-Options", "Allow", "Retry-After"} {
		if got.Header.Get(name) != want.Header.Get(name) {
			t.Errorf("%s %.200s: %s is %q, of Go %q", method, target, name, got.Header.Get(name), want.Header.Get(name))
		}
	}
	return want.StatusCode, wantBody
}

// compareRows fails unless both ledgers hold the same, times of recording apart.
func (p *pair) compareRows(t *testing.T) (verdicts map[string]int) {
	t.Helper()
	var want []store.Row
	if err := p.books.EachRow(t.Context(), func(r store.Row) error {
		want = append(want, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	got := p.stand.rows(t)
	verdicts = make(map[string]int)
	for _, rows := range [][]store.Row{got, want} {
		for i := range rows {
			if age := time.Since(time.Unix(0, rows[i].ReceivedUnixNs)); age < 0 || age > time.Hour || rows[i].RecordedUnixNs < rows[i].ReceivedUnixNs {
				t.Errorf("received and recorded: %+v", rows[i])
			}
			rows[i].ReceivedUnixNs, rows[i].RecordedUnixNs = 0, 0
			verdicts[string(rows[i].Verdict)]++
		}
		slices.SortFunc(rows, func(a, b store.Row) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	if len(got) != len(want) {
		t.Errorf("%d rows, of Go %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("row\n%+v of PHP\n%+v of Go", got[i], want[i])
		}
	}
	return verdicts
}

// signed is the target of a signed postback.
func signed(kid string, secret []byte, click, txid, event, payout string, tsUnixS int64) string {
	return signTarget(secret, fmt.Sprintf("click_id=%s&txid=%s&offer_id=o%%25&event=%s&payout=%s&currency=EUR&kid=%s&ts=%d",
		click, txid, event, payout, kid, tsUnixS))
}

// signTarget signs whatever the query is.
func signTarget(secret []byte, query string) string {
	s := postback.NewSigner("x", secret)
	return "/pb/signed?" + query + string(s.AppendSignature([]byte("&sig="), []byte(http.MethodGet), []byte("/pb/signed"), []byte(query)))
}

// escape writes every byte as %XX.
func escape(text string) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", " "+text), " ", "%")[len("20"):]
}

func testVerdictsAreThoseOfGo(t *testing.T, s *stand) {
	p := newPair(t, s, false)
	for _, query := range []string{
		// Billable, then its repetitions.
		"click_id=f-0&txid=1&event=sale&payout=12.5&currency=EUR&offer_id=free",
		"click_id=f-0&txid=1&event=sale&payout=12.5&currency=EUR&offer_id=free",
		"click_id=f-0&txid=1&event=sale&payout=12.500&currency=EUR&offer_id=free",
		"click_id=f-0&txid=1&event=sale&payout=99&currency=EUR&offer_id=free",
		"click_id=f-0&txid=1&event=sale&payout=99&currency=EUR&offer_id=free",
		"click_id=f-0&txid=1&event=sale&payout=12.5&currency=USD&offer_id=free",
		"click_id=f-0&txid=1&event=sale&payout=12.5&currency=EUR&offer_id=FREE",
		"click_id=f-0&txid=1&event=lead&payout=12.5",
		"click_id=f-0&txid=1", "click_id=f-0&txid=1&event=",
		"click_id=f-0&txid=1%20&event=sale&payout=1", "click_id=F-0&txid=1&event=sale&payout=1",
		// The cap of two, the cap of one a day.
		"click_id=c-0&event=sale&payout=1", "click_id=c-1&event=sale&payout=1", "click_id=c-2&event=sale&payout=1",
		"click_id=c-0&event=refund&payout=-1", "click_id=c-3&event=lead&payout=0", "click_id=c-3&event=rejected",
		"click_id=d-0&event=sale&payout=1", "click_id=d-1&event=sale&payout=1",
		// The attribution window.
		"click_id=w-0&event=sale&payout=1", "click_id=late&event=sale&payout=1", "click_id=late&event=lead",
		"click_id=late&event=refund&payout=-1", "click_id=early&event=sale&payout=1",
		// Clicks of an offer nobody loaded, of nobody, with quotes, and whatever the partner claims.
		"click_id=lost&event=sale&payout=1", "click_id=nobody&event=sale&payout=1&offer_id=free", "click_id=nobody2&event=refund",
		"click_id=c'%5c%c3%bc&event=sale&payout=1", "click_id=o-0&event=sale&payout=1", "click_id=%27%20OR%20%271%27%3D%271&event=sale",
		"click_id=f-1&event=rebill&payout=0.000001&offer_id=capped", "click_id=f-2&event=sale&payout=9223372036854.775807&currency=JPY",
		"click_id=f-3&event=rejected&payout=-9223372036854.775808", "click_id=%f0%9f%92%b0&txid=%e2%82%ac",
	} {
		p.compare(t, http.MethodGet, "/pb?"+query, "")
	}
	now := time.Now().Unix()
	p.compare(t, http.MethodGet, signed("k'%5C1", signSecret(), "f-0", "s1", "sale", "3", now), "")
	p.compare(t, http.MethodGet, signed("k'%5C1", signSecret(), "f-0", "s1", "sale", "3", now-1), "")
	p.compare(t, http.MethodGet, signed("k'\\1", signSecret(), "f-0", "s2", "sale", "3.10", now), "")
	p.compare(t, http.MethodGet, signed("0123", []byte{0x0a}, "f-0", "s3", "sale", "3", now), "")
	p.compare(t, http.MethodGet, signed("123", []byte{0x0b}, "f-0", "", "lead", "3", now), "")
	for i, d := range accepttest.Dialects() {
		f := accepttest.Fields()
		f.ClickID, f.TxID, f.TSUnixS = []byte("f-1"), fmt.Append(nil, "d", i), now
		target := accepttest.Target(t, &d, f)
		if status, _ := p.compare(t, http.MethodGet, target, ""); status != http.StatusOK {
			t.Errorf("%s: %d", target, status)
		}
		p.compare(t, http.MethodGet, target, "")
	}
	verdicts := p.compareRows(t)
	t.Logf("%d postbacks, rows of both by verdict: %v", p.asked, verdicts)
	for _, verdict := range []string{"billable", "non_billable", "reversal", "over_cap", "unattributed", "late", "conflict"} {
		if verdicts[verdict] < 2 {
			t.Errorf("%s: nobody came to this verdict", verdict)
		}
	}
	for _, offer := range []string{"free", "capped", "daily", "window"} {
		p.compare(t, http.MethodGet, "/offers/"+offer+"/cap", "")
	}
}
