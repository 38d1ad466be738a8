package php

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accept/accepttest"
)

// plainQueries are what a partner's unsigned query may look like.
func plainQueries() []string {
	long := strings.Repeat("x", 2_100)
	return []string{
		"", "?", "&&", "click_id", "click_id=", "=", "txid=1", "click_id=a&click_id=a", "click_id=&click_id=a", "click_id=a&payout=1&payout=1",
		"click%5Fid=a", "click%5fid=a&click_id=b", "click_id=a%", "click_id=a%2", "click_id=a%zz", "click_id=a&%zz=1", "click_id=a&x=%zz", "%zz",
		"click_id=a;b=c", "click_id=a&x;y=1", "click_id=a%3Bb", "click_id=a=b=c", "click_id=a+b%2Bc", "click_id=%00", "click_id=a%0a", "click_id=%7f",
		"click_id=%c2%80", "click_id=%ff", "click_id=%ed%a0%80", "click_id=%ef%bf%bd", "click_id=%f4%90%80%80", "click_id=\xc3\xbc", "click_id=\xff",
		"click_id=a&txid=%c3", "click_id=a&offer_id=%01", "click_id=a&event=Sale", "click_id=a&event=sale%20", "click_id=a&event=%ff",
		"click_id=a&currency=eur", "click_id=a&currency=EURO", "click_id=a&currency=%C3%84%41", "click_id=a&currency=EUR%0a",
		"click_id=a&event=" + long[:33], "click_id=a&payout=" + strings.Repeat("0", 33), "click_id=a&payout=" + strings.Repeat("0", 31) + "1",
		"click_id=" + long[:128], "click_id=" + long[:129], "click_id=a&txid=" + long[:129], "click_id=a&offer_id=" + long[:65],
		"click_id=a&x=" + long, "click_id=a&y=" + long[:2_048-len("click_id=a&y=")], "click_id=a&z=" + long[:2_049-len("click_id=a&z=")],
		"click_id=a&payout=-1&event=sale", "click_id=a&payout=-1", "payout=x&event=y", "event=y&payout=x", "click_id=a#b", "click_id=a&x=#", "click_id=%23",
		"0=1&1=2&click_id=num", "click_id[]=a", "click_id[a]=b&click_id=c", "click.id=a", "_method=PUT&click_id=m",
	}
}

func amounts() []string {
	return []string{
		"0", "-0", "1", "-1", "+1", "01", "1.", ".5", "-.5", "-", "--1", "1.5", "1.500000", "1.5000000", "1.0000001", "1,5", "1.2.3", "1e3", "0x1", "1 ", " 1",
		"9223372036854.775807", "9223372036854.775808", "-9223372036854.775808", "-9223372036854.775809", "9223372036855", "9223372036854",
		"99999999999999999999", "9223372036854775807", "9223372036854775808", "99999999999999999999,5", "1234567890123456789.1", "NaN", "{payout}", "١", "1\x00", "1.a", "1.123456a",
	}
}

// signedQueries are variations of a query that is signed all the same, so that
// what is wrong is the query.
func signedQueries(now int64) []string {
	good := fmt.Sprintf("click_id=a&txid=b&offer_id=c&event=sale&payout=1&currency=EUR&kid=other&ts=%d", now)
	list := []string{good, "x=1&" + good, good + "&x=1", "&" + good, good + "&", good + "&=", good + "&" + strings.Repeat("n", 40) + "=1", good + "&\xff\"\\\x80é\u00ad=1", good + "&txid=c"}
	for _, change := range [][2]string{
		{"click_id=a", "click_id="}, {"click_id=a&", ""}, {"click_id=a", "click_id"}, {"txid=b", "txid="}, {"txid=b", "txid"}, {"txid=b&", ""},
		{"txid=b", "txid=" + strings.Repeat("%61", 128)}, {"txid=b", "txid=" + strings.Repeat("%61", 129)}, {"click_id=a", "click_id=" + strings.Repeat("a", 129)},
		{"txid=b", "txid=+"}, {"txid=b", "txid=%2B"}, {"txid=b", "txid=%zz"}, {"txid=b", "txid=%c3%bc"}, {"txid=b", "txid=ü"}, {"txid=b", "txid=%0a"},
		{"txid=b", "%74xid=b"}, {"offer_id=c", "offer_id=" + strings.Repeat("c", 65)}, {"event=sale", "event=Sale"}, {"event=sale", "event=none"}, {"event=sale", "event="},
		{"payout=1", "payout=1,5"}, {"payout=1", "payout=" + strings.Repeat("1", 33)}, {"payout=1", "payout=-1"}, {"currency=EUR", "currency=eur"},
		{"kid=other", "kid=nobody"}, {"kid=other", "kid="}, {"kid=other", "kid=" + strings.Repeat("k", 33)}, {"kid=other", "kid=%6fther"},
		{"ts=", "ts=0"}, {"ts=", "ts=-"}, {"ts=", "ts=x"}, {"ts=", "ts=99999999999999999999"}, {"ts=", "ts=9"}, {fmt.Sprint(now), "9223372036854775807"}, {fmt.Sprint(now), "9223372036854775808"},
		{fmt.Sprint(now), fmt.Sprint(now - 48*3600 - 60)}, {fmt.Sprint(now), fmt.Sprint(now - 48*3600 + 60)}, {fmt.Sprint(now), fmt.Sprint(now + 360)}, {fmt.Sprint(now), fmt.Sprint(now + 240)},
		{"txid=b", "txid=b&txid=b"}, {"txid=b", "txid=b&click_id=a"}, {"payout=1", "payout=1&sig=1"}, {"txid=b", "txid=" + strings.Repeat("a", 2_048)},
	} {
		list = append(list, strings.Replace(good, change[0], change[1], 1))
	}
	return list
}

func testRefusalsAreThoseOfGo(t *testing.T, s *stand) {
	p := newPair(t, s, false)
	for _, query := range plainQueries() {
		p.compare(t, http.MethodGet, "/pb?"+query, "")
		p.compare(t, http.MethodGet, "/pb/signed?"+query, "")
		p.compare(t, http.MethodGet, "/p/none/aff?"+strings.ReplaceAll(query, "click_id", "tid"), "")
	}
	for i, amount := range amounts() {
		p.compare(t, http.MethodGet, fmt.Sprintf("/pb?click_id=a&event=refund&txid=p%d&payout=%s", i, escape(amount)), "")
		p.compare(t, http.MethodGet, fmt.Sprintf("/p/none/aff?tid=a&tx=d%d&ev=refund&sum=%s", i, escape(amount)), "")
	}
	for _, query := range signedQueries(time.Now().Unix()) {
		target := signTarget([]byte{0x00, 0xff}, query)
		p.compare(t, http.MethodGet, target, "")
		p.compare(t, http.MethodGet, target[:len(target)-1]+"A", "")
		p.compare(t, http.MethodGet, target+"0", "")
		p.compare(t, http.MethodGet, target+"&click_id=a", "")
	}
	for _, target := range []string{"/pb", "/pb/signed", "/p/", "/p/none", "/p/none/aff", "/p/nobody/aff", "/p/none/aff/",
		"/p/none/%61ff?tid=a", "/p/%6eone/aff?tid=a", "/p/path/postback?subid=a", "/p/path/x/postback?subid=a",
		"/p/path/x/y/postback?subid=a", "/p/none/\xff?tid=a", "/p/none/%ff?tid=a"} {
		p.compare(t, http.MethodGet, target, "")
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, "PURGE", "_"} {
			p.compare(t, method, target, "")
		}
		p.compare(t, http.MethodPost, target, "_method=GET&click_id=a")
		p.compare(t, http.MethodGet, target, "a body")
	}
	p.compareRows(t)
	t.Logf("%d postbacks", p.asked)
}

func testSignedOnlyIsThatOfGo(t *testing.T, s *stand) {
	p := newPair(t, s, true)
	p.compare(t, http.MethodGet, "/pb?click_id=a", "")
	p.compare(t, http.MethodGet, "/pb?click_id=%zz", "")
	p.compare(t, http.MethodPost, "/pb", "")
	p.compare(t, http.MethodGet, signed("other", []byte{0x00, 0xff}, "f-0", "s1", "sale", "3", time.Now().Unix()), "")
	for _, d := range accepttest.Dialects() {
		f := accepttest.Fields()
		f.TxID, f.TSUnixS = []byte(d.Partner), time.Now().Unix()
		p.compare(t, http.MethodGet, accepttest.Target(t, &d, f), "")
	}
	p.compareRows(t)
}

// Broken bytes at random places of good requests.
func testBrokenRequestsAreThoseOfGo(t *testing.T, s *stand) {
	p := newPair(t, s, false)
	now := time.Now().Unix()
	targets := []string{"/pb?click_id=f-0&txid=t%2F1&offer_id=o&event=lead&payout=12.5&currency=EUR", signed("other", []byte{0x00, 0xff}, "f-0", "s1", "sale", "3", now)}
	for _, d := range accepttest.Dialects() {
		f := accepttest.Fields()
		f.TSUnixS = now
		targets = append(targets, accepttest.Target(t, &d, f))
	}
	const rounds, odd = 500, "%&=+;0aA-.{\xc3\xff'\"\\"
	random := rand.New(rand.NewPCG(5, 8))
	taken := 0
	for range rounds {
		target := []byte(targets[random.IntN(len(targets))])
		start := strings.IndexByte(string(target), '?') + 1
		for range 1 + random.IntN(2) {
			at := start + random.IntN(len(target)-start)
			switch random.IntN(3) {
			case 0:
				target[at] = odd[random.IntN(len(odd))]
			case 1:
				target = append(target[:at], target[at+1:]...)
			default:
				target = append(target, target[start:at]...)
			}
		}
		if status, _ := p.compare(t, http.MethodGet, string(target), ""); status == http.StatusOK {
			taken++
		}
	}
	p.compareRows(t)
	t.Logf("%d of %d taken", taken, rounds)
}
