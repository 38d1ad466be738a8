package loadgen

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/audit"
)

// capServer answers cap questions in memory: offer i closes at closesAt[i],
// and every answer takes a while. fail makes some of them fail.
type capServer struct {
	closesAt map[string]time.Duration
	takes    time.Duration
	fail     func(at time.Duration) bool
}

func (s *capServer) client(start time.Time) *http.Client {
	return memoryClient(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(s.takes):
		case <-r.Context().Done():
			return
		}
		at := time.Since(start)
		if s.fail != nil && s.fail(at) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		id := strings.Split(r.URL.Path, "/")[2]
		closes, ok := s.closesAt[id]
		fmt.Fprintf(w, `{"offer_id":%q,"closed":%v}`, id, ok && at >= closes)
	})
}

// windowServer resets caps every second: an offer closes 300 ms into each
// second, and every answer names the second.
func windowServer(start time.Time, names bool) *http.Client {
	return memoryClient(func(w http.ResponseWriter, _ *http.Request) {
		at := time.Since(start)
		name := ""
		if names {
			name = fmt.Sprintf(`,"cap_window":"second %d"`, at/time.Second)
		}
		fmt.Fprintf(w, `{"closed":%v%s}`, at%time.Second >= 300*time.Millisecond, name)
	})
}

func TestRouterWatchesCapsThatReset(t *testing.T) {
	offers := []intent.Offer{{ID: "life", Cap: 9}, {ID: "none"}, {ID: "every", Cap: 9, CapWindowS: 1}}
	for name, names := range map[string]bool{"named": true, "not named": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3210*time.Millisecond)
				defer cancel()
				start := time.Now()
				router := Router{URL: "http://caps", Poll: 20 * time.Millisecond, Client: windowServer(start, names), Offers: offers}
				seen := router.Watch(ctx, start)
				if took := time.Since(start); took != 3210*time.Millisecond || seen.Failures != 0 || seen.WindowsDropped != 0 {
					t.Errorf("watched for %v, %d failures, %d dropped", took, seen.Failures, seen.WindowsDropped)
				}
				if !slices.Equal(seen.ClosedSeenNs, []int64{300e6, audit.NeverClosed, 300e6}) {
					t.Errorf("first closings %d", seen.ClosedSeenNs)
				}
				var want []audit.Closing // the offer with a cap for life is looked at until it closes
				if names {
					want = []audit.Closing{{Offer: 0, Window: "second 0", ClosedNs: 300e6}, {Offer: 2, Window: "second 0", ClosedNs: 300e6},
						{Offer: 2, Window: "second 1", ClosedNs: 1300e6}, {Offer: 2, Window: "second 2", ClosedNs: 2300e6},
						{Offer: 2, Window: "second 3", ClosedNs: audit.NeverClosed}}
				}
				if !slices.Equal(seen.Closings, want) {
					t.Errorf("closings %+v, want %+v", seen.Closings, want)
				}
			})
		})
	}
}

// A server that invents windows fills the router's memory to its limit.
func TestRouterWindowLimit(t *testing.T) {
	p := poller{router: &Router{}, start: time.Now(), numbers: map[windowKey]int{}}
	open := false
	for i := range maxWatchedWindows + 5 {
		p.note(0, &capStatus{Closed: &open, CapWindow: fmt.Sprint(i)})
	}
	p.note(0, &capStatus{Closed: &open, CapWindow: "0"}) // known
	p.note(0, &capStatus{Closed: &open, CapWindow: strings.Repeat("w", maxWindowNameBytes+1)})
	if len(p.closings) != maxWatchedWindows || p.dropped != 6 {
		t.Errorf("%d windows, %d dropped", len(p.closings), p.dropped)
	}
}

// watch runs a router with offers a to f, of which "free" has no cap.
func watch(ctx context.Context, s *capServer, poll time.Duration) (CapObservation, time.Duration) {
	start := time.Now()
	router := Router{URL: "http://caps", Poll: poll, Client: s.client(start)}
	for _, id := range []string{"a", "b", "free", "c", "d", "e", "f"} {
		router.Offers = append(router.Offers, intent.Offer{ID: id, Cap: 100})
	}
	router.Offers[2].Cap = 0
	seen := router.Watch(ctx, start)
	return seen, time.Since(start)
}

func TestRouterSeesWhenOffersClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &capServer{takes: time.Millisecond, closesAt: map[string]time.Duration{
			"a": 0, "b": 101 * time.Millisecond, "c": 300 * time.Millisecond, "d": time.Second, "e": 2 * time.Second, "f": 1500 * time.Millisecond}}
		seen, took := watch(t.Context(), s, 20*time.Millisecond)
		for i, id := range []string{"a", "b", "", "c", "d", "e", "f"} {
			at := time.Duration(seen.ClosedSeenNs[i])
			if id == "" {
				if at != audit.NeverClosed {
					t.Errorf("the offer without a cap closed at %v", at)
				}
				continue
			}
			if late := at - s.closesAt[id]; late < 0 || late > 23*time.Millisecond {
				t.Errorf("%s: seen closed at %v, closed at %v", id, at, s.closesAt[id])
			}
		}
		if took > 2100*time.Millisecond || seen.Failures != 0 {
			t.Errorf("watched for %v with %d failures; all were closed at 2 s", took, seen.Failures)
		}
		if p99, _ := seen.PollPeriod.Percentile(99); p99 < 20e6 || p99 > 21e6 {
			t.Errorf("poll period p99 %v", time.Duration(p99))
		}
	})
}

func TestRouterSurvivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &capServer{closesAt: map[string]time.Duration{"a": 100 * time.Millisecond},
			fail: func(at time.Duration) bool { return at < 500*time.Millisecond }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		seen, took := watch(ctx, s, 50*time.Millisecond)
		if at := time.Duration(seen.ClosedSeenNs[0]); at != 500*time.Millisecond {
			t.Errorf("seen closed at %v, want the first answer after the failures", at)
		}
		// 9 looks at 6 offers before 500 ms.
		if seen.Failures != 54 || seen.ClosedSeenNs[1] != audit.NeverClosed || took != time.Second {
			t.Errorf("%d failures, b %d, watched for %v", seen.Failures, seen.ClosedSeenNs[1], took)
		}
	})
}

// A slow server is asked less often than wanted; the real period is reported.
func TestRouterMeasuresItsPollPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		seen, took := watch(ctx, &capServer{takes: 70 * time.Millisecond}, 20*time.Millisecond)
		p50, _ := seen.PollPeriod.Percentile(50)
		if p50 < 70e6 || p50 > 161e6 || seen.Failures != 0 || took != 10*time.Second {
			t.Errorf("poll period p50 %v, %d failures, watched for %v", time.Duration(p50), seen.Failures, took)
		}
	})
}

func TestRouterWithoutCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		router := Router{Offers: []intent.Offer{{ID: "free"}}}
		seen := router.Watch(t.Context(), time.Now())
		if !slices.Equal(seen.ClosedSeenNs, []int64{audit.NeverClosed}) || seen.PollPeriod.Count() != 0 {
			t.Errorf("%+v", seen)
		}
		if err := router.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRouterCheck(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string // "" = fine
	}{
		"open":        {200, `{"offer_id":"b","cap":5,"billable":0,"closed":false}`, ""},
		"not empty":   {200, `{"offer_id":"b","cap":5,"billable":1,"closed":false}`, "already counts 1"},
		"closed":      {200, `{"closed":true}`, ""},
		"not found":   {404, "", "http://caps/offers/b/cap: status 404"},
		"not JSON":    {200, "hello", "http://caps/offers/b/cap: invalid character"},
		"other JSON":  {200, `{"state":"open"}`, `no "closed" in the answer`},
		"endless":     {200, `{"closed":false,"x":"` + strings.Repeat("x", 1<<20) + `"}`, "unexpected end of JSON"},
		"empty":       {200, "", "unexpected end of JSON"},
		"wrong types": {200, `{"closed":"no"}`, "cannot unmarshal"},
	} {
		client := memoryClient(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		router := Router{URL: "http://caps", Client: client, Offers: []intent.Offer{{ID: "a"}, {ID: "b", Cap: 5}}}
		err := router.Check(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestCapURL(t *testing.T) {
	for _, c := range [][3]string{
		{"http://me", "a", "http://me/offers/a/cap"},
		{"http://me/api/", "a/b c", "http://me/api/offers/a%2Fb%20c/cap"},
		{"http://me/caps?id={offer_id}&x=1", "a/b&c", "http://me/caps?id=a%2Fb%26c&x=1"},
	} {
		if got := CapURL(c[0], c[1]); got != c[2] {
			t.Errorf("%s %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}
