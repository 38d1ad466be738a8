// Package accepttest is what every front promises about partners' dialects, as
// tests. Each front calls Run with a way to start itself.
package accepttest

import (
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accesslog"
)

// NowUnixS is what the clock of every subject says.
const NowUnixS = 1_700_000_000

// Row is what a front has taken, as text.
type Row struct {
	ClickID, TxID, OfferID, Event, Payout, Currency string
}

// RowOf is a record as text.
func RowOf(r *postback.Record) Row {
	return Row{string(r.ClickID), string(r.TxID), string(r.OfferID), r.Event.String(), r.Payout.String(), r.Currency.String()}
}

// Config is what a front is to be started with.
type Config struct {
	Dialects   []postback.Dialect
	SignedOnly bool
	Now        func() time.Time
	AccessLog  *accesslog.Log // nil: none; Run closes it
}

// Subject is a front that serves at URL. Rows returns what it has taken since
// the last call. KnowsRepeats says that it tells a repeat from a new one.
type Subject struct {
	URL          string
	Rows         func() []Row
	KnowsRepeats bool
}

// Starter starts a front, and stops it at the test's end.
type Starter func(t *testing.T, c Config) Subject

const secret = "0123456789abcdefghijklmnopqrstuv"

// Dialects has one partner for every scheme, each named after it.
func Dialects() []postback.Dialect {
	return []postback.Dialect{
		{Partner: "none", Target: "/aff?nid=7&tid={click_id}&tx={txid}&sum={payout}&ev={event}", Duplicate: "seen"},
		{Partner: "token", Auth: postback.AuthToken, Secret: []byte(secret), OK: "success=true;", Events: map[string]string{"sale": "2"},
			Target: "/aff_lsr?offer_id={offer_id}&transaction_id={click_id}&amount={payout}&adv_sub={txid}&goal_id={event}&security_token={token}"},
		{Partner: "path", Auth: postback.AuthToken, Secret: []byte(secret),
			Target: "/{token}/postback?subid={click_id}&status={event}&payout={payout}&tid={txid}&currency={currency}"},
		{Partner: "sha256", Auth: postback.AuthHMACSHA256, Secret: []byte(secret), Target: "/pb?cid={click_id}&tx={txid}&sum={payout}&kid={kid}&ts={ts}"},
		{Partner: "sha1", Auth: postback.AuthHMACSHA1, AuthParam: "hash", Secret: []byte(secret), Target: "/cb?cid={click_id}&tx={txid}&sum={payout}&ev={event}"},
		{Partner: "md5", Auth: postback.AuthMD5, AuthParam: "h", Digest: "{click_id}{txid}{payout}", Secret: []byte(secret),
			Duplicate: "DUP", Target: "/w?subId={click_id}&transId={txid}&reward={payout}"},
	}
}

// Target is what d's partner sends of f.
func Target(t testing.TB, d *postback.Dialect, f postback.Fields) string {
	t.Helper()
	s, err := postback.NewDialectSigner(d)
	if err != nil {
		t.Fatal(err)
	}
	s.Fill(&f)
	return string(s.AppendSignature(s.AppendTarget(nil, &f), []byte(http.MethodGet), &f))
}

// Fields is a conversion with an escape in it.
func Fields() postback.Fields {
	return postback.Fields{ClickID: []byte("c 1"), TxID: []byte("t/9"), OfferID: []byte("o7"), Event: postback.EventSale,
		Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, TSUnixS: NowUnixS}
}

// Run tests a front.
func Run(t *testing.T, start Starter) {
	c := Config{Dialects: Dialects(), Now: func() time.Time { return time.Unix(NowUnixS, 0) }}
	t.Run("taken", func(t *testing.T) { taken(t, start(t, c)) })
	t.Run("refused", func(t *testing.T) { refused(t, start(t, c)) })
	t.Run("forged", func(t *testing.T) { forged(t, start(t, c)) })
	t.Run("logged", func(t *testing.T) { logged(t, start, c) })
	c.SignedOnly = true
	t.Run("signed only", func(t *testing.T) { signedOnly(t, start(t, c)) })
	c.Dialects = nil
	t.Run("no dialects", func(t *testing.T) {
		s := start(t, c)
		d := Dialects()[0]
		s.refuses(t, http.MethodGet, Target(t, &d, Fields()), http.StatusForbidden)
	})
}

// ask sends a request and returns its answer.
func (s *Subject) ask(t *testing.T, method, target string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// refuses fails unless the answer has the status and nothing was taken.
func (s *Subject) refuses(t *testing.T, method, target string, want int) {
	t.Helper()
	if status, body := s.ask(t, method, target); status != want || strings.Contains(body, secret) || strings.Contains(body, "\n") {
		t.Errorf("%s %s: %d %q, want %d", method, target, status, body, want)
	}
	if rows := s.Rows(); len(rows) != 0 {
		t.Errorf("%s %s was taken: %v", method, target, rows)
	}
}

// takes fails unless the answer is 200 in these words and one row was taken.
func (s *Subject) takes(t *testing.T, target, words string, want Row) {
	t.Helper()
	if status, body := s.ask(t, http.MethodGet, target); status != http.StatusOK || body != words {
		t.Errorf("%s: %d %q, want 200 %q", target, status, body, words)
	}
	if rows := s.Rows(); !slices.Equal(rows, []Row{want}) {
		t.Errorf("%s: took %q, want %q", target, rows, want)
	}
}

func taken(t *testing.T, s Subject) {
	for _, d := range Dialects() {
		f := Fields()
		f.TxID = []byte("t/" + d.Partner)
		want := Row{ClickID: "c 1", TxID: string(f.TxID), Payout: "12.5"}
		if strings.Contains(d.Target, "{event}") {
			want.Event = "sale"
		}
		if strings.Contains(d.Target, "{offer_id}") {
			want.OfferID = "o7"
		}
		if strings.Contains(d.Target, "{currency}") {
			want.Currency = "EUR"
		}
		first, again := "OK", "DUP"
		if d.OK != "" {
			first = d.OK
		}
		if d.Duplicate != "" {
			again = d.Duplicate
		}
		s.takes(t, Target(t, &d, f), first, want)
		if !s.KnowsRepeats {
			continue
		}
		if status, body := s.ask(t, http.MethodGet, Target(t, &d, f)); status != http.StatusOK || body != again {
			t.Errorf("%s again: %d %q, want 200 %q", d.Partner, status, body, again)
		}
		s.Rows()
	}
	// Lenient: any order, unknown parameters, money back.
	s.takes(t, "/p/none/aff?x&ev=refund&sum=-5&y=%20&tid=c+2", "OK", Row{ClickID: "c 2", Event: "refund", Payout: "-5"})
}

func refused(t *testing.T, s Subject) {
	long := strings.Repeat("x", postback.MaxQueryBytes)
	for target, want := range map[string]int{
		"/p/stranger/aff?tid=c1": http.StatusForbidden,
		"/p/none/af?tid=c1":      http.StatusForbidden,
		"/p/none?tid=c1":         http.StatusForbidden,
		"/p/none/aff":            http.StatusBadRequest,
		"/p/none/aff?tid=":       http.StatusBadRequest,
		"/p/none/aff?click_id=c": http.StatusBadRequest,
		// A macro that nobody filled in, as some libraries send it and as others do.
		"/p/none/aff?tid=c1&sum={payout}":        http.StatusBadRequest,
		"/p/none/aff?tid=c1&sum=%7Bpayout%7D":    http.StatusBadRequest,
		"/p/none/aff?tid=c1&sum=-5&ev=sale":      http.StatusBadRequest,
		"/p/none/aff?tid=c1&ev=2":                http.StatusBadRequest,
		"/p/none/aff?tid=c1&tid=c1":              http.StatusBadRequest,
		"/p/none/aff?tid=c%00":                   http.StatusBadRequest,
		"/p/none/aff?tid=c1&tx=%ff":              http.StatusBadRequest,
		"/p/none/aff?tid=c1%zz":                  http.StatusBadRequest,
		"/p/none/aff?tid=c1&x=%zz":               http.StatusBadRequest,
		"/p/none/aff?tid=" + long[:129]:          http.StatusRequestURITooLong,
		"/p/none/aff?tid=c1&x=" + long:           http.StatusRequestURITooLong,
		"/p/token/aff_lsr?transaction_id=c1":     http.StatusForbidden,
		"/p/md5/w?subId=c1&h=":                   http.StatusForbidden,
		"/p/sha1/cb?cid=c1":                      http.StatusForbidden,
		"/p/sha256/pb?cid=c1&kid=sha256&ts=1":    http.StatusForbidden,
		"/p/sha256/pb?cid=c1&kid=sha256&ts=-1":   http.StatusBadRequest,
		"/p/sha256/pb?cid=c1&kid=sha256&ts=1&t=": http.StatusForbidden,
	} {
		s.refuses(t, http.MethodGet, target, want)
	}
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPut} {
		s.refuses(t, method, "/p/none/aff?tid=c1", http.StatusMethodNotAllowed)
	}
}

func forged(t *testing.T, s Subject) {
	for _, d := range Dialects() {
		if d.Auth == "" {
			continue
		}
		f := Fields()
		good, other := Target(t, &d, f), Target(t, d.As(d.Partner, []byte("quite another secret of theirs")), f)
		s.refuses(t, http.MethodGet, other, http.StatusForbidden)
		s.refuses(t, http.MethodGet, Target(t, d.As("stranger", []byte(secret)), f), http.StatusForbidden)
		if d.Auth != postback.AuthToken {
			s.refuses(t, http.MethodGet, strings.Replace(good, "12.5", "99.5", 1), http.StatusForbidden)
			s.refuses(t, http.MethodGet, good[:len(good)-1], http.StatusForbidden)
		}
		if d.Auth == postback.AuthHMACSHA256 {
			f.TSUnixS = NowUnixS - 72*3600
			s.refuses(t, http.MethodGet, Target(t, &d, f), http.StatusForbidden)
		}
		f = Fields()
		f.Unexpanded = true
		s.refuses(t, http.MethodGet, Target(t, &d, f), http.StatusBadRequest)
	}
}

// logged fails if the log would let its reader speak for a partner.
func logged(t *testing.T, start Starter, c Config) {
	var lines strings.Builder
	c.AccessLog = accesslog.New(&lines, accesslog.Options{})
	s := start(t, c)
	for _, d := range Dialects() {
		if status, body := s.ask(t, http.MethodGet, Target(t, &d, Fields())); status != http.StatusOK {
			t.Errorf("%s: %d %q", d.Partner, status, body)
		}
	}
	if err := c.AccessLog.Close(); err != nil {
		t.Fatal(err)
	}
	log := lines.String()
	if digits := hex.EncodeToString([]byte(secret))[:32]; strings.Contains(log, digits) {
		t.Errorf("the token %s is in the log: %s", digits, log)
	}
	if n := strings.Count(log, "redacted"); n != len(Dialects())-1 {
		t.Errorf("%d secrets redacted, want %d: %s", n, len(Dialects())-1, log)
	}
}

func signedOnly(t *testing.T, s Subject) {
	for _, d := range Dialects() {
		target := Target(t, &d, Fields())
		if d.Auth == "" {
			s.refuses(t, http.MethodGet, target, http.StatusForbidden)
			continue
		}
		if status, body := s.ask(t, http.MethodGet, target); status != http.StatusOK || len(s.Rows()) != 1 {
			t.Errorf("%s: %d %q", target, status, body)
		}
	}
}
