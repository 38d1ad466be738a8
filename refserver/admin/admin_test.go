package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/store"
)

// fakeStore misbehaves as a test asks it to.
type fakeStore struct {
	eachRow func(visit func(store.Row) error) error
	status  func(offerID string) (store.OfferStatus, bool, error)
	keys    []store.Key
}

func (f *fakeStore) EachRow(_ context.Context, visit func(store.Row) error) error {
	return f.eachRow(visit)
}

func (f *fakeStore) OfferStatus(_ context.Context, offerID string) (store.OfferStatus, bool, error) {
	return f.status(offerID)
}

func (f *fakeStore) LoadClicks(_ context.Context, clicks iter.Seq2[store.Click, error]) (int64, error) {
	return eachOf(clicks, func(store.Click) {})
}

func (f *fakeStore) LoadOffers(_ context.Context, offers iter.Seq2[store.Offer, error]) (int64, error) {
	return eachOf(offers, func(store.Offer) {})
}

func (f *fakeStore) LoadKeys(_ context.Context, keys iter.Seq2[store.Key, error]) (int64, error) {
	return eachOf(keys, func(k store.Key) { f.keys = append(f.keys, k) })
}

func (f *fakeStore) Keys(context.Context) ([]store.Key, error) { return f.keys, nil }

func eachOf[T any](rows iter.Seq2[T, error], take func(T)) (n int64, err error) {
	for row, err := range rows {
		if err != nil {
			return 0, err
		}
		take(row)
		n++
	}
	return n, nil
}

func configOf(f *fakeStore) Config {
	return Config{Books: f, Population: f, Keys: f, BootID: "boot-1", Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Unix(1, 5) }}
}

func serve(t *testing.T, config Config) (*Admin, string) {
	t.Helper()
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return a, server.URL
}

func do(t *testing.T, method, url, body string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, strings.TrimSpace(string(answer))
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"Books":      func(c *Config) { c.Books = nil },
		"Population": func(c *Config) { c.Population = nil },
		"Keys":       func(c *Config) { c.Keys = nil },
		"Now":        func(c *Config) { c.Now = nil },
		"Log":        func(c *Config) { c.Log = nil },
	} {
		config := configOf(&fakeStore{})
		change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), name+" is missing") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	f := &fakeStore{
		eachRow: func(visit func(store.Row) error) error {
			row := store.Row{ClickID: "c&1", TxID: "t", Event: "sale", Verdict: "billable", OfferID: "o",
				Payout: 12_500_000, Currency: "EUR", RecordedUnixNs: 2, ReceivedUnixNs: 1}
			again := row
			again.CapWindow = "1970-01-01T00:00:00Z"
			return cmp.Or(visit(row), visit(again))
		},
		status: func(offerID string) (store.OfferStatus, bool, error) {
			switch offerID {
			case "o/1":
				return store.OfferStatus{OfferID: offerID, Cap: 3, Billable: 3, Closed: true}, true, nil
			case "daily":
				return store.OfferStatus{OfferID: offerID, Cap: 3, Billable: 1, CapWindow: "2026-01-31T00:00:00Z"}, true, nil
			case "busy":
				return store.OfferStatus{}, false, fmt.Errorf("read offer: %w", store.ErrBusy)
			case "fire":
				return store.OfferStatus{}, false, errors.New("disk on fire at /secret/path")
			}
			return store.OfferStatus{}, false, nil
		},
	}
	config := configOf(f)
	config.Components = []Component{{Role: "store", Implementation: "fake", Version: "1", Embedded: true}}
	a, url := serve(t, config)
	for _, test := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"GET", "/ledger?run=7", "", 200, `{"click_id":"c&1","txid":"t","event":"sale","verdict":"billable","offer_id":"o","payout":"12.5","currency":"EUR","recorded_unix_ns":2,"received_unix_ns":1}` + "\n" +
			`{"click_id":"c&1","txid":"t","event":"sale","verdict":"billable","offer_id":"o","payout":"12.5","currency":"EUR","recorded_unix_ns":2,"received_unix_ns":1,"cap_window":"1970-01-01T00:00:00Z"}`},
		{"GET", "/offers/o%2F1/cap", "", 200, `{"offer_id":"o/1","cap":3,"billable":3,"closed":true}`},
		{"GET", "/offers/daily/cap", "", 200, `{"offer_id":"daily","cap":3,"billable":1,"closed":false,"cap_window":"2026-01-31T00:00:00Z"}`},
		{"GET", "/offers/nobody/cap", "", 404, "offer was never loaded"},
		{"GET", "/offers/busy/cap", "", 503, "read offer: store is busy"},
		{"GET", "/offers/fire/cap", "", 500, "internal error"},
		{"GET", "/clock", "", 200, `{"unix_ns":1000000005,"boot_id":"boot-1"}`},
		{"GET", "/components", "", 200, `[{"role":"store","implementation":"fake","version":"1","embedded":true}]`},
		{"POST", "/population/clicks", clickTable().header + "\nc,o,1\n", 200, `{"loaded":1}`},
		{"POST", "/population/offers", offerTable().header + "\no,1,1,EUR,0\np,0,1,EUR,0\n", 200, `{"loaded":2}`},
		{"POST", "/population/keys", keyTable().header + "\nk,zz\n", 400, "line 2: secret_hex is not hexadecimal"},
		{"GET", "/population/keys", "", 405, "method not allowed here"},
		{"POST", "/clock", "", 405, "method not allowed here"},
		{"GET", "/pb", "", 404, "404 page not found"},
		{"GET", "/healthz", "", 200, `{"status":"ok","counts":{"malformed":1,"wrong_verb":2,"too_large":0,"full":0,"store_busy":1,"failed":1}}`},
	} {
		response, answer := do(t, test.method, url+test.path, test.body)
		if response.StatusCode != test.status || answer != test.answer {
			t.Errorf("%s %s: %d %s\nwant %d %s", test.method, test.path, response.StatusCode, answer, test.status, test.answer)
		}
		if response.StatusCode == 405 != (response.Header.Get("Allow") != "") || response.StatusCode == 503 != (response.Header.Get("Retry-After") == "1") {
			t.Errorf("%s %s: headers %v", test.method, test.path, response.Header)
		}
	}
	if got := a.Counts(); got != (Counts{Malformed: 1, WrongVerb: 2, StoreBusy: 1, Failed: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestHealthShowsTheServersCounts(t *testing.T) {
	config := configOf(&fakeStore{})
	config.Counts = func() any { return map[string]int{"datagrams": 7} }
	_, url := serve(t, config)
	if _, got := do(t, "GET", url+"/healthz", ""); got != `{"status":"ok","counts":{"datagrams":7}}` {
		t.Error(got)
	}
}

// A backlog of 0 must be true of the ledger that it comes with: what is
// committed while the rows are read may be missing there.
func TestBacklogIsReadBeforeTheRows(t *testing.T) {
	pending := int64(3)
	f := &fakeStore{eachRow: func(func(store.Row) error) error {
		pending = 0
		return nil
	}}
	config := configOf(f)
	config.Backlog = func() int64 { return pending }
	_, url := serve(t, config)
	for _, want := range []string{"3", "0"} {
		if response, _ := do(t, "GET", url+"/ledger", ""); response.Header.Get(BacklogHeader) != want {
			t.Errorf("backlog %q, want %s", response.Header.Get(BacklogHeader), want)
		}
	}
	_, url = serve(t, configOf(f))
	if response, _ := do(t, "GET", url+"/ledger", ""); response.Header.Get(BacklogHeader) != "0" {
		t.Errorf("a server without a backlog says %q", response.Header.Get(BacklogHeader))
	}
}

func TestOnKeys(t *testing.T) {
	f := &fakeStore{}
	config := configOf(f)
	seen, broken := -1, error(nil)
	config.OnKeys = func(context.Context) error {
		seen = len(f.keys)
		return broken
	}
	_, url := serve(t, config)
	bad, good := keyTable().header+"\nk,xyz\n", keyTable().header+"\nk,00ff\n"
	if response, _ := do(t, "POST", url+"/population/keys", bad); response.StatusCode != 400 || seen != -1 {
		t.Errorf("called although nothing was stored: %d, %d keys", response.StatusCode, seen)
	}
	if response, _ := do(t, "POST", url+"/population/keys", good); response.StatusCode != 200 || seen != 1 {
		t.Errorf("%d, %d keys stored before the call", response.StatusCode, seen)
	}
	broken = errors.New("edge is away")
	if response, body := do(t, "POST", url+"/population/keys", good); response.StatusCode != 500 || body != "internal error" {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

// Half a ledger must not look like a whole one.
func TestLedgerCutOff(t *testing.T) {
	_, url := serve(t, configOf(&fakeStore{eachRow: func(visit func(store.Row) error) error {
		for range 2_000 { // beyond every buffer, so that the answer has begun
			if err := visit(store.Row{ClickID: strings.Repeat("c", 100)}); err != nil {
				return err
			}
		}
		return errors.New("disk I/O error")
	}}))
	response, err := http.Get(url + "/ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err == nil {
		t.Error("the body ended as if it were whole")
	}
}

func TestLedgerFailsBeforeTheFirstRow(t *testing.T) {
	_, url := serve(t, configOf(&fakeStore{eachRow: func(func(store.Row) error) error { return store.ErrBusy }}))
	if response, body := do(t, "GET", url+"/ledger", ""); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d %q", response.StatusCode, body)
	}
}

func TestReportsAreBounded(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	a, url := serve(t, configOf(&fakeStore{eachRow: func(func(store.Row) error) error {
		entered <- struct{}{}
		<-release
		return nil
	}}))
	done := make(chan struct{})
	for range maxReports {
		go func() {
			if response, err := http.Get(url + "/ledger"); err == nil {
				_ = response.Body.Close()
			}
			done <- struct{}{}
		}()
		<-entered
	}
	for path, method := range map[string]string{"/ledger": "GET", "/population/clicks": "POST"} {
		response, body := do(t, method, url+path, "")
		if response.StatusCode != http.StatusServiceUnavailable || body != accept.ErrFull.Error() {
			t.Errorf("%s beside %d reports: %d %q", path, maxReports, response.StatusCode, body)
		}
	}
	if response, _ := do(t, "GET", url+"/clock", ""); response.StatusCode != http.StatusOK {
		t.Errorf("the clock waits for the reports: %d", response.StatusCode)
	}
	close(release)
	for range maxReports {
		<-done
	}
	if got := a.Counts(); got.Full != 2 {
		t.Errorf("%+v", got)
	}
}
