package refserver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// nowUnixS is the fixed clock of most tests.
const nowUnixS = 1_700_000_000

var secret = []byte("0123456789abcdef0123456789abcdef")

const (
	offersCSV = "offer_id,cap,payout,currency,attribution_window_s\ncapped,2,12.5,EUR,3600\nfree,0,1,USD,0\n"
	clicksCSV = "click_id,offer_id,clicked_unix_s\nc-1,capped,1699999990\nc-2,capped,1699999990\nc-3,capped,1699999990\n" +
		"old,capped,1699990000\nf-1,free,1690000000\n"
)

func keysCSV() string { return fmt.Sprintf("kid,secret_hex\npartner,%x\n", secret) }

type server struct {
	t    testing.TB
	url  string
	stop func() error
}

func config(t testing.TB, dir, caps string) refserver.Config {
	t.Helper()
	c, err := refserver.LoadVariant("monolith")
	if err == nil {
		c, err = c.With("caps", caps)
	}
	if err != nil {
		t.Fatal(err)
	}
	return refserver.Config{Composition: c, Addr: "127.0.0.1:0", Real: refserver.Real{Embedded: true}, DataDir: dir, BootID: "boot-1",
		Now: func() time.Time { return time.Unix(nowUnixS, 5) }}
}

// start runs a server until the test's end, or until stop is called.
func start(t testing.TB, config refserver.Config) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- refserver.Serve(ctx, config, func(at refserver.Addresses) { ready <- at.Front }) }()
	stopped := false
	s := &server{t: t, stop: func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}}
	select {
	case addr := <-ready:
		s.url = "http://" + addr
	case err := <-done:
		t.Fatalf("server ended: %v", err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *server) do(method, target, body string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequest(method, s.url+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, string(answer)
}

// want sends a request and compares status and body.
func (s *server) want(method, target, body string, status int, answer string) {
	s.t.Helper()
	response, got := s.do(method, target, body)
	if response.StatusCode != status || strings.TrimSpace(got) != answer {
		s.t.Errorf("%s %s: %d %q, want %d %q", method, target, response.StatusCode, got, status, answer)
	}
}

func (s *server) populate() {
	s.t.Helper()
	s.want("POST", "/population/offers", offersCSV, 200, `{"loaded":2}`)
	s.want("POST", "/population/clicks", clicksCSV, 200, `{"loaded":5}`)
	s.want("POST", "/population/keys", keysCSV(), 200, `{"loaded":1}`)
}

func (s *server) ledger() []map[string]any {
	s.t.Helper()
	_, body := s.do("GET", "/ledger?run=0", "")
	var rows []map[string]any
	for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
		var row map[string]any
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			s.t.Fatalf("%v in %s", err, lines.Bytes())
		}
		rows = append(rows, row)
	}
	return rows
}

// signed is the target of a sale with a good signature.
func signed(clickID, txID, kid string, tsUnixS int64) string {
	template := postback.SignedTemplate()
	target := template.AppendTarget(nil, &postback.Fields{ClickID: []byte(clickID), TxID: []byte(txID), OfferID: []byte("capped"),
		Event: postback.EventSale, Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, KID: []byte(kid), TSUnixS: tsUnixS})
	path, query, _ := bytes.Cut(target, []byte("?"))
	signer := postback.NewSigner(kid, secret)
	return string(signer.AppendSignature(append(target, postback.SigPrefix...), []byte("GET"), path, query))
}

// TestTranscript plays every kind of request and compares answers and ledger
// with the golden file.
func TestTranscript(t *testing.T) {
	for _, caps := range []string{refserver.CapsCheckThenInsert, refserver.CapsAtomic} {
		s := start(t, config(t, t.TempDir(), caps))
		var out bytes.Buffer
		say := func(method, target, body string) {
			response, answer := s.do(method, target, body)
			fmt.Fprintf(&out, "%s %.100s\n%d %s\n", method, target, response.StatusCode, strings.TrimSpace(answer))
			for _, header := range []string{"Allow", "Retry-After", "Server-Timing", "Postbench-Backlog"} {
				if value := response.Header.Get(header); value != "" {
					fmt.Fprintf(&out, "%s: %s\n", header, value)
				}
			}
			fmt.Fprintln(&out)
		}
		s.populate()
		for _, target := range []string{
			"/pb?click_id=c-1&txid=t&offer_id=capped&event=sale&payout=12.5&currency=EUR",
			"/pb?click_id=c-1&txid=t&offer_id=capped&event=sale&payout=12.5&currency=EUR",
			"/pb?click_id=c-1&txid=t&offer_id=capped&event=sale&payout=99&currency=EUR",
			"/pb?click_id=c-1&txid=t&offer_id=capped&event=lead&payout=0",
			"/pb?click_id=c-2&txid=t&offer_id=capped&event=refund&payout=-12.5&currency=EUR",
			signed("c-2", "t", "partner", nowUnixS),
			signed("c-3", "t", "partner", nowUnixS-48*3600),
			signed("c-3", "t", "partner", nowUnixS+5*60),
			"/pb?click_id=old&event=sale&payout=12.5&currency=EUR",
			"/pb?click_id=nobody&event=sale&payout=12.5&currency=EUR&offer_id=capped",
			"/pb?click_id=f-1&payout=0.000001&currency=USD",
			// Refused.
			"/pb", "/pb?click_id=c-1&click_id=c-1", "/pb?click_id=c-1&x=%zz", "/pb?click_id=c-1&event=sale&payout=-1",
			"/pb?click_id=" + strings.Repeat("c", 129), "/pb?x=" + strings.Repeat("x", 2048),
			signed("c-3", "t", "partner", nowUnixS-48*3600-1), signed("c-3", "t", "partner", nowUnixS+5*60+1),
			signed("c-3", "t", "stranger", nowUnixS), strings.Replace(signed("c-3", "t", "partner", nowUnixS), "12.5", "13.5", 1),
			signed("c-3", "t", "partner", nowUnixS) + "&x=1", "/pb/signed?click_id=c-3",
			// Questions.
			"/offers/capped/cap", "/offers/free/cap", "/offers/nobody/cap", "/clock", "/nowhere", "/ledger?run=7", "/healthz",
		} {
			say("GET", target, "")
		}
		for _, target := range []string{"/pb?click_id=c-3", "/pb/signed", "/ledger", "/clock"} {
			say("POST", target, "")
		}
		say("HEAD", "/pb?click_id=c-3", "")
		say("GET", "/pb?click_id=c-3", "a body")
		say("GET", "/population/keys", "")
		golden(t, "transcript", out.Bytes())
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s, see with -update\n%s", file, got)
	}
}

func TestSignedOnly(t *testing.T) {
	c := config(t, t.TempDir(), refserver.CapsAtomic)
	c.SignedOnly = true
	s := start(t, c)
	s.populate()
	s.want("GET", "/pb?click_id=c-1", "", 403, "unsigned postbacks are not taken here, use /pb/signed")
	s.want("GET", signed("c-1", "t", "partner", nowUnixS), "", 200, "OK")
	if rows := s.ledger(); len(rows) != 1 {
		t.Errorf("%d rows, want 1", len(rows))
	}
}

func TestComponents(t *testing.T) {
	s := start(t, config(t, t.TempDir(), refserver.CapsAtomic))
	_, body := s.do("GET", "/components", "")
	var got []struct {
		Role, Implementation, Version string
		Embedded                      bool
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[2].Role != "clicks" || !got[2].Embedded || got[0].Role != "http" || got[0].Version != runtime.Version() || got[0].Embedded ||
		got[1].Role != "sql" || got[1].Implementation != "sqlite" || !strings.HasPrefix(got[1].Version, "3.") || !got[1].Embedded {
		t.Errorf("components %+v", got)
	}
}

func TestPopulationErrorsLoadNothing(t *testing.T) {
	s := start(t, config(t, t.TempDir(), refserver.CapsAtomic))
	s.populate()
	bad := "click_id,offer_id,clicked_unix_s\n" + strings.Repeat("new,free,1\n", 5_000) + "broken\n" + strings.Repeat("new,free,1\n", 100_000)
	s.want("POST", "/population/clicks", bad, 400, "load clicks: line 5002: 1 fields, expected 3 (click_id,offer_id,clicked_unix_s)")
	s.want("POST", "/population/offers", "offer_id,cap\n", 400, `load offers: line 1: header "offer_id,cap", expected "offer_id,cap,payout,currency,attribution_window_s[,cap_window_s]"`)
	s.want("POST", "/population/keys", "kid,secret_hex\nnew,00\nk,xyz\n", 400, "load keys: line 3: secret_hex is not hexadecimal")
	s.want("GET", "/pb?click_id=new&event=sale&payout=1", "", 200, "OK")
	if verdict := s.ledger()[0]["verdict"]; verdict != "unattributed" {
		t.Errorf("a click of the broken file is known: %v", verdict)
	}
}

func TestKeysRotate(t *testing.T) {
	s := start(t, config(t, t.TempDir(), refserver.CapsAtomic))
	s.want("GET", signed("c-1", "t", "partner", nowUnixS), "", 403, postback.ErrBadSignature.Error())
	s.populate()
	s.want("GET", signed("c-1", "t", "partner", nowUnixS), "", 200, "OK")
	s.want("POST", "/population/keys", "kid,secret_hex\npartner,ffffffffffffffffffffffffffffffff\n", 200, `{"loaded":1}`)
	s.want("GET", signed("c-2", "t", "partner", nowUnixS), "", 403, postback.ErrBadSignature.Error())
}

func TestServeErrors(t *testing.T) {
	first := start(t, config(t, t.TempDir(), refserver.CapsAtomic))
	taken := config(t, t.TempDir(), refserver.CapsAtomic)
	taken.Addr = strings.TrimPrefix(first.url, "http://")
	blocked := config(t, filepath.Join(t.TempDir(), "file"), refserver.CapsAtomic)
	if err := os.WriteFile(blocked.DataDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	invalid := config(t, "", refserver.CapsAtomic)
	for name, c := range map[string]refserver.Config{"port in use": taken, "file for a directory": blocked, "invalid": invalid} {
		err := refserver.Serve(t.Context(), c, func(refserver.Addresses) { t.Errorf("%s: ready", name) })
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: want an error of one line, got %v", name, err)
		}
		if name == "port in use" && !errors.Is(err, refserver.ErrAddrInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServeToldToStopWhileStarting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := refserver.Serve(ctx, config(t, t.TempDir(), refserver.CapsAtomic), func(refserver.Addresses) { t.Error("ready") })
	if err != nil {
		t.Error(err)
	}
}
