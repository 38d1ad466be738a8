package postback

import (
	"errors"
	"strings"
	"testing"
)

func testFields() *Fields {
	return &Fields{
		ClickID: []byte("c/1"), TxID: []byte("t&9"), OfferID: []byte("o 7"), Event: EventSale, Payout: 12_500_000,
		Currency: Currency{'E', 'U', 'R'}, KID: []byte("k1"), TSUnixS: 1_700_000_000,
	}
}

func parseText(t *testing.T, s string) Text {
	t.Helper()
	text, err := ParseText(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParseText(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"literal", "literal"},
		{"{click_id}", "c/1"},
		{"{event}{currency}", "saleEUR"},
		{"a{txid}b{offer_id}c", "at&9bo 7c"},
		{"{payout} {kid} {ts}", "12.5 k1 1700000000"},
		{`{"a":{"b":"{click_id}"},"c":{},"d":{payout}}`, `{"a":{"b":"c/1"},"c":{},"d":12.5}`},
		{"{{ts}}", "{1700000000}"},
		{"%7Bclick_id%7D", "%7Bclick_id%7D"},
		{"${unclosed", "${unclosed"},
	}
	for _, tt := range tests {
		text := parseText(t, tt.in)
		if got := string(text.append(nil, testFields(), escapeNone)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
		if text.String() != tt.in {
			t.Errorf("String = %q, want %q", text, tt.in)
		}
	}
}

func TestParseTextRefuses(t *testing.T) {
	const allowed = "{click_id} {txid} {offer_id} {event} {payout} {currency} {kid} {ts}"
	tests := []struct{ in, want string }{
		{"a={clickid}", "postback: template: unknown macro {clickid} at byte 2, expected one of " + allowed},
		{"{Click_ID}", "postback: template: unknown macro {Click_ID} at byte 0, expected one of " + allowed},
		{"{click-id}", "postback: template: unknown macro {click-id} at byte 0, expected one of " + allowed},
		{"{sig}", "postback: template: unknown macro {sig} at byte 0, expected one of " + allowed},
		{"a={ts&b=1", "postback: template: macro {ts at byte 2 is not closed, write {ts}"},
		{"{ts }", "postback: template: macro {ts at byte 0 is not closed, write {ts}"},
		{strings.Repeat("x", MaxTextBytes+1), "postback: template: too long: 16385 bytes, at most 16384"},
	}
	for _, tt := range tests {
		if _, err := ParseText(tt.in); err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

// The list in messages and the names that compile are written down twice.
func TestMacroNames(t *testing.T) {
	var names []string
	for id := paramClickID; id <= paramSig; id++ {
		if lookupParam([]byte(id.String())) != id {
			t.Errorf("%q does not look up itself", id)
		}
		if len(id.String()) > maxNameBytes {
			t.Errorf("%q is longer than maxNameBytes", id)
		}
		if id != paramSig {
			names = append(names, id.String())
		}
	}
	if got := strings.Join(names, " "); got != macroNames {
		t.Errorf("macroNames = %q, want %q", macroNames, got)
	}
}

func TestHas(t *testing.T) {
	tmpl := Template{
		Target:  parseText(t, "/pb?c={click_id}"),
		Headers: []Header{{"X-Key", parseText(t, "{kid}")}},
		Body:    parseText(t, "{payout}"),
	}
	for _, name := range strings.Fields(macroNames + " sig nonsense") {
		want := name == "click_id" || name == "kid" || name == "payout"
		if tmpl.Has(name) != want {
			t.Errorf("Has(%q) = %v", name, !want)
		}
	}
	if parseText(t, "literal").Has("") {
		t.Error("a literal has the macro without a name")
	}
}

func TestBuiltinTemplates(t *testing.T) {
	const query = "click_id=c%2F1&txid=t%269&offer_id=o%207&event=sale&payout=12.5&currency=EUR"
	tests := []struct {
		tmpl         Template
		name, target string
		signed       bool
	}{
		{PlainTemplate(), "plain", "/pb?" + query, false},
		{SignedTemplate(), "signed", "/pb/signed?" + query + "&kid=k1&ts=1700000000", true},
	}
	for _, tt := range tests {
		if got := string(tt.tmpl.AppendTarget([]byte("x"), testFields())); got != "x"+tt.target {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.target)
		}
		if tt.tmpl.Name != tt.name || tt.tmpl.Method != "GET" || tt.tmpl.Signed != tt.signed {
			t.Errorf("%s: %+v", tt.name, tt.tmpl)
		}
	}
}

func TestEscaping(t *testing.T) {
	f := &Fields{ClickID: []byte("aZ0-._~ %+&=/\"\\\x00\n\x7f\xc3\xa4")}
	header := func(contentType string) []Header { return []Header{{"content-type", parseText(t, contentType)}} }
	const (
		asURL  = `aZ0-._~%20%25%2B%26%3D%2F%22%5C%00%0A%7F%C3%A4`
		asJSON = "aZ0-._~ %+&=/\\\"\\\\\\u0000\\u000A\x7f\xc3\xa4"
		as     = "aZ0-._~ %+&=/\"\\\x00\n\x7f\xc3\xa4"
	)
	tests := []struct {
		name       string
		headers    []Header
		body, want string
	}{
		{"form", header("application/x-www-form-urlencoded; charset=utf-8"), "c={click_id}", "c=" + asURL},
		{"JSON", header("application/JSON"), "{click_id}", asJSON},
		{"JSON suffix", header("application/problem+json ; charset=utf-8"), "{click_id}", asJSON},
		{"text", header("text/plain"), "{click_id}", as},
		{"no type, a form", nil, "{click_id}", asURL},
		{"no type, a JSON object", nil, " {\"c\":\"{click_id}\"}", " {\"c\":\"" + asJSON + "\"}"},
		{"no type, a JSON array", nil, `["{click_id}"]`, `["` + asJSON + `"]`},
		{"no body", nil, "", ""},
	}
	for _, tt := range tests {
		tmpl := Template{Headers: tt.headers, Body: parseText(t, tt.body)}
		if got := string(tmpl.AppendBody(nil, f)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	tmpl := Template{Headers: header("v={click_id}")}
	if got, want := string(tmpl.AppendHeader(nil, 0, f)), "v=aZ0-._~ %+&=/\"\\%00%0A%7F\xc3\xa4"; got != want {
		t.Errorf("header: got %q, want %q", got, want)
	}
}

func TestParseHeader(t *testing.T) {
	h, err := ParseHeader("X-Click:  id {click_id}\t")
	if err != nil || h.Name != "X-Click" || h.Value.String() != "id {click_id}" || !h.Value.Has("click_id") {
		t.Errorf("got %+v, %v", h, err)
	}
	for _, in := range []string{"", "X-Click", ": v", "X Click: v", "Ä: v", "X: a\r\nY: b", "X: {nonsense}"} {
		if h, err := ParseHeader(in); err == nil {
			t.Errorf("ParseHeader(%q) = %+v", in, h)
		}
	}
}

func TestTemplateFromURL(t *testing.T) {
	tests := []struct{ in, origin, target string }{
		{"https://me/pb?cid={click_id}&sum={payout}", "https://me", "/pb?cid=c%2F1&sum=12.5"},
		{"HTTP://me:8080/{offer_id}/p%2Fb?x=%7Bclick_id%7D", "http://me:8080", "/o%207/p%2Fb?x=%7Bclick_id%7D"},
		{"http://[::1]:80?{txid}", "http://[::1]:80", "/?t%269"},
		{"http://127.0.0.1", "http://127.0.0.1", "/"},
		{"https://me/pb?to=http://you/?a=b", "https://me", "/pb?to=http://you/?a=b"},
	}
	for _, tt := range tests {
		tmpl, origin, err := TemplateFromURL(tt.in)
		if err != nil {
			t.Error(err)
			continue
		}
		target := string(tmpl.AppendTarget(nil, testFields()))
		if origin != tt.origin || target != tt.target || tmpl.Name != "url" || tmpl.Method != "GET" || tmpl.Signed {
			t.Errorf("%s: origin %s, target %s, %+v", tt.in, origin, target, tmpl)
		}
	}
}

func TestTemplateFromURLRefuses(t *testing.T) {
	tests := []struct{ in, says string }{
		{"", "no scheme and host, write the whole URL, such as 'https://tracker.example/pb?cid={click_id}'"},
		{"/pb?cid={click_id}", "no scheme and host"},
		{"me/pb?cid={click_id}", "no scheme and host"},
		{"me:8080/pb", "no scheme and host"},
		{"/pb?to=https://me", "no scheme and host"},
		{"{click_id}://me", "no scheme and host"},
		{"ftp://me/pb", `scheme "ftp" is not supported, write http:// or https://`},
		{"://me/pb", `scheme "" is not supported`},
		{"https:///pb", "no host"},
		{"https://:80/pb", "no host"},
		{"https://{click_id}.me/pb", "a macro in the host"},
		{"https://a b/pb", "is not valid"},
		{"https://user:pw@me/pb", "Authorization"},
		{"https://me:/pb", `port "" is not a number from 1 to 65535`},
		{"https://me:0/pb", `port "0"`},
		{"https://me:65536/pb", `port "65536"`},
		{"https://me/pb?cid={cid}", "unknown macro {cid} at byte 8, expected one of {click_id} {txid}"},
		{"https://me/pb?cid={click id}", "a brace that belongs to no macro, write %7B or one of {click_id}"},
		{"https://me/pb?cid=a b", "byte 0x20 is not allowed in a URL, write %20"},
		{"https://me/pb?a={}&cid={click_id}", "a brace that belongs to no macro, write %7B or one of {click_id}"},
		{"https://me/pb?cid={click_id}#top", "a fragment (#…) is never sent"},
		{"https://me/pb?off=50%&cid={click_id}", "a percent sign itself is written %25"},
		{"https://me/p\xc3\xa4", "byte 0xc3 is not allowed in a URL, write %C3"},
		{"https://me/" + strings.Repeat("x", MaxTextBytes), "too long"},
	}
	for _, tt := range tests {
		_, origin, err := TemplateFromURL(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.says) || origin != "" {
			t.Errorf("%s: got %v, want it to say %q", shorten(tt.in), err, tt.says)
		} else if len(err.Error()) > 300 || strings.Contains(err.Error(), "\n") {
			t.Errorf("not one readable line: %q", err)
		}
	}
	if _, _, err := TemplateFromURL("http://me/%4"); !errors.Is(err, ErrBadEscape) {
		t.Errorf("got %v, want ErrBadEscape", err)
	}
}
