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
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// fakeStore commits as a test asks it to, and holds nothing.
type fakeStore struct {
	commit func(context.Context, *store.Conversion) (store.Outcome, error)
}

func (f *fakeStore) Attribute(context.Context, string) (store.Attribution, error) {
	return store.Attribution{}, nil
}

func (f *fakeStore) Commit(ctx context.Context, c *store.Conversion) (store.Outcome, error) {
	return f.commit(ctx, c)
}

func (f *fakeStore) EachRow(context.Context, func(store.Row) error) error { return nil }

func (f *fakeStore) OfferStatus(context.Context, string) (store.OfferStatus, bool, error) {
	return store.OfferStatus{}, false, nil
}

func (f *fakeStore) LoadClicks(context.Context, iter.Seq2[store.Click, error]) (int64, error) {
	return 0, errors.New("disk on fire")
}

func (f *fakeStore) LoadOffers(context.Context, iter.Seq2[store.Offer, error]) (int64, error) {
	return 0, nil
}

func (f *fakeStore) LoadKeys(context.Context, iter.Seq2[store.Key, error]) (int64, error) {
	return 0, nil
}

func (f *fakeStore) Keys(context.Context) ([]store.Key, error) { return nil, nil }

func serve(t *testing.T, f *fakeStore, change func(*Config)) (*Server, string) {
	t.Helper()
	config := Config{Conversions: f, Books: f, Population: f, Keys: f,
		MaxInFlight: 1, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	change(&config)
	s, err := New(t.Context(), config)
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
	}}, func(c *Config) { c.MaxInFlight = 2 })
	first := make(chan string, 2)
	for range 2 {
		go func() {
			response, err := http.Get(url + "/pb?click_id=c")
			first <- fmt.Sprint(response.StatusCode, err)
		}()
		<-entered
	}
	response, body := get(t, url+"/pb?click_id=c")
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || body != accept.ErrFull.Error() {
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
		}}, func(*Config) {})
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
	}}, func(*Config) {})
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

// The judge's requests are counted with the postbacks.
func TestCountsTakeInTheAdmin(t *testing.T) {
	s, url := serve(t, &fakeStore{}, func(*Config) {})
	for path, want := range map[string]int{"/ledger": 405, "/pb": 405, "/population/offers": 200, "/population/clicks": 500} {
		response, err := http.Post(url+path, "text/csv", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != want {
			t.Errorf("%s: %d, %v; want %d", path, response.StatusCode, err, want)
		}
	}
	if _, body := get(t, url+"/healthz"); !strings.Contains(body, `"wrong_verb":2,`) || !strings.Contains(body, `"failed":1,`) {
		t.Errorf("%s", body)
	}
	if got := s.Counts(); got != (Counts{WrongVerb: 2, Failed: 1}) {
		t.Errorf("%+v", got)
	}
}

// answered is a writer that looks whether the client has its answer already.
type answered struct {
	t    *testing.T
	done atomic.Bool
	log  strings.Builder
}

func (a *answered) Write(b []byte) (int, error) {
	if a.done.Load() {
		a.t.Error("the answer came before the log")
	}
	return a.log.Write(b)
}

func TestAccessLog(t *testing.T) {
	out := &answered{t: t}
	log := accesslog.New(out, accesslog.Options{})
	commit := func(_ context.Context, c *store.Conversion) (store.Outcome, error) {
		if c.ClickID == "fails" {
			return store.Outcome{}, errors.New("disk on fire")
		}
		return store.Outcome{Verdict: decide.Billable}, nil
	}
	var nowUnixNs atomic.Int64
	_, url := serve(t, &fakeStore{commit: commit}, func(c *Config) {
		c.AccessLog = log
		c.Now = func() time.Time { return time.Unix(0, 1_000+nowUnixNs.Add(1)) }
	})
	for _, path := range []string{"/pb?click_id=c", "/pb?x=1", "/clock", "/pb/signed?click_id=c&sig=secret", "/pb?click_id=fails"} {
		out.done.Store(false)
		response, _ := get(t, url+path)
		out.done.Store(true)
		if got := response.Header.Get("Server-Timing"); strings.Contains(got, "log;dur=") != (path != "/clock") {
			t.Errorf("%s: stages %q", path, got)
		}
	}
	out.done.Store(false)
	if response, err := http.Head(url + "/pb?click_id=c"); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %v, %v", response, err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	const want = `{"unix_ns":1001,"duration_ns":3,"status":200,"method":"GET","uri":"/pb?click_id=c"}
{"unix_ns":1006,"duration_ns":2,"status":400,"method":"GET","uri":"/pb?x=1"}
{"unix_ns":1011,"duration_ns":2,"status":400,"method":"GET","uri":"/pb/signed?click_id=c&sig=redacted"}
{"unix_ns":1015,"duration_ns":3,"status":500,"method":"GET","uri":"/pb?click_id=fails"}
{"unix_ns":1020,"duration_ns":1,"status":405,"method":"HEAD","uri":"/pb?click_id=c"}
`
	if got := out.log.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
