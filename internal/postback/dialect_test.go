package postback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const dialectSecret = "0123456789abcdefghijklmnopqrstuv"

// testDialects has one of each scheme, and the token in both places.
func testDialects() []Dialect {
	secret := []byte(dialectSecret)
	return []Dialect{
		{Partner: "open", Target: "/aff?nid=7&tid={click_id}&oid={txid}&o={offer_id}&amount={payout}&cur={currency}&ev={event}"},
		{Partner: "tune-1", Auth: AuthToken, Secret: secret, OK: "success=true;", Events: map[string]string{"sale": "2", "lead": "1"},
			Target: "/aff_lsr?offer_id={offer_id}&transaction_id={click_id}&amount={payout}&adv_sub={txid}&goal_id={event}&security_token={token}"},
		{Partner: "keitaro", Auth: AuthToken, Secret: secret,
			Target: "/{token}/postback?subid={click_id}&status={event}&payout={payout}&tid={txid}&currency={currency}"},
		{Partner: "pb1", Auth: AuthHMACSHA256, Secret: secret, Target: "/pb?cid={click_id}&tx={txid}&sum={payout}&kid={kid}&ts={ts}"},
		{Partner: "raw", Auth: AuthHMACSHA1, AuthParam: "hash", Secret: secret, Target: "/cb?cid={click_id}&tx={txid}&sum={payout}&x=1"},
		{Partner: "wall", Auth: AuthMD5, AuthParam: "signature", Digest: "{click_id}-{txid}{payout}{event}", Secret: secret,
			OK: "OK", Duplicate: "DUP", Events: map[string]string{"sale": "1", "refund": "2 back"},
			Target: "/w?subId={click_id}&transId={txid}&reward={payout}&status={event}"},
	}
}

func readers(t testing.TB) *Dialects {
	t.Helper()
	ds, err := NewDialects(testDialects())
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

// render writes the request that d's own sender sends.
func render(t testing.TB, d *Dialect, f Fields) string {
	t.Helper()
	s, err := NewDialectSigner(d)
	if err != nil {
		t.Fatal(err)
	}
	s.Fill(&f)
	return string(s.AppendSignature(s.AppendTarget(nil, &f), []byte("GET"), &f))
}

// receiveDialect is what a server does with a raw target.
func receiveDialect(ds *Dialects, p *Postback, target string) error {
	path, query, _ := bytes.Cut([]byte(target), []byte{'?'})
	r := ds.Find(path)
	if r == nil {
		return errNobody
	}
	if err := r.Parse(p, query); err != nil {
		return err
	}
	return r.Verify([]byte("GET"), path, query, p)
}

var errNobody = errors.New("nobody's path")

func dialectFields() Fields {
	return Fields{ClickID: []byte("c/1 ü"), TxID: []byte("t&9"), OfferID: []byte("o7"), Event: EventSale, Payout: 12_500_000,
		Currency: Currency{'E', 'U', 'R'}, TSUnixS: 1_700_000_000}
}

// The digits were made outside of this program.
func TestDialectTargets(t *testing.T) {
	f := dialectFields()
	f.ClickID, f.TxID = []byte("c1"), []byte("t9")
	want := map[string]string{
		"open":    "/p/open/aff?nid=7&tid=c1&oid=t9&o=o7&amount=12.5&cur=EUR&ev=sale",
		"tune-1":  "/p/tune-1/aff_lsr?offer_id=o7&transaction_id=c1&amount=12.5&adv_sub=t9&goal_id=2&security_token=30313233343536373839616263646566",
		"keitaro": "/p/keitaro/30313233343536373839616263646566/postback?subid=c1&status=sale&payout=12.5&tid=t9&currency=EUR",
		"pb1":     "/p/pb1/pb?cid=c1&tx=t9&sum=12.5&kid=pb1&ts=1700000000&sig=b4646e5462a845128d4917c0cc9ae68ac312c2014cf44f8e1e26f045aabdfbd7",
		"raw":     "/p/raw/cb?cid=c1&tx=t9&sum=12.5&x=1&hash=3f9eb0ed069e75d9348a0bc422fdd4c8e348e9ef",
		"wall":    "/p/wall/w?subId=c1&transId=t9&reward=12.5&status=1&signature=8481e38cbd1197e4f5bd1b8b0ff4dade",
	}
	for _, d := range testDialects() {
		if got := render(t, &d, f); got != want[d.Partner] {
			t.Errorf("%s:\ngot  %s\nwant %s", d.Partner, got, want[d.Partner])
		}
	}
}

// What a partner writes, its reader reads, whatever stands in the values.
func TestDialectsAreReadAsWritten(t *testing.T) {
	ds := readers(t)
	var p Postback
	for _, d := range testDialects() {
		for event := EventLead; event <= lastEvent; event++ {
			f := dialectFields()
			f.Event = event
			target := render(t, &d, f)
			if err := receiveDialect(ds, &p, target); err != nil {
				t.Fatalf("%s: %v", target, err)
			}
			want := values{clickID: "c/1 ü", txID: "t&9", payout: "12.5"}
			if strings.Contains(d.Target, "{event}") {
				want.event = event.String()
			}
			if strings.Contains(d.Target, "{offer_id}") {
				want.offerID = "o7"
			}
			if strings.Contains(d.Target, "{currency}") {
				want.currency = "EUR"
			}
			if d.Auth != "" {
				want.kid = d.Partner
			}
			got := valuesOf(&p)
			got.sig, got.ts = [32]byte{}, 0
			if got != want {
				t.Errorf("%s: got %+v, want %+v", target, got, want)
			}
		}
	}
}

// Any one changed byte that carries meaning is found out by its signature.
func TestForgedDialects(t *testing.T) {
	ds := readers(t)
	var p Postback
	for _, d := range testDialects() {
		if d.Auth == "" {
			continue
		}
		f := dialectFields()
		target := render(t, &d, f)
		forged := []string{target[:len(target)-1] + "x", strings.ToUpper(target)}
		if d.Auth == AuthToken {
			forged = []string{
				strings.Replace(target, "3031", "3030", 1), strings.Replace(target, "3031", "303", 1), strings.Replace(target, "3031", "", 1),
				strings.Replace(target, "6566", "6567", 1), strings.Replace(target, "6364", "636G", 1), strings.Replace(target, "30313233343536373839616263646566", "", 1),
			}
		} else {
			forged = append(forged, strings.Replace(target, "12.5", "125", 1), target[:len(target)-1], target[:strings.LastIndexByte(target, '&')],
				strings.Replace(target, "c%2F1", "c%2F2", 1), render(t, d.As(d.Partner, []byte("another secret of theirs")), f))
		}
		for _, target := range forged {
			if err := receiveDialect(ds, &p, target); !errors.Is(err, ErrBadSignature) && !errors.Is(err, errNobody) {
				t.Errorf("%s: %v", target, err)
			}
		}
	}
}

func TestDialectSignaturesAreBoundToTheRawBytes(t *testing.T) {
	ds := readers(t)
	var p Postback
	for _, d := range testDialects() {
		switch d.Auth {
		case AuthHMACSHA1, AuthHMACSHA256:
		default:
			continue
		}
		target := render(t, &d, dialectFields())
		for _, other := range []string{strings.Replace(target, "%2F", "%2f", 1), strings.Replace(target, "?", "?y=1&", 1), target + "&y=1"} {
			if err := receiveDialect(ds, &p, other); !errors.Is(err, ErrBadSignature) {
				t.Errorf("%s: %v", other, err)
			}
		}
	}
	// md5 signs the values as they were sent, wherever they stand.
	wall := testDialects()[5]
	same := render(t, &wall, dialectFields())
	for _, other := range []string{strings.Replace(same, "?", "?y=1&", 1), strings.Replace(same, "%2F", "%2f", 1), same + "&y=1"} {
		if err := receiveDialect(ds, &p, other); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
	if err := receiveDialect(ds, &p, strings.Replace(same, "12.5", "12.50", 1)); !errors.Is(err, ErrBadSignature) {
		t.Errorf("12.50 is as much money as 12.5, but another digest: %v", err)
	}
}

func TestDialectsAreLenient(t *testing.T) {
	ds := readers(t)
	only := values{clickID: "c1", payout: "0"}
	for _, test := range []struct {
		query string
		want  values
		err   error
	}{
		{"tid=c1", only, nil},
		{"unknown=1&tid=c1&&x&nid=1&nid=2", only, nil},
		{"t%69d=%631", only, nil},
		{"tid=c1&amount=&ev=&cur=", only, nil},
		{"tid=a+b", values{clickID: "a b", payout: "0"}, nil},
		{"ev=sale&amount=1&tid=c1", values{clickID: "c1", event: "sale", payout: "1"}, nil},
		{"", values{}, ErrMissing}, {"tid=", values{}, ErrMissing}, {"click_id=c1", values{}, ErrMissing},
		{"tid=c1&tid=c1", values{}, ErrDuplicateKey}, {"tid=c1&t%69d=", values{}, ErrDuplicateKey},
		{"tid=c1&x=%zz", values{}, ErrBadEscape}, {"tid=c1%4", values{}, ErrBadEscape},
		{"tid=c1&amount={payout}", values{}, ErrBadMoney}, {"tid=c1&amount=%7Bpayout%7D", values{}, ErrBadMoney},
		{"tid=c1&amount=1,5", values{}, ErrBadMoney},
		{"tid=c1&ev=2", values{}, ErrBadValue}, {"tid=c1&cur=eur", values{}, ErrBadCurrency},
		{"tid=" + strings.Repeat("c", MaxClickIDBytes+1), values{}, ErrTooLong},
		{"tid=c1&x=" + strings.Repeat("x", MaxQueryBytes), values{}, ErrTooLong},
	} {
		var p Postback
		err := receiveDialect(ds, &p, "/p/open/aff?"+test.query)
		if !errors.Is(err, test.err) || valuesOf(&p) != test.want && (err == nil || p.ClickID != nil) {
			t.Errorf("%q: %+v, %v; want %+v, %v", test.query, valuesOf(&p), err, test.want, test.err)
		}
		if err != nil {
			checkTyped(t, err)
		}
	}
	// The error names the parameter as the partner does.
	err := receiveDialect(ds, &Postback{}, "/p/open/aff?tid=c1&amount=x")
	if parseErr := (*ParseError)(nil); !errors.As(err, &parseErr) || parseErr.Param != "amount" {
		t.Errorf("%v does not name the parameter", err)
	}
}

func TestFindDialect(t *testing.T) {
	ds := readers(t)
	for path, want := range map[string]bool{
		"/p/open/aff": true, "/p/open/aff/": false, "/p/open/af": false, "/p/open": false, "/p/open/": false, "/p/": false, "/p": false,
		"/p/stranger/aff": false, "/p//aff": false, "": false, "/pb": false, "/p/Open/aff": false, "/p/tune-1/aff_lsr": true,
		"/p/keitaro/x/postback": true, "/p/keitaro//postback": true, "/p/keitaro/postback": false, "/p/keitaro/x/y/postback": false, "/p/keitaro/x/postbac": false,
	} {
		if got := ds.Find([]byte(path)) != nil; got != want {
			t.Errorf("Find(%q): %v, want %v", path, got, want)
		}
	}
	none, err := NewDialects(nil)
	if err != nil || none.Find([]byte("/p/open/aff")) != nil {
		t.Errorf("no dialects: %v", err)
	}
}

func TestDialectAnswers(t *testing.T) {
	ds := readers(t)
	if r := ds.Find([]byte("/p/tune-1/aff_lsr")); r.OK() != "success=true;" || r.Duplicate() != "DUP" || r.Auth() != AuthToken {
		t.Errorf("%q %q", r.OK(), r.Duplicate())
	}
	if r := (*DialectReader)(nil); r.OK() != "OK" || r.Duplicate() != "DUP" {
		t.Errorf("without a dialect: %q %q", r.OK(), r.Duplicate())
	}
}

func TestDialectRedaction(t *testing.T) {
	ds := readers(t)
	for target, want := range map[string]string{
		"/p/open/aff?tid=c1&x&=&&sig=a": "/p/open/aff?tid=c1&x&=&&sig=a",
		"/p/open/aff?":                  "/p/open/aff?",
		"/p/open/aff":                   "/p/open/aff",
		"/p/tune-1/aff_lsr?security_token=3031&a=1&security%5Ftoken": "/p/tune-1/aff_lsr?security_token=redacted&a=1&security%5Ftoken=redacted",
		"/p/keitaro/3031/postback?subid=c1":                          "/p/keitaro/redacted/postback?subid=c1",
		"/p/raw/cb?cid=c1&hash=00":                                   "/p/raw/cb?cid=c1&hash=redacted",
		"/p/pb1/pb?sig=1&cid=c1":                                     "/p/pb1/pb?sig=redacted&cid=c1",
		"/p/wall/w?signature=ab":                                     "/p/wall/w?signature=redacted",
	} {
		path, _, _ := strings.Cut(target, "?")
		if got := string(ds.Find([]byte(path)).AppendRedacted(nil, []byte(target))); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	if got := string((*DialectReader)(nil).AppendRedacted(nil, []byte("/pb?a=1"))); got != "/pb?a=1" {
		t.Errorf("without a dialect: %s", got)
	}
}

// The example in FORMAT.md is one.
func TestDialectExample(t *testing.T) {
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	var list []Dialect
	if err := json.Unmarshal([]byte(example), &list); err != nil {
		t.Fatalf("%v: %s", err, example)
	}
	if _, err := NewDialects(list); err != nil || len(list) != 1 {
		t.Errorf("%d dialects: %v", len(list), err)
	}
}

func TestDialectTemplate(t *testing.T) {
	d := testDialects()[1]
	template, err := d.Template()
	if err != nil {
		t.Fatal(err)
	}
	if template.Name != "tune-1" || template.Method != "GET" || template.Signed || template.Dialect == nil || template.Target.String() != "/p/tune-1"+d.Target ||
		!template.Has("token") || !template.Has("payout") || template.Has("currency") {
		t.Errorf("%+v", template)
	}
}

func TestDialectAsJSON(t *testing.T) {
	text, err := json.Marshal(testDialects())
	if err != nil {
		t.Fatal(err)
	}
	var back []Dialect
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, testDialects()) {
		t.Errorf("%v: %s", err, text)
	}
}

func TestDialectsRefused(t *testing.T) {
	for _, test := range []struct {
		change func(*Dialect) // of the tune dialect
		says   string
	}{
		{func(d *Dialect) { d.Partner = "" }, "partner's name"},
		{func(d *Dialect) { d.Partner = "a/b" }, "partner's name"},
		{func(d *Dialect) { d.Partner = ".." }, "partner's name"},
		{func(d *Dialect) { d.Partner = strings.Repeat("a", MaxKIDBytes+1) }, "partner's name"},
		{func(d *Dialect) { d.Target = "pb?cid={click_id}" }, "path and query"},
		{func(d *Dialect) { d.Target += strings.Repeat("x", MaxDialectTargetBytes) }, "too long"},
		{func(d *Dialect) { d.Target += "&a={nonsense}" }, "unknown macro {nonsense}"},
		{func(d *Dialect) { d.Target += "&a b=1" }, "0x20"},
		{func(d *Dialect) { d.Target += "&a={" }, "a brace"},
		{func(d *Dialect) { d.Target += "#x" }, "fragment"},
		{func(d *Dialect) { d.Target = "//x?c={click_id}&t={token}" }, "no empty segment"},
		{func(d *Dialect) { d.Target = "/../x?c={click_id}&t={token}" }, "no empty segment"},
		{func(d *Dialect) { d.Target = "/a%2Fx?c={click_id}&t={token}" }, "no escapes"},
		{func(d *Dialect) { d.Target = "/{click_id}?c={txid}&t={token}" }, "may stand in a path"},
		{func(d *Dialect) { d.Target = "/{token}{token}?c={click_id}" }, "may stand in a path"},
		{func(d *Dialect) { d.Target = "/x?t={token}" }, "{click_id}"},
		{func(d *Dialect) { d.Target = "/x/{token}?c={click_id}&t={token}" }, "once with auth token"},
		{func(d *Dialect) { d.Target = "/x?c={click_id}" }, "once with auth token"},
		{func(d *Dialect) { d.Target += "&c=a-{currency}" }, "whole value"},
		{func(d *Dialect) { d.Target += "&{currency}=a" }, "without macros"},
		{func(d *Dialect) { d.Target += "&a%20=1" }, "without macros and escapes"},
		{func(d *Dialect) { d.Target += "&=1" }, "want a name"},
		{func(d *Dialect) { d.Target += "&amount=1" }, "\"amount\" is there twice"},
		{func(d *Dialect) { d.Target += "&a={payout}" }, "{payout} is there twice"},
		{func(d *Dialect) { d.Auth = "rsa" }, "want none, token"},
		{func(d *Dialect) { d.Auth = "" }, "never without"},
		{func(d *Dialect) { d.Secret = nil }, "secret is empty"},
		{func(d *Dialect) { d.Secret = d.Secret[:15] }, "15 bytes, want at least 16"},
		{func(d *Dialect) { d.AuthParam = "x" }, "only hmac-sha1 and md5"},
		{func(d *Dialect) { d.Digest = "{click_id}" }, "the others have none"},
		{func(d *Dialect) { withMD5(d); d.Digest = "" }, "needs one"},
		{func(d *Dialect) { withMD5(d); d.AuthParam = "" }, "want a name"},
		{func(d *Dialect) { withMD5(d); d.AuthParam = "h&x" }, "want a name"},
		{func(d *Dialect) { withMD5(d); d.AuthParam = "c" }, "in the target already"},
		{func(d *Dialect) { withMD5(d); d.Digest = "{payout}" }, "not in the target"},
		{func(d *Dialect) { withMD5(d); d.Digest = "{token}" }, "unknown macro"},
		{func(d *Dialect) { withMD5(d); d.Auth, d.Digest, d.AuthParam = AuthHMACSHA256, "", "" }, "{kid} and {ts}"},
		{func(d *Dialect) { d.Events = map[string]string{"goal": "1"} }, "none of ours"},
		{func(d *Dialect) { d.Events = map[string]string{"sale": ""} }, "printable"},
		{func(d *Dialect) { d.Events = map[string]string{"sale": "lead"} }, "stands for lead and for sale"},
		{func(d *Dialect) { d.Events = map[string]string{"sale": "1", "lead": "1"} }, "stands for lead and for sale"},
		{func(d *Dialect) { d.OK = "a\nb" }, "printable"},
		{func(d *Dialect) { d.Duplicate = strings.Repeat("x", maxAnswerBytes+1) }, "at most 256"},
	} {
		d := testDialects()[1]
		test.change(&d)
		err := d.Validate()
		if err == nil || !errors.Is(err, ErrDialect) || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want a word about %s, got %v", test.says, err)
		}
		if _, again := d.Template(); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("Template says %v, Validate %v", again, err)
		}
	}
	if _, err := NewDialects(append(testDialects(), testDialects()[0])); !errors.Is(err, ErrDialect) || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a partner twice: %v", err)
	}
}

func withMD5(d *Dialect) {
	d.Auth, d.AuthParam, d.Digest, d.Target = AuthMD5, "h", "{click_id}", "/x?c={click_id}"
}

func TestUnexpandedPayout(t *testing.T) {
	for _, template := range []Template{PlainTemplate(), SignedTemplate()} {
		f := dialectFields()
		f.Unexpanded = true
		if got := string(template.AppendTarget(nil, &f)); !strings.Contains(got, "&payout={payout}&currency=EUR") {
			t.Errorf("%s: %s", template.Name, got)
		}
	}
}
