package loadgen

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/loadgen/transport"
)

// never is longer than any test's virtual time.
const never = 1000 * time.Hour

// answer is what a fake server makes of one request.
type answer struct {
	after  time.Duration
	status int
	body   string
	class  transport.Class // an error of this class instead of a status
	early  time.Duration   // a timeout strikes so much before the deadline
}

func acked(after time.Duration) answer { return answer{after: after, status: 200} }

// world is a fake server in memory with all of its connections. Its time is
// the bubble's.
type world struct {
	start  time.Time
	behave func(request string, number int) answer // number: 0 for the first of this intent

	mu   sync.Mutex
	seen map[string][]time.Duration // request → arrivals, since start
}

func newWorld(behave func(request string, number int) answer) *world {
	return &world{start: time.Now(), behave: behave, seen: map[string][]time.Duration{}}
}

// always answers every request in the same way.
func always(a answer) func(string, int) answer { return func(string, int) answer { return a } }

func (w *world) arrive(request string) answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	number := len(w.seen[request])
	w.seen[request] = append(w.seen[request], time.Since(w.start))
	return w.behave(request, number)
}

// requests is how many requests arrived.
func (w *world) requests() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for _, arrivals := range w.seen {
		n += int64(len(arrivals))
	}
	return n
}

// sender is one connection to a world.
type sender struct {
	world  *world
	deaf   bool // ignores its deadline; only Close ends Send
	closed chan struct{}
	once   sync.Once
}

func (w *world) sender() Sender { return &sender{world: w, closed: make(chan struct{})} }
func (w *world) deafSender() Sender {
	return &sender{world: w, deaf: true, closed: make(chan struct{})}
}

// Send implements Sender.
func (s *sender) Send(_ context.Context, req *transport.Request, deadline time.Time) (transport.Reply, error) {
	a := s.world.arrive(string(req.Target))
	wait := a.after
	if left := time.Until(deadline) - a.early; wait >= left && !s.deaf {
		wait, a.class = left, transport.ClassTimeout
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closed:
		a.class = transport.ClassCanceled
	}
	if a.class != "" {
		return transport.Reply{}, &transport.Error{Class: a.class, Err: context.Canceled}
	}
	return transport.Reply{Status: a.status, Body: []byte(a.body)}, nil
}

// Close implements Sender.
func (s *sender) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// generatorOf makes intents of one partner and one offer; edit changes that.
func generatorOf(t testing.TB, edit func(*intent.Spec)) *intent.Generator {
	t.Helper()
	spec := intent.Spec{
		Seed: 7, EpochUnixS: 1_700_000_000, Partners: []intent.Partner{{Name: "acme", Share: 1}},
		Offers: []intent.Offer{{ID: "shoes", Share: 1, Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}}},
	}
	if edit != nil {
		edit(&spec)
	}
	generator, err := intent.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return generator
}

// configOf plays ratePerS for a time with unbounded plain partners against a
// world.
func configOf(t testing.TB, w *world, generator *intent.Generator, ratePerS float64, duration time.Duration) Config {
	t.Helper()
	due, err := schedule.Constant(ratePerS, int64(duration))
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Intents: generator, Schedule: due, Cells: make([]audit.Cell, int(ratePerS*duration.Seconds())),
		Grace: time.Minute, SleepUntil: sleepUntil,
	}
	for _, p := range generator.Spec().Partners {
		cfg.Partners = append(cfg.Partners, Partner{Name: p.Name, Template: postback.PlainTemplate(),
			Timeout: 10 * time.Second, NewSender: w.sender})
	}
	return cfg
}

// sleepUntil is a sleeper that works in a synctest bubble.
func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

// mustRun runs and checks the books.
func mustRun(t testing.TB, ctx context.Context, cfg Config) *Outcome {
	t.Helper()
	outcome, err := Run(ctx, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkBooks(t, &cfg, outcome)
	return outcome
}

// checkBooks holds the outcome against the cells: two books that must agree.
func checkBooks(t testing.TB, cfg *Config, o *Outcome) {
	t.Helper()
	for _, imbalance := range o.Imbalances() {
		t.Error(imbalance)
	}
	var it intent.Intent
	var released uint64
	var attempts, ackedAttempts, legitimate, timed, ackedFirst, ackedEver int64
	for i := range cfg.Cells {
		cell := &cfg.Cells[i]
		if cell.Flags&audit.Released == 0 {
			if *cell != (audit.Cell{}) {
				t.Errorf("intent %d was not released, its cell is %+v", i, *cell)
			}
			continue
		}
		released++
		attempts += int64(cell.Attempts)
		ackedAttempts += int64(cell.Acked)
		cfg.Intents.At(uint64(i), &it)
		if it.Kind.Legitimate() {
			legitimate++
		}
		if it.Kind.Legitimate() && cell.DueNs >= int64(cfg.Warmup) {
			timed++
			// Only without a duplicate is a lone acked attempt surely the first.
			if cell.Acked > 0 {
				ackedEver++
				if cell.Attempts == 1 && it.DuplicateAfterNs == 0 {
					ackedFirst++
				}
			}
		}
		if acked, reasoned := cell.Acked > 0, cell.Reason != uint8(intent.NoReason); acked == reasoned {
			t.Errorf("intent %d: %d acks and reason %q", i, cell.Acked, intent.Reason(cell.Reason))
		}
	}
	response := o.Latencies.Response
	for _, c := range []struct {
		name        string
		cells, loop int64
	}{
		{"released intents", int64(released), int64(o.Intents)},
		{"attempts", attempts, o.Attempts.Total},
		{"acked attempts", ackedAttempts, o.Attempts.Acked},
		{"timed intents", timed, o.Timed},
		{"responses", timed, response.Count() + response.Censored()},
	} {
		if c.cells != c.loop {
			t.Errorf("%s: %d in the cells, %d in the loop", c.name, c.cells, c.loop)
		}
	}
	if n := response.Count(); n < ackedFirst || n > ackedEver {
		t.Errorf("%d response latencies; %d to %d by the cells", n, ackedFirst, ackedEver)
	}
	checkSplits(t, o, legitimate)
}

// checkSplits holds the parts of an outcome against their sums.
func checkSplits(t testing.TB, o *Outcome, legitimate int64) {
	t.Helper()
	var inTimeline int64
	for _, second := range o.Timeline {
		inTimeline += second.Intents
	}
	if inTimeline != legitimate {
		t.Errorf("%d intents in the timeline, %d legitimate ones in the cells", inTimeline, legitimate)
	}
	var inResponses int64
	for _, n := range o.Responses {
		inResponses += n
	}
	if inResponses != o.Attempts.Total {
		t.Errorf("%d responses for %d attempts: %v", inResponses, o.Attempts.Total, o.Responses)
	}
	var ofPartners int64
	for _, h := range o.Latencies.PartnerResponse {
		ofPartners += h.Count() + h.Censored()
	}
	for i := range o.Partners {
		if depth := o.Partners[i].QueueDepth; len(depth) == 0 && o.QueueDepth[i] > 0 || len(depth) > 0 && slices.Max(depth) != o.QueueDepth[i] {
			t.Errorf("partner %d: queue depth %v, at most %d", i, depth, o.QueueDepth[i])
		}
	}
	if ofPartners != o.Timed {
		t.Errorf("partners have %d responses, the run has %d", ofPartners, o.Timed)
	}
}

// reasons counts the reasons in the cells.
func reasons(cells []audit.Cell) map[intent.Reason]int {
	counts := map[intent.Reason]int{}
	for i := range cells {
		if cells[i].Flags&audit.Released != 0 {
			counts[intent.Reason(cells[i].Reason)]++
		}
	}
	return counts
}

// memoryClient is an HTTP client whose server is a handler, without sockets,
// so that it lives in a bubble.
func memoryClient(handler http.HandlerFunc) *http.Client {
	return &http.Client{Transport: roundTripper(handler)}
}

type roundTripper http.HandlerFunc

// RoundTrip implements http.RoundTripper.
func (handler roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	handler(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}
