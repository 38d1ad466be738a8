package postback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const unsignedQuery = plainExample + "&kid=k1&ts=1700000000"

// sign computes a signature straight from the words of FORMAT.md.
func sign(secret, method, path, query string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte("pb1\n" + method + "\n" + path + "\n" + query))
	return hex.EncodeToString(h.Sum(nil))
}

func testKeyring() *Keyring {
	k := NewKeyring()
	k.Add("k1", []byte("secret one"))
	k.Add("k2", []byte("secret two"))
	return k
}

// receive is what a server does with a signed request.
func receive(k *Keyring, method, path, query string) error {
	var p Postback
	if err := p.ParseSigned([]byte(query)); err != nil {
		return err
	}
	return k.Verify([]byte(method), []byte(path), []byte(query), &p)
}

func TestSignatureVector(t *testing.T) {
	s := NewSigner("k1", []byte("secret one"))
	want := "x" + sign("secret one", "GET", "/pb/signed", unsignedQuery)
	for range 3 { // the state is reused
		got := string(s.AppendSignature([]byte("x"), []byte("GET"), []byte("/pb/signed"), []byte(unsignedQuery)))
		if got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	if string(s.KID()) != "k1" {
		t.Errorf("KID = %q", s.KID())
	}
}

// The example in FORMAT.md was signed with openssl.
func TestFormatDocSignature(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("```request\nGET (/[^?]+)\\?(\\S+)\n```").FindSubmatch(doc)
	if m == nil {
		t.Fatal("FORMAT.md has no ```request block")
	}
	k := NewKeyring()
	k.Add("k1", []byte("correct horse"))
	if err := receive(k, "GET", string(m[1]), string(m[2])); err != nil {
		t.Errorf("%s: %v", m[2], err)
	}
}

func TestVerify(t *testing.T) {
	const path = "/pb/signed"
	escaped := strings.Replace(unsignedQuery, "txid=t9", "txid=t%39%2f", 1)
	decoded := strings.Replace(unsignedQuery, "txid=t9", "txid=t9/", 1)
	k2 := strings.Replace(unsignedQuery, "kid=k1", "kid=k2", 1)
	unknown := strings.Replace(unsignedQuery, "kid=k1", "kid=zz", 1)
	tests := []struct {
		name, query, sig string
		ok               bool
	}{
		{"right", unsignedQuery, sign("secret one", "GET", path, unsignedQuery), true},
		{"right, escaped", escaped, sign("secret one", "GET", path, escaped), true},
		{"right, other partner", k2, sign("secret two", "GET", path, k2), true},
		{"over the decoded values", escaped, sign("secret one", "GET", path, decoded), false},
		{"other method", unsignedQuery, sign("secret one", "POST", path, unsignedQuery), false},
		{"other path", unsignedQuery, sign("secret one", "GET", "/pb", unsignedQuery), false},
		{"another partner's secret", k2, sign("secret one", "GET", path, k2), false},
		{"wrong secret", unsignedQuery, sign("secret", "GET", path, unsignedQuery), false},
		{"no version line", unsignedQuery, sign("secret one", "", "", unsignedQuery), false},
		{"over the separator too", unsignedQuery, sign("secret one", "GET", path, unsignedQuery+"&sig="), false},
		{"unknown kid", unknown, sign("secret one", "GET", path, unknown), false},
		{"unknown kid, stand-in secret", unknown, sign(strings.Repeat("\x00", 32), "GET", path, unknown), false},
	}
	k := testKeyring()
	for _, tt := range tests {
		err := receive(k, "GET", path, tt.query+"&sig="+tt.sig)
		if tt.ok && err != nil || !tt.ok && err != ErrBadSignature {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Verify must not rely on the caller having parsed the same query.
func TestVerifyUnparsed(t *testing.T) {
	k := testKeyring()
	for _, query := range []string{"", "&sig=", unsignedQuery, "&sig=" + anySig + "&", "&s1g=" + anySig, "&sig=" + anySig} {
		p := Postback{KID: []byte("k1")}
		if err := k.Verify([]byte("GET"), []byte("/"), []byte(query), &p); err != ErrBadSignature {
			t.Errorf("%q: %v", query, err)
		}
	}
}

func TestVerifyRefusesEveryBitFlip(t *testing.T) {
	k := testKeyring()
	signed := unsignedQuery + SigPrefix + sign("secret one", "GET", "/pb/signed", unsignedQuery)
	if err := receive(k, "GET", "/pb/signed", signed); err != nil {
		t.Fatal(err)
	}
	for i := range len(signed) {
		for bit := range 8 {
			flipped := []byte(signed)
			flipped[i] ^= 1 << bit
			if receive(k, "GET", "/pb/signed", string(flipped)) == nil {
				t.Errorf("accepted with bit %d of byte %d flipped: %q", bit, i, flipped)
			}
		}
	}
}

func TestKeyringAddReplaces(t *testing.T) {
	k := testKeyring()
	secret := []byte("new secret")
	k.Add("k1", secret)
	clear(secret) // the keyring has its own copy
	query := unsignedQuery + SigPrefix
	if err := receive(k, "GET", "/", query+sign("new secret", "GET", "/", unsignedQuery)); err != nil {
		t.Error("the new secret:", err)
	}
	if receive(k, "GET", "/", query+sign("secret one", "GET", "/", unsignedQuery)) == nil {
		t.Error("the replaced secret was accepted")
	}
}

func TestVerifyConcurrently(t *testing.T) {
	k := testKeyring()
	right := unsignedQuery + SigPrefix + sign("secret one", "GET", "/", unsignedQuery)
	wrong := unsignedQuery + SigPrefix + anySig
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 500 {
				if err := receive(k, "GET", "/", right); err != nil {
					t.Error(err)
				}
				if receive(k, "GET", "/", wrong) == nil {
					t.Error("a wrong signature was accepted")
				}
			}
		})
	}
	workers.Wait()
}

func TestCheckKey(t *testing.T) {
	if err := CheckKey(strings.Repeat("k", MaxKIDBytes), []byte("s")); err != nil {
		t.Error(err)
	}
	tests := []struct{ kid, secret, says string }{
		{"", "s", "empty"},
		{strings.Repeat("k", MaxKIDBytes+1), "s", "at most 32"},
		{"k\n", "s", "printable"},
		{"k1", "", "secret is empty"},
	}
	for _, tt := range tests {
		err := CheckKey(tt.kid, []byte(tt.secret))
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("CheckKey(%q, %q) = %v, want a word about %q", tt.kid, tt.secret, err, tt.says)
		}
		for _, use := range []func(){
			func() { NewSigner(tt.kid, []byte(tt.secret)) },
			func() { NewKeyring().Add(tt.kid, []byte(tt.secret)) },
		} {
			if msg := recovered(use); !strings.HasPrefix(msg, "BUG: ") {
				t.Errorf("key %q with secret %q: panic %q", tt.kid, tt.secret, msg)
			}
		}
	}
	if err := CheckKey(strings.Repeat("k", 99), nil); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong", err)
	}
}

func recovered(f func()) (msg string) {
	defer func() { msg, _ = recover().(string) }()
	f()
	return ""
}

// Equal work for unknown key ids cannot be timed reliably; that the stand-in's
// MAC is computed can be seen.
func TestVerifyUnknownKIDComputesMAC(t *testing.T) {
	k := testKeyring()
	standIn := newMAC([]byte("nobody"))
	k.nobody = &sync.Pool{New: func() any { return standIn }}
	query := strings.Replace(unsignedQuery, "kid=k1", "kid=zz", 1)
	if err := receive(k, "GET", "/", query+SigPrefix+anySig); err != ErrBadSignature {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(standIn.sum[:]), sign("nobody", "GET", "/", query); got != want {
		t.Errorf("the stand-in computed %s, want %s", got, want)
	}
}
