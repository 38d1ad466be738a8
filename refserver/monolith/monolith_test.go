package monolith

import (
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

	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// fakeStore misbehaves as a test asks it to.
type fakeStore struct {
	commit  func(context.Context, *store.Conversion) (store.Outcome, error)
	eachRow func(visit func(store.Row) error) error
}

func (f *fakeStore) Attribute(context.Context, string) (store.Attribution, error) {
	return store.Attribution{}, nil
}

func (f *fakeStore) Commit(ctx context.Context, c *store.Conversion) (store.Outcome, error) {
	return f.commit(ctx, c)
}

func (f *fakeStore) EachRow(_ context.Context, visit func(store.Row) error) error {
	return f.eachRow(visit)
}

func (f *fakeStore) OfferStatus(context.Context, string) (store.OfferStatus, bool, error) {
	return store.OfferStatus{}, false, errors.New("disk on fire at /secret/path")
}

func (f *fakeStore) LoadClicks(_ context.Context, clicks iter.Seq2[store.Click, error]) (int64, error) {
	return loadAll(clicks)
}

func (f *fakeStore) LoadOffers(_ context.Context, offers iter.Seq2[store.Offer, error]) (int64, error) {
	return loadAll(offers)
}

func (f *fakeStore) LoadKeys(_ context.Context, keys iter.Seq2[store.Key, error]) (int64, error) {
	return loadAll(keys)
}

func (f *fakeStore) Keys(context.Context) ([]store.Key, error) { return nil, nil }

func loadAll[T any](rows iter.Seq2[T, error]) (n int64, err error) {
	for _, err := range rows {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func serve(t *testing.T, f *fakeStore, maxInFlight int) (*Server, string) {
	t.Helper()
	s, err := New(t.Context(), Config{Conversions: f, Books: f, Population: f, Keys: f,
		MaxInFlight: maxInFlight, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestFullAnswers503(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s, url := serve(t, &fakeStore{commit: func(context.Context, *store.Conversion) (store.Outcome, error) {
		entered <- struct{}{}
		<-release
		return store.Outcome{Verdict: decide.Billable}, nil
	}}, 2)
	first := make(chan string, 2)
	for range 2 {
		go func() {
			response, err := http.Get(url + "/pb?click_id=c")
			first <- fmt.Sprint(response.StatusCode, err)
		}()
		<-entered
	}
	response, body := get(t, url+"/pb?click_id=c")
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || body != errFull.Error() {
		t.Errorf("third of two: %d %q", response.StatusCode, body)
	}
	if got := s.Counts(); got.Full != 1 || got.InFlight != 2 || got.Recorded != 0 {
		t.Errorf("counts while full: %+v", got)
	}
	close(release)
	for range 2 {
		if got := <-first; got != "200 <nil>" {
			t.Errorf("an admitted request got %s", got)
		}
	}
	if got := s.Counts(); got.Recorded != 2 {
		t.Errorf("counts at the end: %+v", got)
	}
}

func TestStoreErrors(t *testing.T) {
	for _, test := range []struct {
		err        error
		status     int
		body       string
		retryAfter string
		count      func(Counts) int64
	}{
		{fmt.Errorf("insert: %w", store.ErrBusy), 503, "insert: store is busy", "1", func(c Counts) int64 { return c.StoreBusy }},
		{errors.New("disk I/O error in /secret/path"), 500, "internal error", "", func(c Counts) int64 { return c.Failed }},
	} {
		s, url := serve(t, &fakeStore{commit: func(context.Context, *store.Conversion) (store.Outcome, error) {
			return store.Outcome{}, test.err
		}}, 1)
		response, body := get(t, url+"/pb?click_id=c")
		if response.StatusCode != test.status || body != test.body || response.Header.Get("Retry-After") != test.retryAfter || test.count(s.Counts()) != 1 {
			t.Errorf("%v: %d %q, %+v", test.err, response.StatusCode, body, s.Counts())
		}
	}
}

// A partner that hangs up has sent its postback nonetheless.
func TestHangUpDoesNotCancel(t *testing.T) {
	entered, gone, cancelled := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	_, url := serve(t, &fakeStore{commit: func(ctx context.Context, _ *store.Conversion) (store.Outcome, error) {
		close(entered)
		<-gone
		cancelled <- ctx.Err()
		return store.Outcome{}, nil
	}}, 1)
	ctx, hangUp := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/pb?click_id=c", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-entered
		hangUp()
	}()
	if _, err := http.DefaultClient.Do(request); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(gone)
	if err := <-cancelled; err != nil {
		t.Errorf("the commit's context ended: %v", err)
	}
}

// Half a ledger must not look like a whole one.
func TestLedgerCutOff(t *testing.T) {
	_, url := serve(t, &fakeStore{eachRow: func(visit func(store.Row) error) error {
		for range 2_000 { // beyond every buffer, so that the answer has begun
			if err := visit(store.Row{ClickID: strings.Repeat("c", 100)}); err != nil {
				return err
			}
		}
		return errors.New("disk I/O error")
	}}, 1)
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
	_, url := serve(t, &fakeStore{eachRow: func(func(store.Row) error) error { return store.ErrBusy }}, 1)
	if response, body := get(t, url+"/ledger"); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d %q", response.StatusCode, body)
	}
}

func TestReportsAreBounded(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	_, url := serve(t, &fakeStore{eachRow: func(func(store.Row) error) error {
		entered <- struct{}{}
		<-release
		return nil
	}}, 1)
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
	if response, body := get(t, url+"/ledger"); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ledger %d: %d %q", maxReports+1, response.StatusCode, body)
	}
	close(release)
	for range maxReports {
		<-done
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	_, url := serve(t, &fakeStore{}, 1)
	if response, body := get(t, url+"/offers/o/cap"); response.StatusCode != 500 || body != "internal error" {
		t.Errorf("%d %q", response.StatusCode, body)
	}
}
