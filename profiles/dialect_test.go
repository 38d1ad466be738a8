package profiles

import (
	"bytes"
	"testing"

	"github.com/postbench/postbench/internal/postback"
)

var secret = bytes.Repeat([]byte("s3cr3t.."), 4)

// A server that knows nothing but the dialects reads what partners send, all
// events, and refuses what somebody else sends.
func TestServersReadThePartners(t *testing.T) {
	for _, name := range PartnerNames() {
		p, err := LoadPartner(name)
		if err != nil {
			t.Fatal(err)
		}
		dialect, ok := p.Dialect(name+"-1", secret)
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			stranger := dialect.As(dialect.Partner, bytes.Repeat([]byte{7}, 32))
			for event := postback.EventLead; event.String() != ""; event++ {
				verify(t, dialect, &dialect, event, true)
				verify(t, dialect, stranger, event, !p.Authenticates())
			}
		})
	}
}

func verify(t *testing.T, known postback.Dialect, sender *postback.Dialect, event postback.Event, authentic bool) {
	t.Helper()
	dialects, err := postback.NewDialects([]postback.Dialect{known})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := postback.NewDialectSigner(sender)
	if err != nil {
		t.Fatal(err)
	}
	fields := postback.Fields{ClickID: []byte("click/1"), TxID: []byte("tx 1"), OfferID: []byte("offer-1"), Event: event,
		Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, KID: []byte(known.Partner), TSUnixS: 1}
	signer.Fill(&fields)
	target := signer.AppendSignature(signer.AppendTarget(nil, &fields), []byte("GET"), &fields)
	path, query, _ := bytes.Cut(target, []byte{'?'})
	reader := dialects.Find(path)
	if reader == nil {
		t.Fatalf("no reader for %s", target)
	}
	var got postback.Postback
	if err := reader.Parse(&got, query); err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	if err := reader.Verify([]byte("GET"), path, query, &got); (err == nil) != authentic {
		t.Errorf("%s: authentic %v: %v", target, authentic, err)
	}
	if string(got.ClickID) != "click/1" || got.Payout != fields.Payout || got.Event != event {
		t.Errorf("%s was read as %s %s %s", target, got.ClickID, got.Payout, got.Event)
	}
	if len(got.TxID) > 0 && string(got.TxID) != "tx 1" {
		t.Errorf("%s: txid %q", target, got.TxID)
	}
}

func TestSendsEvents(t *testing.T) {
	for target, want := range map[string]bool{"/a?c={click_id}&e={event}": true, "/a?c={click_id}": false, "plain": true} {
		p, err := parsePartner("p.yaml", []byte("name: a\ntemplate: "+target+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if p.SendsEvents() != want {
			t.Errorf("%s: %v", target, p.SendsEvents())
		}
	}
}

func TestDialectErrors(t *testing.T) {
	parse := func(data []byte) error {
		_, err := parsePartner("p.yaml", data)
		return err
	}
	const target = "name: a\ntemplate: /p?c={click_id}&e={event}&s={payout}\n"
	golden(t, "dialect-mistakes", errorsOf(t, parse,
		"name: a\ntemplate: /p?c={clickid}\n",
		"name: a\ntemplate: /p?c={txid}\n",
		"name: a\ntemplate: /p?c={click_id}&c={txid}\n",
		"name: a\ntemplate: /p?c={click_id}&t={token}\n",
		"name: a\ntemplate: /p?c={click_id}\nevents: {sale: x}\nunexpanded_macros: 0.1\n",
		target+"events: {sail: x, lead: a, sale: a, refund: ''}\n",
		target+"events: {lead: sale}\n",
		target+"auth: {param: h}\n",
		target+"auth: {scheme: hmac-sha}\n",
		target+"auth: {scheme: token}\n",
		target+"auth: {scheme: hmac-sha1}\n",
		target+"auth: {scheme: md5, param: h}\n",
		target+"auth: {scheme: md5, param: s, digest: '{click_id}'}\n",
		target+"auth: {scheme: md5, param: h, digest: '{txid}'}\n",
		target+"auth: {scheme: hmac-sha256}\n",
		// Several at once, and the consequences of none.
		"name: a\ntemplate: /p?c={clickid}\nevents: {sail: x}\nauth: {scheme: hmac}\n",
		"name: a\ntemplate: [x]\nevents: {sail: x}\nauth: {scheme: hmac}\nanswers: {ok: fine}\n",
		"name: a\ntemplat: /p?c={click_id}\nauth: {scheme: token}\nevents: {sale: 1}\n",
		target+"auth: {scheme: [md5], param: h, digest: {txid}}\nanswers: {ok: 1}\nsuccess: {bodies: [fine]}\n",
		target+"auth: {scheme: md5, parm: h, digest: '{click_id}'}\nevents: {sale: 2, lead: lead}\n",
	))
}
