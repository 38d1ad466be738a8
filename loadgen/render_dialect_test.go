package loadgen

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen/transport"
)

// dialectsOf has one partner of each way to authenticate, named like the
// population's first, whose secret it has.
func dialectsOf(generator *intent.Generator) []postback.Dialect {
	name := generator.Spec().Partners[0].Name
	secret := generator.Secret(name)
	return []postback.Dialect{
		{Partner: name, Target: "/aff?nid=7&oid={offer_id}&tid={click_id}&sum={payout}&tx={txid}&src=x"},
		{Partner: name, Auth: postback.AuthToken, Secret: secret, Events: map[string]string{"sale": "2"},
			Target: "/aff_lsr?x=1&transaction_id={click_id}&amount={payout}&adv_sub={txid}&goal_id={event}&security_token={token}"},
		{Partner: name, Auth: postback.AuthToken, Secret: secret, Target: "/{token}/postback?tid={txid}&payout={payout}&subid={click_id}"},
		{Partner: name, Auth: postback.AuthHMACSHA256, Secret: secret, Target: "/a?sum={payout}&cid={click_id}&tx={txid}&kid={kid}&ts={ts}"},
		{Partner: name, Auth: postback.AuthHMACSHA1, AuthParam: "hash", Secret: secret, Target: "/a?v=2&cid={click_id}&tx={txid}&sum={payout}&v3"},
		{Partner: name, Auth: postback.AuthMD5, AuthParam: "sig", Digest: "{click_id}{txid}{payout}", Secret: secret,
			Target: "/a?cid={click_id}&tx={txid}&sum={payout}"},
	}
}

var errNobodysPath = errors.New("no partner's path")

// judged is what a server says that knows only these dialects.
func judged(t *testing.T, dialects []postback.Dialect, req *transport.Request, p *postback.Postback) error {
	t.Helper()
	ds, err := postback.NewDialects(dialects)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := bytes.Cut(req.Target, []byte("?"))
	r := ds.Find(path)
	if r == nil {
		return errNobodysPath
	}
	if err := r.Parse(p, query); err != nil {
		return err
	}
	return r.Verify([]byte(req.Method), path, query, p)
}

func TestDialectRequestsAreJudgedAsMeant(t *testing.T) {
	generator := generatorOf(t, nil)
	type meant struct {
		kind intent.Kind
		how  intent.Malformation
		want error
	}
	all := []meant{
		{kind: intent.Legitimate}, {kind: intent.UnknownClick},
		{kind: intent.UnknownPartner, want: errNobodysPath},
		{kind: intent.UnexpandedMacro, want: postback.ErrBadMoney},
		{kind: intent.Malformed, how: intent.BadEscape, want: postback.ErrBadEscape},
		{kind: intent.Malformed, how: intent.RepeatedParameter, want: postback.ErrDuplicateKey},
		{kind: intent.BadSignature, want: postback.ErrBadSignature},
	}
	for _, d := range dialectsOf(generator) {
		template, err := d.Template()
		if err != nil {
			t.Fatal(err)
		}
		stranger := d.As(intent.StrangerKID, generator.Secret(intent.StrangerKID))
		renderer := NewRenderer(generator, 0, &template)
		var it intent.Intent
		var req transport.Request
		for _, m := range all {
			for index := range uint64(20) {
				generator.At(index, &it)
				it.Kind, it.Malformation = m.kind, m.how
				renderer.Render(&it, 1_700_000_123, &req)
				want := m.want
				if d.Auth == "" && m.kind == intent.BadSignature {
					want = nil // nothing that could be wrong
				}
				var p postback.Postback
				if err := judged(t, []postback.Dialect{d}, &req, &p); !errors.Is(err, want) {
					t.Fatalf("%s, %s: %s: %v, want %v", d.Auth, kindOf(&it), req.Target, err, want)
				}
				if m.kind == intent.UnknownPartner {
					// Nothing but the partner may be wrong.
					if err := judged(t, []postback.Dialect{*stranger}, &req, &p); err != nil || !strings.HasPrefix(string(req.Target), "/p/stranger/") {
						t.Fatalf("%s: %s: %v", d.Auth, req.Target, err)
					}
				}
				if want == nil && (string(p.ClickID) != string(it.ClickID) || string(p.TxID) != string(it.TxID) || p.Payout != it.Payout) {
					t.Fatalf("%s: %s says something else than %+v", d.Auth, req.Target, it)
				}
			}
		}
	}
}

// A forged request differs from the real one in a single digit.
func TestForgedDialectsDifferInOneDigit(t *testing.T) {
	generator := generatorOf(t, nil)
	for _, d := range dialectsOf(generator)[1:] {
		template, err := d.Template()
		if err != nil {
			t.Fatal(err)
		}
		renderer := NewRenderer(generator, 0, &template)
		var it intent.Intent
		var good, forged transport.Request
		generator.At(1, &it)
		renderer.Render(&it, 1_700_000_000, &good)
		it.Kind = intent.BadSignature
		renderer.Render(&it, 1_700_000_000, &forged)
		differ := 0
		for i := range min(len(good.Target), len(forged.Target)) {
			if good.Target[i] != forged.Target[i] {
				differ++
			}
		}
		if differ != 1 || len(good.Target) != len(forged.Target) {
			t.Errorf("%s:\n%s\n%s", d.Auth, good.Target, forged.Target)
		}
	}
}

func TestUnexpandedMacroInBuiltInTemplates(t *testing.T) {
	generator := generatorOf(t, nil)
	var it intent.Intent
	var req transport.Request
	var p postback.Postback
	generator.At(1, &it)
	it.Kind = intent.UnexpandedMacro
	for _, template := range []postback.Template{postback.PlainTemplate(), postback.SignedTemplate()} {
		NewRenderer(generator, 0, &template).Render(&it, 1_700_000_000, &req)
		_, query, _ := bytes.Cut(req.Target, []byte("?"))
		parse := p.ParsePlain
		if template.Signed {
			parse = p.ParseSigned
		}
		if err := parse(query); !errors.Is(err, postback.ErrBadMoney) {
			t.Errorf("%s: %s: %v", template.Name, req.Target, err)
		}
	}
}
