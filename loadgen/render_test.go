package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/loadgen/transport"
)

// everyKind is a population with every kind of intent.
func everyKind(t testing.TB) *intent.Generator {
	return generatorOf(t, func(s *intent.Spec) {
		s.Mix = intent.Mix{UnknownClicks: 0.1, BadSignatures: 0.2, Malformed: 0.3, UnknownPartner: 0.2, Leads: 0.2}
	})
}

// keyringOf knows the keys that a server of this population would know.
func keyringOf(generator *intent.Generator) *postback.Keyring {
	keys := postback.NewKeyring()
	for _, p := range generator.Spec().Partners {
		keys.Add(p.Name, generator.Secret(p.Name))
	}
	return keys
}

// kindOf names an intent's kind and, if malformed, the way.
func kindOf(it *intent.Intent) string {
	if it.Kind == intent.Malformed {
		return fmt.Sprintf("%s %d", it.Kind, it.Malformation)
	}
	return it.Kind.String()
}

func TestSignedRequestsAreJudgedAsMeant(t *testing.T) {
	generator, template := everyKind(t), postback.SignedTemplate()
	keys, renderer := keyringOf(generator), NewRenderer(generator, 0, &template)
	withStranger := keyringOf(generator)
	withStranger.Add(intent.StrangerKID, generator.Secret(intent.StrangerKID))
	want := map[string]struct{ parse, verify error }{
		"legitimate": {}, "unknown_click": {},
		"bad_signature":   {verify: postback.ErrBadSignature},
		"unknown_partner": {verify: postback.ErrBadSignature},
		fmt.Sprintf("malformed %d", intent.BadEscape):         {parse: postback.ErrBadEscape},
		fmt.Sprintf("malformed %d", intent.RepeatedParameter): {parse: postback.ErrDuplicateKey},
	}
	seen := map[string]int{}
	var it intent.Intent
	var req transport.Request
	var p postback.Postback
	for i := range uint64(1000) {
		generator.At(i, &it)
		renderer.Render(&it, 1_700_000_123, &req)
		kind := kindOf(&it)
		seen[kind]++
		path, query, _ := bytes.Cut(req.Target, []byte("?"))
		if err := p.ParseSigned(query); !errors.Is(err, want[kind].parse) {
			t.Fatalf("%s: ParseSigned of %s: %v, want %v", kind, req.Target, err, want[kind].parse)
		} else if err != nil {
			continue
		}
		if err := keys.Verify([]byte(req.Method), path, query, &p); !errors.Is(err, want[kind].verify) {
			t.Fatalf("%s: Verify of %s: %v, want %v", kind, req.Target, err, want[kind].verify)
		}
		if err := withStranger.Verify([]byte(req.Method), path, query, &p); (err != nil) != (it.Kind == intent.BadSignature) {
			t.Fatalf("%s: nothing but the unknown key may be wrong: %v", kind, err)
		}
		if string(p.ClickID) != string(it.ClickID) || string(p.TxID) != string(it.TxID) || p.Event != it.Event ||
			p.Payout != it.Payout || p.Currency != it.Currency || string(p.OfferID) != "shoes" || p.TSUnixS != 1_700_000_123 {
			t.Fatalf("%s says something else than the intent %+v", req.Target, it)
		}
	}
	for kind := range want {
		if seen[kind] < 50 {
			t.Errorf("%d intents of kind %s in 1000", seen[kind], kind)
		}
	}
}

func TestPlainMalformedRequestsAreRefused(t *testing.T) {
	generator := generatorOf(t, func(s *intent.Spec) { s.Mix.Malformed = 0.5 })
	template := postback.PlainTemplate()
	renderer := NewRenderer(generator, 0, &template)
	var it intent.Intent
	var req transport.Request
	var p postback.Postback
	for i := range uint64(200) {
		generator.At(i, &it)
		renderer.Render(&it, 0, &req)
		_, query, _ := bytes.Cut(req.Target, []byte("?"))
		if err := p.ParsePlain(query); (err != nil) != (it.Kind == intent.Malformed) {
			t.Fatalf("%s: ParsePlain of %s: %v", kindOf(&it), req.Target, err)
		}
	}
}

func TestMalformation(t *testing.T) {
	for _, c := range []struct {
		target, body         string
		how                  intent.Malformation
		repeat               string
		wantTarget, wantBody string
	}{
		{"/pb?cid=a&sum=1", "", intent.BadEscape, "", "/pb?cid=a&sum=1%zz", ""},
		{"/pb?cid=a&sum=1", "", intent.RepeatedParameter, "", "/pb?cid=a&sum=1&cid=a", ""},
		{"/pb?cid=a", "", intent.RepeatedParameter, "", "/pb?cid=a&cid=a", ""},
		{"/pb?a=1&cid=a&sum=1", "", intent.RepeatedParameter, "cid", "/pb?a=1&cid=a&sum=1&cid=a", ""},
		{"/pb?sum=1&cid=a", "", intent.RepeatedParameter, "cid", "/pb?sum=1&cid=a&cid=a", ""},
		{"/pb/a", "", intent.BadEscape, "", "/pb/a%zz", ""},
		{"/pb/a", "", intent.RepeatedParameter, "", "/pb/a%zz", ""},
		{"/pb", `{"cid":"a"}`, intent.RepeatedParameter, "", "/pb", `{"cid":"a"`},
		{"/pb", "cid=a&sum=1", intent.BadEscape, "", "/pb", "cid=a&sum=1%zz"},
	} {
		req := transport.Request{Target: []byte(c.target), Body: []byte(c.body)}
		malform(&req, c.how, c.repeat)
		if string(req.Target) != c.wantTarget || string(req.Body) != c.wantBody {
			t.Errorf("%s %s, way %d: %s %s", c.target, c.body, c.how, req.Target, req.Body)
		}
	}
}

// ownTemplate is a user's POST with macros in path, header and body.
func ownTemplate(t testing.TB) postback.Template {
	t.Helper()
	template, _, err := postback.TemplateFromURL("https://me/pb/{offer_id}?cid={click_id}")
	if err != nil {
		t.Fatal(err)
	}
	template.Method = "POST"
	if template.Body, err = postback.ParseText(`{"tx":"{txid}","sum":{payout}}`); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"X-Event: {event}", "X-Money: {payout} {currency}"} {
		header, err := postback.ParseHeader(text)
		if err != nil {
			t.Fatal(err)
		}
		template.Headers = append(template.Headers, header)
	}
	return template
}

func TestHeadersAndBody(t *testing.T) {
	generator, template := generatorOf(t, nil), ownTemplate(t)
	var it intent.Intent
	var req transport.Request
	generator.At(3, &it)
	renderer := NewRenderer(generator, 0, &template)
	for range 2 { // the second time into used buffers
		renderer.Render(&it, 0, &req)
		got := strings.Join([]string{req.Method, string(req.Target), string(req.Header), string(req.Body)}, "\n")
		want := fmt.Sprintf("POST\n/pb/shoes?cid=%s\nX-Event: sale\r\nX-Money: 12.5 EUR\r\n\n{\"tx\":\"%s\",\"sum\":12.5}", it.ClickID, it.TxID)
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestEqualInputsGiveEqualBytes(t *testing.T) {
	template := postback.SignedTemplate()
	render := func(generator *intent.Generator, order []uint64) map[uint64]string {
		renderer := NewRenderer(generator, 0, &template)
		requests := map[uint64]string{}
		var it intent.Intent
		var req transport.Request
		for _, i := range order {
			generator.At(i, &it)
			renderer.Render(&it, 1_700_000_000+int64(i), &req)
			requests[i] = string(req.Target)
		}
		return requests
	}
	first := render(everyKind(t), []uint64{0, 1, 2, 3, 4, 5, 6, 7})
	again := render(everyKind(t), []uint64{7, 3, 5, 1, 0, 6, 2, 4})
	other := render(generatorOf(t, func(s *intent.Spec) { s.Seed = 8 }), []uint64{0, 1, 2, 3, 4, 5, 6, 7})
	for i := range first {
		if first[i] != again[i] {
			t.Errorf("intent %d depends on what was rendered before:\n%s\n%s", i, first[i], again[i])
		}
		if first[i] == other[i] {
			t.Errorf("intent %d is the same under another seed: %s", i, first[i])
		}
	}
}

func TestRecordedRequestIsCopied(t *testing.T) {
	recorded := schedule.Replayed{Method: "POST", Target: "/a?b=c", Header: [][2]string{{"X-A", "1"}, {"X-B", "2"}}, Body: []byte("body")}
	req := transport.Request{Method: "GET", Target: []byte("/longer/than/that"), Header: []byte("old: 1\r\n"), Body: []byte("old body")}
	copyRecorded(&recorded, &req)
	if req.Method != "POST" || string(req.Target) != "/a?b=c" || string(req.Header) != "X-A: 1\r\nX-B: 2\r\n" || string(req.Body) != "body" {
		t.Errorf("%s %s %q %s", req.Method, req.Target, req.Header, req.Body)
	}
	req.Body[0] = 'X'
	if string(recorded.Body) != "body" {
		t.Error("the request shares the recording's memory")
	}
}
