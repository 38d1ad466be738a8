package labtarget

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

func start(t *testing.T, o Options) *Target {
	t.Helper()
	target, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	})
	return target
}

// send sends a plain postback and returns the status, 0 when none came.
func send(t *testing.T, target *Target, clickID string) int {
	t.Helper()
	return get(t, target, "/pb?click_id="+clickID+"&offer_id=o&event=sale&payout=2.5&currency=EUR")
}

func get(t *testing.T, target *Target, path string) int {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 300 * time.Millisecond}
	response, err := client.Get(target.URL() + path)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

func ledger(t *testing.T, target *Target) []row {
	t.Helper()
	response, err := http.Get(target.URL() + pathLedger)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var rows []row
	for decoder := json.NewDecoder(response.Body); ; {
		var r row
		switch err := decoder.Decode(&r); {
		case err == io.EOF:
			return rows
		case err != nil:
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
}

func clickIDs(rows []row) string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.ClickID)
	}
	return strings.Join(ids, " ")
}

func TestCorrectServer(t *testing.T) {
	target := start(t, Options{})
	if got := send(t, target, "a"); got != http.StatusOK {
		t.Fatal(got)
	}
	send(t, target, "a")
	get(t, target, "/pb?click_id=b&event=lead&payout=0")
	get(t, target, "/pb?click_id=c&event=refund&payout=-2.5&currency=EUR")
	get(t, target, "/elsewhere?click_id=d")
	if got := get(t, target, "/pb?payout=1"); got != http.StatusBadRequest {
		t.Errorf("without a click id: %d", got)
	}
	var words []string
	for _, r := range ledger(t, target) {
		words = append(words, fmt.Sprintf("%s %s %q %s", r.ClickID, r.Verdict, r.Payout, r.Currency))
		if now := time.Now().UnixNano(); r.ReceivedUnixNs > r.RecordedUnixNs || r.RecordedUnixNs > now {
			t.Errorf("times of %+v at %d", r, now)
		}
	}
	want := []string{`a billable "2.5" EUR`, `b non_billable "0" `, `c reversal "-2.5" EUR`, `d billable "" `}
	if !slices.Equal(words, want) {
		t.Errorf("rows %q, want %q", words, want)
	}
	if got := target.Truth(); !reflect.DeepEqual(got, Truth{Postbacks: 6, Acked: 5, Malformed: 1, Repeats: 1, Rows: 4}) {
		t.Errorf("%+v", got)
	}
}

func TestFaultsOfTheBooks(t *testing.T) {
	target := start(t, Options{LoseEvery: 2, TwiceEvery: 4, PhantomEvery: 5, ChangePayoutEvery: 7})
	for _, id := range []string{"a", "b", "b", "c", "d", "e", "f", "g", "h", "i"} {
		if got := send(t, target, id); got != http.StatusOK {
			t.Fatalf("%s: status %d", id, got)
		}
	}
	// The 4th was lost, so the 5th is stored twice and the phantom of the 5th
	// comes with the 7th, the 6th being lost, and so on.
	got := target.Truth()
	want := Truth{Postbacks: 10, Acked: 10, Repeats: 1, Rows: 8, Lost: []string{"b", "d", "f", "h"},
		Twice: []string{"e", "i"}, Phantoms: []string{"phantom-1"}, ChangedPayout: nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	if ids := clickIDs(ledger(t, target)); ids != "a c e e phantom-1 g i i" {
		t.Errorf("rows %s", ids)
	}
}

func TestChangedPayout(t *testing.T) {
	target := start(t, Options{ChangePayoutEvery: 1})
	send(t, target, "a")
	if rows := ledger(t, target); len(rows) != 1 || rows[0].Payout != "3.5" {
		t.Errorf("%+v", rows)
	}
}

func TestFaultsOfRequests(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		status  int
		want    Truth
	}{
		"refuse":     {Options{RefuseEvery: 2}, 503, Truth{Postbacks: 3, Acked: 2, Refused: 1, Rows: 2}},
		"hang":       {Options{HangEvery: 2}, 0, Truth{Postbacks: 3, Acked: 2, Hung: 1, Rows: 2}},
		"close":      {Options{CloseEvery: 2}, 0, Truth{Postbacks: 3, Acked: 2, Closed: 1, Rows: 2}},
		"stored too": {Options{CloseEvery: 2, StoreFirst: true}, 0, Truth{Postbacks: 3, Acked: 2, Closed: 1, Rows: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			target := start(t, c.options)
			got := []int{send(t, target, "a"), send(t, target, "b"), send(t, target, "c")}
			if !slices.Equal(got, []int{200, c.status, 200}) {
				t.Errorf("status %v", got)
			}
			if got := target.Truth(); !reflect.DeepEqual(got, c.want) {
				t.Errorf("\n got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestCaps(t *testing.T) {
	for name, c := range map[string]struct {
		bill     bool
		verdicts string
		billed   []string
		status   string
	}{
		"kept":    {false, "billable over_cap", nil, `{"offer_id":"o","cap":1,"billable":1,"closed":true}`},
		"ignored": {true, "billable billable", []string{"b"}, `{"offer_id":"o","cap":1,"billable":2,"closed":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			target := start(t, Options{Caps: map[string]int64{"o": 1}, BillOverCap: c.bill})
			send(t, target, "a")
			send(t, target, "b")
			rows := ledger(t, target)
			if got := rows[0].Verdict + " " + rows[1].Verdict; got != c.verdicts {
				t.Errorf("verdicts %s", got)
			}
			if got := target.Truth().BilledOverCap; !slices.Equal(got, c.billed) {
				t.Errorf("billed %v", got)
			}
			if got := body(t, target, "/offers/o/cap"); got != c.status {
				t.Errorf("cap status %s", got)
			}
		})
	}
}

func body(t *testing.T, target *Target, path string) string {
	t.Helper()
	response, err := http.Get(target.URL() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func TestSignatures(t *testing.T) {
	const query = "click_id=a&txid=&offer_id=o&event=sale&payout=1&currency=EUR&kid=k&ts=1"
	signer := postback.NewSigner("k", []byte("a secret of thirty-two bytes long"))
	good := pathSigned + "?" + query + "&sig=" + string(signer.AppendSignature(nil, []byte("GET"), []byte(pathSigned), []byte(query)))
	bad := good[:len(good)-1] + map[bool]string{true: "1", false: "0"}[strings.HasSuffix(good, "0")]
	keyring := postback.NewKeyring()
	keyring.Add("k", []byte("a secret of thirty-two bytes long"))

	trusting, strict := start(t, Options{}), start(t, Options{Keyring: keyring})
	got := []int{get(t, trusting, bad), get(t, strict, bad), get(t, strict, good), get(t, strict, pathSigned+"?"+query)}
	if !slices.Equal(got, []int{200, 403, 200, 400}) {
		t.Errorf("status %v", got)
	}
	if truth := strict.Truth(); truth.BadSignature != 1 || truth.Malformed != 1 || truth.Rows != 1 {
		t.Errorf("%+v", truth)
	}
}

func TestHashIsOverTheBytesSent(t *testing.T) {
	target := start(t, Options{KeepRequests: 1})
	sent := []string{
		"GET /pb?click_id=a%20b HTTP/1.1\r\nhost: x\r\nX-lower-Case: 1\r\n\r\n",
		"POST /pb?click_id=c HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(target.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	sum := sha256.New()
	for _, text := range sent {
		io.WriteString(sum, text)
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := target.Hash(), hex.EncodeToString(sum.Sum(nil)); got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
	kept := target.Requests()
	if len(kept) != 1 || kept[0].Raw != sent[0] || kept[0].Target != "/pb?click_id=a%20b" {
		t.Errorf("kept %q", kept)
	}
	target.Reset()
	if got, want := target.Hash(), hex.EncodeToString(sha256.New().Sum(nil)); got != want || len(target.Requests()) != 0 ||
		!reflect.DeepEqual(target.Truth(), Truth{}) {
		t.Errorf("after Reset: hash %s, %+v", got, target.Truth())
	}
}

func TestStall(t *testing.T) {
	o := Options{StallEvery: 10 * time.Second, StallFor: time.Second}
	for at, want := range map[string]time.Duration{
		"0s": 0, "4.4s": 0, "4.5s": time.Second, "5s": 500 * time.Millisecond, "5.5s": 0, "9.9s": 0, "15.4s": 100 * time.Millisecond,
	} {
		sinceFirst, err := time.ParseDuration(at)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.stallLeft(sinceFirst); got != want {
			t.Errorf("at %s: %v left, want %v", at, got, want)
		}
	}
	if got := (&Options{}).stallLeft(time.Hour); got != 0 {
		t.Errorf("without stalls: %v", got)
	}
}

func TestDelay(t *testing.T) {
	target := start(t, Options{Delay: 20 * time.Millisecond})
	began := time.Now()
	send(t, target, "a")
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	target, err := Start(Options{HangEvery: 1})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(target.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /pb?click_id=a HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); target.Truth().Hung == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // polling: the request is on its way over TCP
	}
	if err := target.Close(); err != nil {
		t.Error(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(conn); err != nil || got.Len() > 0 {
		t.Errorf("got %q, %v; want a closed connection", got.String(), err)
	}
	if err := target.Close(); err != nil {
		t.Error("second Close:", err)
	}
}

func TestDiscardRows(t *testing.T) {
	target := start(t, Options{DiscardRows: true})
	send(t, target, "a")
	if truth := target.Truth(); truth.Acked != 1 || truth.Rows != 0 || len(ledger(t, target)) != 0 {
		t.Errorf("%+v", truth)
	}
}

func TestOptionsRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"negative fault": {LoseEvery: -1}, "negative delay": {Delay: -1}, "always stalled": {StallEvery: 1, StallFor: 1},
		"stall of no period": {StallFor: 1}, "keeps too much": {KeepRequests: MaxKeptRequests + 1},
	} {
		if _, err := Start(o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
