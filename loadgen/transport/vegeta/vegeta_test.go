package vegeta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/loadgen/transport"
)

// configOf plays ratePerS for a time against a server, signed.
func configOf(t testing.TB, origin string, ratePerS float64, duration time.Duration, mix intent.Mix) loadgen.Config {
	t.Helper()
	generator, err := intent.New(intent.Spec{Seed: 7, EpochUnixS: 1_700_000_000, Mix: mix,
		Partners: []intent.Partner{{Name: "acme", Share: 1}},
		Offers:   []intent.Offer{{ID: "shoes", Share: 1, Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}}}})
	if err != nil {
		t.Fatal(err)
	}
	due, err := schedule.Constant(ratePerS, int64(duration))
	if err != nil {
		t.Fatal(err)
	}
	return loadgen.Config{
		Intents: generator, Schedule: due, Cells: make([]audit.Cell, int(ratePerS*duration.Seconds())),
		Grace: time.Second, SleepUntil: loadgen.SleepUntil,
		Partners: []loadgen.Partner{{Name: "acme", Template: postback.SignedTemplate(), Timeout: time.Minute,
			NewSender: func() loadgen.Sender { return nil }, Origin: origin}},
	}
}

// serve starts a server that is over with the test.
func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// mustRun runs and checks that outcome and cells tell the same story.
func mustRun(t testing.TB, ctx context.Context, cfg loadgen.Config) *loadgen.Outcome {
	t.Helper()
	o, err := Run(ctx, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	var released, attempts, acked, timed int64
	var it intent.Intent
	for i := range cfg.Cells {
		cell := &cfg.Cells[i]
		if cell.Flags&audit.Released == 0 {
			continue
		}
		released++
		attempts += int64(cell.Attempts)
		acked += int64(cell.Acked)
		if cfg.Intents.At(uint64(i), &it); it.Kind.Legitimate() && cell.DueNs >= int64(cfg.Warmup) {
			timed++
		}
		if (cell.Acked > 0) == (cell.Reason != uint8(intent.NoReason)) {
			t.Errorf("intent %d: %d acks and reason %q", i, cell.Acked, intent.Reason(cell.Reason))
		}
		if cell.DispatchedNs < cell.DueNs || cell.LastEndNs < cell.DispatchedNs {
			t.Errorf("intent %d: due %d, dispatched %d, ended %d", i, cell.DueNs, cell.DispatchedNs, cell.LastEndNs)
		}
	}
	a, response := o.Attempts, o.Latencies.Response
	if released != int64(o.Intents) || attempts != a.Total || acked != a.Acked || timed != o.Timed ||
		a.Total != a.Acked+a.Refused+a.TimedOut+a.Errored || response.Count()+response.Censored() != timed {
		t.Errorf("cells: %d released, %d attempts, %d acked, %d timed; outcome: %d intents, %+v, %d timed, %d + %d responses",
			released, attempts, acked, timed, o.Intents, a, o.Timed, response.Count(), response.Censored())
	}
	return o
}

func TestAgainstAFixedServer(t *testing.T) {
	const service = 10 * time.Millisecond
	server := serve(t, func(http.ResponseWriter, *http.Request) { time.Sleep(service) }) // the service time that is measured
	cfg := configOf(t, server.URL, 200, 2*time.Second, intent.Mix{})
	cfg.Warmup = 500 * time.Millisecond
	o := mustRun(t, t.Context(), cfg)

	if o.Intents != 400 || o.Attempts != (loadgen.Attempts{Total: 400, Acked: 400}) || o.Responses["200"] != 400 || o.Timed != 300 {
		t.Errorf("%d intents, %+v, %v, %d timed", o.Intents, o.Attempts, o.Responses, o.Timed)
	}
	l := &o.Latencies
	if l.Service.Count() != 300 || l.LagGenerator.Count() != 300 || l.PartnerResponse[0].Count() != 300 {
		t.Errorf("%d service, %d lag_generator, %d partner", l.Service.Count(), l.LagGenerator.Count(), l.PartnerResponse[0].Count())
	}
	// Only lower bounds hold on a machine that does something else too.
	if l.Service.MinNs() < int64(service) || l.Response.MinNs() < l.Service.MinNs() {
		t.Errorf("min: service %d, response %d", l.Service.MinNs(), l.Response.MinNs())
	}
	if o.Duration < 1995*time.Millisecond || o.HiddenRetries != 0 || o.Interrupted {
		t.Errorf("%v, %d hidden retries, interrupted %v", o.Duration, o.HiddenRetries, o.Interrupted)
	}
	if cell := &cfg.Cells[100]; cell.DueNs != 500e6 || cell.LastStatus != 200 {
		t.Errorf("cell 100: %+v", cell)
	}
}

// The server sees what the native engine would send, byte for byte, malformed
// requests included, and none of the headers that are for ourselves.
func TestSendsTheRenderedRequests(t *testing.T) {
	var mu sync.Mutex
	var got []string
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Event"), body))
		for name := range r.Header {
			if strings.Contains(name, "Postbench") || strings.Contains(name, "Vegeta") {
				t.Errorf("header %s reached the server", name)
			}
		}
		if r.UserAgent() != "postbench" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("headers %v", r.Header)
		}
	})
	cfg := configOf(t, server.URL, 1000, 200*time.Millisecond, intent.Mix{Malformed: 0.5, BadSignatures: 0.2})
	template := &cfg.Partners[0].Template
	header, err := postback.ParseHeader("X-Event: {event}")
	if err != nil {
		t.Fatal(err)
	}
	template.Headers = append(template.Headers, header)
	if template.Body, err = postback.ParseText("click={click_id}"); err != nil {
		t.Fatal(err)
	}
	template.Method = "POST"
	mustRun(t, t.Context(), cfg)

	var want []string
	var it intent.Intent
	var req transport.Request
	renderer := loadgen.NewRenderer(cfg.Intents, 0, template)
	for i := range cfg.Cells {
		cfg.Intents.At(uint64(i), &it)
		renderer.Render(&it, 1_700_000_000, &req)
		want = append(want, fmt.Sprintf("POST %s sale %s", req.Target, req.Body))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d requests, want %d; first %q, want %q", len(got), len(want), got[0], want[0])
	}
}

func TestOutcomes(t *testing.T) {
	halfBody := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, c := range map[string]struct {
		handler  http.HandlerFunc
		want     loadgen.Attempts
		response string
		reason   intent.Reason
	}{
		"refused":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, loadgen.Attempts{Total: 10, Refused: 10}, "503", intent.ReasonRefused},
		"redirect":            {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", 302) }, loadgen.Attempts{Total: 10, Refused: 10}, "302", intent.ReasonRefused},
		"silent":              {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, loadgen.Attempts{Total: 10, TimedOut: 10}, "timeout", intent.ReasonTimedOut},
		"silent in the body":  {halfBody, loadgen.Attempts{Total: 10, TimedOut: 10}, "timeout", intent.ReasonTimedOut},
		"closes":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, loadgen.Attempts{Total: 10, Errored: 10}, "error", intent.ReasonErrored},
		"accepts, no content": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, loadgen.Attempts{Total: 10, Acked: 10}, "204", intent.NoReason},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configOf(t, serve(t, c.handler).URL, 500, 20*time.Millisecond, intent.Mix{})
			if c.want.TimedOut > 0 {
				cfg.Partners[0].Timeout = 100 * time.Millisecond
			}
			o := mustRun(t, t.Context(), cfg)
			if o.Attempts != c.want || o.Responses[c.response] != 10 || intent.Reason(cfg.Cells[3].Reason) != c.reason {
				t.Errorf("%+v, %v, reason %s", o.Attempts, o.Responses, intent.Reason(cfg.Cells[3].Reason))
			}
		})
	}
}

// A server that takes a second request on a connection and then closes it
// makes net/http send the request again.
func TestHiddenRetriesAreCounted(t *testing.T) {
	type requestsKey struct{}
	var onTheWire atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		onTheWire.Add(1)
		if r.Context().Value(requestsKey{}).(*atomic.Int64).Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, requestsKey{}, new(atomic.Int64))
	}
	server.Start()
	defer server.Close()
	cfg := configOf(t, server.URL, 200, 100*time.Millisecond, intent.Mix{})
	o := mustRun(t, t.Context(), cfg)
	if o.HiddenRetries == 0 || o.HiddenRetries != onTheWire.Load()-o.Attempts.Total {
		t.Errorf("%d hidden retries, %d requests on the wire for %d attempts", o.HiddenRetries, onTheWire.Load(), o.Attempts.Total)
	}
	if reasons := strings.Join(o.Invalid(loadgen.Environment{}), "; "); !strings.Contains(reasons, "without being asked") {
		t.Errorf("validity: %q", reasons)
	}

	onTheWire.Store(0)
	cfg = configOf(t, server.URL, 200, 100*time.Millisecond, intent.Mix{})
	cfg.Partners[0].CloseEach = true
	if o := mustRun(t, t.Context(), cfg); o.HiddenRetries != 0 || onTheWire.Load() != 20 {
		t.Errorf("without keep-alive: %d hidden retries, %d requests", o.HiddenRetries, onTheWire.Load())
	}
}

// The partner's success rule holds for this engine, too.
func TestSuccessRule(t *testing.T) {
	var seen atomic.Int64
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, []string{"OK, and more", "ERROR"}[seen.Add(1)%2])
	})
	cfg := configOf(t, server.URL, 200, 100*time.Millisecond, intent.Mix{})
	cfg.Partners[0].Success.Bodies = []string{"OK", "DUP"}
	o := mustRun(t, t.Context(), cfg)
	want := loadgen.Attempts{Total: 20, Acked: 10, Refused: 10}
	if o.Attempts != want || len(o.Partners) != 1 || o.Partners[0].Attempts != want || o.Partners[0].Wait != nil {
		t.Errorf("%+v, partners %+v", o.Attempts, o.Partners)
	}
	if imbalances := o.Imbalances(); imbalances != nil {
		t.Error(imbalances)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var seen atomic.Int64
	server := serve(t, func(http.ResponseWriter, *http.Request) {
		if seen.Add(1) == 5 {
			cancel()
		}
	})
	began := time.Now()
	o := mustRun(t, ctx, configOf(t, server.URL, 50, time.Minute, intent.Mix{}))
	if !o.Interrupted || o.Intents < 5 || o.Intents > 500 || time.Since(began) > 20*time.Second {
		t.Errorf("interrupted %v after %d intents and %v", o.Interrupted, o.Intents, time.Since(began))
	}
	awaitNoConnections(t)
}

// awaitNoConnections returns when no client connection is left.
func awaitNoConnections(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // polls with a deadline
		text := string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(text, "net/http.(*persistConn)") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("connections are left:\n%s", text)
		}
	}
}

func TestUnsupported(t *testing.T) {
	for name, spoil := range map[string]func(*loadgen.Config){
		"retries":   func(c *loadgen.Config) { c.Partners[0].Retry.DelaysNs = []int64{1} },
		"breaker":   func(c *loadgen.Config) { c.Partners[0].Breaker.Failures = 1 },
		"path":      func(c *loadgen.Config) { c.Partners[0].Path = "eu-us-east" },
		"replay":    func(c *loadgen.Config) { c.Replay = make([]schedule.Replayed, 1) },
		"no origin": func(c *loadgen.Config) { c.Partners[0].Origin = "" },
		"method":    func(c *loadgen.Config) { c.Partners[0].Template.Method = "NOT ONE" },
		"duplicates": func(c *loadgen.Config) {
			*c = configOf(t, "http://me", 1, time.Second, intent.Mix{Duplicates: 0.1})
		},
		"two partners": func(c *loadgen.Config) {
			spec := *c.Intents.Spec()
			spec.Partners = append(spec.Partners, intent.Partner{Name: "second", Share: 1})
			c.Intents, _ = intent.New(spec)
			c.Partners = append(c.Partners, c.Partners[0])
		},
	} {
		cfg := configOf(t, "http://me", 1, time.Second, intent.Mix{})
		spoil(&cfg)
		if _, err := Run(t.Context(), cfg, nil); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := configOf(t, "http://me", 1, time.Second, intent.Mix{})
	cfg.Grace = 0
	if _, err := Run(t.Context(), cfg, nil); !errors.Is(err, loadgen.ErrConfig) {
		t.Errorf("broken configuration: %v", err)
	}
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		p := pacer{ctx: ctx, start: start, due: []int64{0, 1e6, 1e9, 60e9}, sleepUntil: func(t time.Time) { time.Sleep(time.Until(t)) }} // fake time: synctest
		for hits, dueNs := range p.due[:3] {
			if wait, stop := p.Pace(0, uint64(hits)); wait != 0 || stop || time.Since(start) != time.Duration(dueNs) {
				t.Errorf("hit %d: wait %v, stop %v at %v", hits, wait, stop, time.Since(start))
			}
		}
		if _, stop := p.Pace(0, 4); !stop {
			t.Error("went on after the last")
		}
		time.AfterFunc(time.Second, cancel)
		if _, stop := p.Pace(0, 3); !stop || time.Since(start) != 2*time.Second {
			t.Errorf("cancelled: stop %v at %v", stop, time.Since(start))
		}
	})
}
