package loadgen

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/loadgen/transport"
)

// The partners of a virtual run, by position.
const (
	steady     = iota // signs, retries, a short queue that refuses what comes
	forgetful         // a shorter queue that loses what waits longest, no retries
	offended          // deactivates the postback after failures in a row
	literal           // takes nothing but OK for success
	hasty             // times out early and leaves it at that
	virtuals          // their number
	allAnswers = "OK" // what every partner takes for success
)

// Whatever partners are like and whatever a server does to them, loop and
// judge must tell the same story: runs of 2 s, in virtual time.
func TestBooksAndLedgerBalance(t *testing.T) {
	var mu sync.Mutex
	totals := tally{}
	t.Run("seeds", func(t *testing.T) {
		for seed := range uint64(virtualSeeds) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				first, second := playVirtual(t, seed), playVirtual(t, seed)
				if !maps.Equal(first, second) {
					t.Errorf("the same seed gives\n%v and\n%v", first, second)
				}
				mu.Lock()
				defer mu.Unlock()
				totals.add(first)
			})
		}
	})
	// What never happened was not tested.
	for _, what := range []string{
		"recorded", "recorded_unacked", "lost_after_ack", "lost_at_partner", "rejected", "forged_accepted",
		"queue_full", "timed_out", "refused", "errored", "retries_exhausted", "run_ended", "deactivated",
		"double counted", "repeats", "duplicates dropped", "oldest dropped", "partners deactivated", "interrupted",
		"attempts acked", "attempts refused", "attempts timed out", "attempts errored", "second attempts",
		"server: stalled", "server: DUP", "server: mute", "server: hung up", "server: busy", "server: lied",
	} {
		if totals[what] == 0 {
			t.Errorf("in %d runs there was no case of: %s", virtualSeeds, what)
		}
	}
	t.Logf("%v", totals)
}

// tally counts events by name.
type tally map[string]int64

func (c tally) add(o tally) {
	for what, n := range o {
		c[what] += n
	}
}

// playVirtual runs one seed, checks it and returns what happened.
func playVirtual(t *testing.T, seed uint64) (counts tally) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 7))
		s := newShop(t, seed, random)
		cfg := shopConfig(t, s, random, 2*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if random.IntN(5) == 0 {
			time.AfterFunc(time.Duration(random.Int64N(2e9)), cancel)
		}
		o := mustRun(t, ctx, cfg)
		sheet := s.judge(&cfg, o)
		checkThreeBooks(t, o, sheet, s)
		if n := s.counts["requests"]; n != o.Attempts.Total {
			t.Errorf("%d attempts, %d requests", o.Attempts.Total, n)
		}
		counts = countVirtual(o, sheet, s)
	})
	return counts
}

// judge judges the run by the shop's ledger.
func (s *shop) judge(cfg *Config, o *Outcome) *audit.Sheet {
	carries := make([]audit.Carries, virtuals)
	for i := range carries {
		carries[i] = audit.Carries{TxID: true, OfferID: true, Event: true, Payout: true, Currency: true}
	}
	judge := audit.NewJudge(audit.Config{Intents: cfg.Intents, Cells: cfg.Cells, Carries: carries,
		StartUnixNs: o.Start.UnixNano(), WarmupNs: int64(cfg.Warmup), ClockKnown: true})
	for i := range s.rows {
		judge.Row(&s.rows[i])
	}
	return judge.Sheet()
}

// checkThreeBooks holds three books against each other: the loop's, the judge's
// and the server's.
func checkThreeBooks(t *testing.T, o *Outcome, sheet *audit.Sheet, s *shop) {
	for _, imbalance := range sheet.Imbalances {
		t.Error(imbalance)
	}
	f, a := &sheet.Fates, &o.Attempts
	var found, forged, drops int64
	for index := range s.recorded {
		if s.intents.Legitimate(index) {
			found++
		} else {
			forged++
		}
	}
	for _, n := range sheet.Drops {
		drops += n
	}
	for _, c := range []struct {
		what string
		a, b int64
	}{
		{"attempts and their ends", a.Total, a.Acked + a.Refused + a.TimedOut + a.Errored},
		{"attempts of loop and judge", a.Total, sheet.Attempts},
		{"acked attempts", a.Acked, sheet.AckedAttempts},
		{"intents", int64(o.Intents), sheet.Intents},
		{"intents and fates", sheet.Intents, f.Recorded + f.RecordedUnacked + f.LostAfterAck + f.LostAtPartner + f.Rejected + f.ForgedAccepted},
		{"recorded intents of judge and server", f.Recorded + f.RecordedUnacked, found},
		{"forged intents of judge and server", f.ForgedAccepted, forged},
		{"lost at the partner and reasons", f.LostAtPartner, drops},
		{"rows beyond the first", sheet.Repeats, int64(len(s.rows)) - found - forged},
		{"phantoms, wrong verdicts and payloads", sheet.Phantom + sheet.WrongVerdict + sheet.WrongPayload + sheet.FilteredRows, 0},
	} {
		if c.a != c.b {
			t.Errorf("%s: %d ≠ %d", c.what, c.a, c.b)
		}
	}
	for i := range o.Partners {
		if n := o.Partners[i].Attempts.Total; n != sheet.Partners[i].Attempts {
			t.Errorf("partner %d: %d attempts in the loop, %d in the cells", i, n, sheet.Partners[i].Attempts)
		}
		if lost := sheet.Partners[i].Drops[intent.Deactivated]; lost > 0 && !o.Partners[i].Deactivated {
			t.Errorf("partner %d is active and has lost %d intents by deactivation", i, lost)
		}
	}
}

// countVirtual names everything that must not differ when a seed is repeated.
func countVirtual(o *Outcome, sheet *audit.Sheet, s *shop) tally {
	f, a := &sheet.Fates, &o.Attempts
	counts := tally{
		"intents": int64(o.Intents), "recorded": f.Recorded, "recorded_unacked": f.RecordedUnacked, "lost_after_ack": f.LostAfterAck,
		"lost_at_partner": f.LostAtPartner, "rejected": f.Rejected, "forged_accepted": f.ForgedAccepted,
		"double counted": sheet.DoubleCounted, "repeats": sheet.Repeats, "duplicates dropped": o.DuplicatesDropped,
		"attempts acked": a.Acked, "attempts refused": a.Refused, "attempts timed out": a.TimedOut, "attempts errored": a.Errored,
		"oldest dropped": sheet.Partners[forgetful].Drops[intent.QueueFull],
	}
	if o.Interrupted {
		counts["interrupted"]++
	}
	for reason := intent.NoReason + 1; reason < intent.Reasons; reason++ {
		counts[reason.String()] += sheet.Drops[reason]
	}
	for i := range o.Partners {
		if o.Partners[i].Deactivated {
			counts["partners deactivated"]++
		}
		counts[fmt.Sprint("deepest queue ", i)] = int64(o.QueueDepth[i])
	}
	for _, m := range sheet.Money {
		counts["missing micros"] += int64(m.MissingMicros)
		counts["surplus micros"] += int64(m.SurplusMicros)
	}
	for what, n := range s.counts {
		counts["server: "+what] = n
	}
	counts["second attempts"] = s.counts["second attempts"]
	return counts
}

// shopConfig is five partners with different habits, whose figures the seed
// varies.
func shopConfig(t *testing.T, s *shop, random *rand.Rand, duration time.Duration) Config {
	due, err := schedule.Poisson(100+200*random.Float64(), int64(duration), random.Uint64())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Intents: s.intents, Schedule: due, Cells: make([]audit.Cell, 1000), SleepUntil: sleepUntil,
		Warmup: randomTime(random, duration/2), Grace: 50*time.Millisecond + randomTime(random, duration)}
	for _, p := range s.intents.Spec().Partners {
		cfg.Partners = append(cfg.Partners, Partner{Name: p.Name, Template: postback.PlainTemplate(),
			Timeout: 40*time.Millisecond + time.Duration(random.Int64N(40e6)), NewSender: s.sender})
	}
	few := func(n int) int { return 1 + random.IntN(n) }
	p := &cfg.Partners[steady]
	p.Template, p.Connections, p.Queue = postback.SignedTemplate(), few(3), few(4)
	p.Retry = intent.RetryPolicy{DelaysNs: []int64{20e6, 50e6}, OnTimeout: true, OnServerError: true}
	p = &cfg.Partners[forgetful]
	p.Connections, p.Queue, p.DropOldest = few(2), few(3), true
	p = &cfg.Partners[offended]
	p.Connections, p.Queue = few(4), few(8)
	p.Breaker = intent.Breaker{Failures: 3 + random.IntN(5), WithinNs: int64(random.IntN(2)) * 1e9}
	p.Retry = intent.RetryPolicy{DelaysNs: []int64{10e6, 100e6, 700e6}, OnTimeout: true, OnServerError: true, OnRefused: true, OnError: true}
	p = &cfg.Partners[literal]
	p.Success.Bodies = []string{allAnswers}
	p.Retry = intent.RetryPolicy{DelaysNs: []int64{30e6}, OnRefused: true, OnTimeout: true}
	cfg.Partners[hasty].Timeout = 25 * time.Millisecond
	return cfg
}

// shop is a server in memory that keeps a ledger, and its faults. What it does
// to a request depends on the seed, the request and how often it came, never
// on the order in which goroutines run.
type shop struct {
	seed    uint64
	intents *intent.Generator
	// In the stall every answer takes so much longer; requests are recorded.
	stallFrom, stallUntil time.Time
	trouble               float64 // share of the requests that a fault strikes

	mu       sync.Mutex
	seen     map[string]int // target → how often
	recorded map[uint64]bool
	rows     []audit.Row
	counts   tally
}

func newShop(t *testing.T, seed uint64, random *rand.Rand) *shop {
	spec := intent.Spec{Seed: seed, EpochUnixS: 1_700_000_000,
		Offers: []intent.Offer{
			{ID: "shoes", Share: 2, Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}},
			{ID: "games", Share: 1, Payout: 900_000, Currency: postback.Currency{'U', 'S', 'D'}}},
		Mix: intent.Mix{Duplicates: 0.1, DuplicateAfterNs: 30e6, UnknownClicks: 0.02, BadSignatures: 0.05, Malformed: 0.05, UnknownPartner: 0.05,
			Chains: []intent.Chain{{Events: []postback.Event{postback.EventLead, postback.EventSale, postback.EventRejected}, Share: 0.1}}, ChainLag: 20},
	}
	for i := range virtuals {
		spec.Partners = append(spec.Partners, intent.Partner{Name: fmt.Sprint("partner-", i), Share: 1, Unauthenticated: i != steady, Anonymous: i != steady, Unexpanded: 0.02})
	}
	generator, err := intent.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now().Add(time.Duration(random.Int64N(2e9)))
	return &shop{seed: seed, intents: generator, stallFrom: from, stallUntil: from.Add(randomTime(random, 600*time.Millisecond)),
		trouble: 0.4 * random.Float64(), seen: map[string]int{}, recorded: map[uint64]bool{}, counts: tally{}}
}

// arrive takes a request; the ledger has it before the answer travels.
func (s *shop) arrive(target string) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, random := s.serve(target)
	// Timeouts and retry delays to the ns would make two things happen at the
	// same instant, in an order that no seed decides.
	a.early = time.Duration(random.Int64N(1e6))
	return a
}

func (s *shop) serve(target string) (a answer, random *rand.Rand) {
	number := s.seen[target]
	s.seen[target]++
	s.counts["requests"]++
	if number > 0 {
		s.counts["second attempts"]++
	}
	random = s.chance(target, number)
	service := time.Duration(random.Int64N(60e6))
	if now := time.Now(); now.After(s.stallFrom) && now.Before(s.stallUntil) {
		service += 100 * time.Millisecond
		s.counts["stalled"]++
	}
	struck, fault := random.Float64() < s.trouble, random.IntN(5)
	switch {
	case struck && fault == 0:
		s.counts["busy"]++
		return answer{after: service, status: 503}, random
	case struck && fault == 1:
		return answer{after: service, class: transport.ClassConnect}, random
	case struck && fault == 2 && random.IntN(4) == 0:
		s.counts["lied"]++
		return answer{after: service, status: 200, body: allAnswers}, random
	}
	a = s.record(target, random)
	a.after = service
	switch {
	case struck && fault == 3:
		s.counts["mute"]++
		a.after = never
	case struck && fault == 4:
		s.counts["hung up"]++
		a.class = transport.ClassClosed
	}
	return a, random
}

// chance is the source of randomness for one request.
func (s *shop) chance(target string, number int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(target))
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(number)))
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

// record puts a request into the ledger, unless it is forged or known.
func (s *shop) record(target string, random *rand.Rand) answer {
	_, raw, _ := strings.Cut(target, "?")
	query, _ := url.ParseQuery(raw) // what a malformed request has of it
	event, _ := postback.ParseEvent([]byte(query.Get("event")))
	index, owner := s.intents.FindEvent([]byte(query.Get("click_id")), []byte(query.Get("txid")), event)
	if owner != intent.ThisRun {
		panic("BUG: the loop sent what nobody asked for: " + target)
	}
	var it intent.Intent
	s.intents.At(index, &it)
	careless := random.IntN(20) == 0
	if !it.Kind.Legitimate() && !careless {
		return answer{status: 403}
	}
	if s.recorded[index] && !careless {
		s.counts["DUP"]++
		return answer{status: 200, body: "DUP"}
	}
	s.recorded[index] = true
	verdict := intent.Billable // a forged one is paid: the server does not know
	for v := range intent.Verdicts {
		if it.Kind.Legitimate() && s.intents.Admissible(&it, 0, 0).Has(v) {
			verdict = v
		}
	}
	s.rows = append(s.rows, audit.Row{ClickID: []byte(string(it.ClickID)), TxID: []byte(string(it.TxID)),
		OfferID: []byte(s.intents.Spec().Offers[it.Offer].ID), Event: it.Event, Verdict: verdict,
		Payout: it.Payout, HasPayout: true, Currency: it.Currency, RecordedUnixNs: time.Now().UnixNano()})
	return answer{status: 200, body: allAnswers}
}

// sender is a connection to the shop.
func (s *shop) sender() Sender {
	return &sender{world: &world{start: time.Now(), seen: map[string][]time.Duration{},
		behave: func(target string, _ int) answer { return s.arrive(target) }}, closed: make(chan struct{})}
}
