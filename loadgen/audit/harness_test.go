package audit

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// The run that most tests judge: everything in the spec happens, and nothing
// goes wrong unless a test makes it.
const (
	planned     = 400
	startUnixNs = 1_700_000_000_500_000_000
	msNs        = 1_000_000
	testCap     = 5
)

var (
	usd = postback.Currency{'U', 'S', 'D'}
	eur = postback.Currency{'E', 'U', 'R'}
	gbp = postback.Currency{'G', 'B', 'P'}
)

func testSpec() intent.Spec {
	return intent.Spec{
		Seed: 1, RunNumber: 2, EpochUnixS: startUnixNs / 1_000_000_000,
		Partners: []intent.Partner{{Name: "talks", Share: 0.8}, {Name: "mute", Share: 0.2}},
		Offers: []intent.Offer{
			{ID: "open", Share: 0.6, Payout: 10, Currency: usd},
			{ID: "capped", Share: 0.2, Payout: 40, Currency: eur, Cap: testCap},
			{ID: "window", Share: 0.2, Payout: 3, Currency: usd, AttributionWindowS: 7200},
		},
		Mix: intent.Mix{UnknownClicks: 0.05, BadSignatures: 0.05, Malformed: 0.05, UnknownPartner: 0.05, Leads: 0.1},
	}
}

// history is what the judge gets to see: cells and rows, made by hand.
type history struct {
	t    testing.TB
	cfg  Config
	rows []Row
}

func newHistory(t testing.TB, spec intent.Spec, n int) *history {
	t.Helper()
	g, err := intent.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{t: t, cfg: Config{Intents: g, Cells: make([]Cell, n), StartUnixNs: startUnixNs, ClockKnown: true}}
	for i := range spec.Partners {
		all := i == 0
		h.cfg.Carries = append(h.cfg.Carries, Carries{TxID: all, OfferID: all, Event: all, Payout: all, Currency: all})
	}
	return h
}

// flawless is a run in which every legitimate intent is acked and recorded as
// it should be, and every other refused.
func flawless(t testing.TB) *history {
	t.Helper()
	h := newHistory(t, testSpec(), planned)
	billed := 0
	for i := range uint64(planned) {
		it := h.at(i)
		if !it.Kind.Legitimate() {
			h.play(i, intent.Refused)
			continue
		}
		h.play(i, intent.Acked)
		verdict := intent.Billable
		switch {
		case it.Kind == intent.UnknownClick:
			verdict = intent.Unattributed
		case it.Payout == 0:
			verdict = intent.NonBillable
		case h.offer(it).Cap > 0:
			if billed++; billed > testCap {
				verdict = intent.OverCap
			}
		}
		h.add(h.row(i, verdict))
	}
	return h
}

func (h *history) at(index uint64) *intent.Intent {
	it := &intent.Intent{}
	h.cfg.Intents.At(index, it)
	return it
}

func (h *history) offer(it *intent.Intent) *intent.Offer {
	return &h.cfg.Intents.Spec().Offers[it.Offer]
}

// find returns the first intent with a property, as the tests choose their
// victims by what they are.
func (h *history) find(what string, is func(*intent.Intent) bool) uint64 {
	h.t.Helper()
	for i := range uint64(len(h.cfg.Cells)) {
		if is(h.at(i)) {
			return i
		}
	}
	h.t.Fatalf("no %s among %d intents", what, len(h.cfg.Cells))
	return 0
}

// sale is a plain one of the partner that carries everything, of 10 USD.
func (h *history) sale() uint64 {
	return h.find("sale", func(it *intent.Intent) bool {
		return it.Kind == intent.Legitimate && it.Partner == 0 && it.Offer == 0 && it.Payable()
	})
}

// muteSale is one of the partner that carries a click id and nothing else.
func (h *history) muteSale() uint64 {
	return h.find("mute sale", func(it *intent.Intent) bool {
		return it.Kind == intent.Legitimate && it.Partner == 1 && it.Offer == 0 && it.Payable()
	})
}

func (h *history) kind(kind intent.Kind) uint64 {
	return h.find(kind.String(), func(it *intent.Intent) bool {
		return it.Kind == kind && it.Partner == 0 && it.Offer == 0 && it.Payout > 0
	})
}

// capped is the first sale of 40 EUR with the given verdict in the ledger.
func (h *history) capped(verdict intent.Verdict) uint64 {
	return h.find("capped sale", func(it *intent.Intent) bool {
		at := h.position(it.Index)
		return it.Offer == 1 && at >= 0 && h.rows[at].Verdict == verdict && it.Partner == 0
	})
}

// play makes attempts of an intent that is due at index ms: one per outcome,
// each 5 ms long.
func (h *history) play(index uint64, outcomes ...intent.Outcome) {
	cell := &h.cfg.Cells[index]
	*cell = Cell{DueNs: int64(index) * msNs, Flags: Released}
	for attempt, outcome := range outcomes {
		beganNs := cell.DueNs + int64(attempt)*10*msNs
		cell.Dispatched(beganNs)
		cell.Ended(beganNs+5*msNs, outcome, 200)
		if outcome != intent.Acked {
			cell.GaveUp(intent.ReasonRefused)
		}
	}
}

// row is what a faithful ledger says of an intent: everything, 3 ms after it
// was due.
func (h *history) row(index uint64, verdict intent.Verdict) Row {
	it := h.at(index)
	recorded := startUnixNs + int64(index)*msNs + 3*msNs
	return Row{ClickID: it.ClickID, TxID: it.TxID, OfferID: []byte(h.offer(it).ID), Event: it.Event, Verdict: verdict,
		Payout: it.Payout, HasPayout: true, Currency: it.Currency, RecordedUnixNs: recorded, ReceivedUnixNs: recorded - msNs}
}

func (h *history) add(rows ...Row) { h.rows = append(h.rows, rows...) }

// position is where the first row of an intent is, -1 if nowhere.
func (h *history) position(index uint64) int {
	id := string(h.at(index).ClickID)
	return slices.IndexFunc(h.rows, func(r Row) bool { return string(r.ClickID) == id })
}

// of gives a test the first row of an intent to change.
func (h *history) of(index uint64) *Row { return &h.rows[h.position(index)] }

func (h *history) drop(index uint64) {
	at := h.position(index)
	h.rows = slices.Delete(h.rows, at, at+1)
}

func (h *history) take(rows []Row) *Sheet {
	j := NewJudge(h.cfg)
	for i := range rows {
		j.Row(&rows[i])
	}
	return j.Sheet()
}

// judge returns the sheet after the checks that every history must stand: our
// books balance, the order of the rows does not matter, and the simple model
// comes to the same.
func (h *history) judge() *Sheet {
	h.t.Helper()
	s := h.take(h.rows)
	if len(s.Imbalances) > 0 {
		h.t.Fatalf("our books do not balance: %q", s.Imbalances)
	}
	requireSame(h.t, "the model", s, model(&h.cfg, h.rows))
	shuffled := slices.Clone(h.rows)
	slices.Reverse(shuffled)
	requireSame(h.t, "the rows in reverse", s, h.take(shuffled))
	random := rand.New(rand.NewPCG(1, uint64(len(shuffled))))
	for range 2 {
		random.Shuffle(len(shuffled), func(a, b int) { shuffled[a], shuffled[b] = shuffled[b], shuffled[a] })
		requireSame(h.t, "the rows shuffled", s, h.take(shuffled))
	}
	return s
}

func requireSame(t testing.TB, other string, got, want *Sheet) {
	t.Helper()
	g, w := comparable(got), comparable(want)
	if reflect.DeepEqual(g, w) {
		return
	}
	t.Errorf("the judge's sheet, against %s: %s", other, difference(want, got))
	for i, v := 0, reflect.ValueOf(g); i < v.NumField(); i++ {
		if g, w := v.Field(i).Interface(), reflect.ValueOf(w).Field(i).Interface(); !reflect.DeepEqual(g, w) {
			t.Errorf("%s is\n%+v, not\n%+v", v.Type().Field(i).Name, g, w)
		}
	}
	t.FailNow()
}

// comparableSheet has its histograms replaced by what they say: comparing all
// their buckets would take up most of the time.
type comparableSheet struct {
	Sheet
	Latencies [2][6]int64
}

func comparable(s *Sheet) comparableSheet {
	c := comparableSheet{Sheet: *s}
	for i, h := range []*hist.Histogram{s.Delivery, s.Recorded} {
		if h != nil {
			median, _ := h.Percentile(50)
			c.Latencies[i] = [6]int64{h.Count(), h.Censored(), h.MinNs(), h.MeanNs(), h.MaxNs(), median}
		}
	}
	c.Delivery = nil
	if c.Recorded != nil {
		c.Recorded = &hist.Histogram{} // known
	}
	return c
}

// difference says how a sheet differs from another: "recorded -1 …".
func difference(from, to *Sheet) string {
	before, after := figures(from), figures(to)
	names := map[string]bool{}
	for name := range before {
		names[name] = true
	}
	for name := range after {
		names[name] = true
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if d := after[name] - before[name]; d != 0 {
			list = append(list, fmt.Sprintf("%s %+d", name, d))
		}
	}
	return strings.Join(list, ", ")
}

// figures flattens the counts and sums of a sheet.
func figures(s *Sheet) map[string]int64 {
	f := s.Fates
	m := map[string]int64{
		"intents": s.Intents, "attempts": s.Attempts, "acked": s.AckedAttempts,
		"recorded": f.Recorded, "recorded_unacked": f.RecordedUnacked, "lost_after_ack": f.LostAfterAck,
		"lost_at_partner": f.LostAtPartner, "rejected": f.Rejected, "forged_accepted": f.ForgedAccepted,
		"double_counted": s.DoubleCounted, "phantom": s.Phantom, "wrong_verdict": s.WrongVerdict,
		"wrong_payload": s.WrongPayload, "conflicts": s.Conflicts, "repeats": s.Repeats, "filtered": s.FilteredRows,
	}
	if s.FalseDuplicates != nil {
		m["false_duplicate"] = *s.FalseDuplicates
	}
	for reason, n := range s.Drops {
		m["reason "+intent.Reason(reason).String()] = n
	}
	for verdict, n := range s.Verdicts {
		m["rows "+intent.Verdict(verdict).String()] = n
	}
	for _, c := range s.Money {
		name := c.Currency.String() + " "
		m[name+"partner"], m[name+"recorded"] = c.PartnerCount, c.RecordedCount
		m[name+"missing"], m[name+"surplus"], m[name+"left out"] = c.MissingCount, c.SurplusCount, c.LeftOutCount
		for what, sum := range map[string]postback.Money{"partner": c.PartnerMicros, "recorded": c.RecordedMicros,
			"missing": c.MissingMicros, "surplus": c.SurplusMicros, "left out": c.LeftOutMicros} {
			m[name+what+" µ"] = int64(sum)
		}
	}
	for i := range s.Caps {
		w := &s.Caps[i]
		name := strings.TrimSpace(w.OfferID+" "+w.Window) + " "
		m[name+"billable"], m[name+"over cap"], m[name+"before closing"] = w.Billable, w.OverCap, w.BeforeClosing
		m[name+"billed_overshoot"], m[name+"traffic_overshoot"], m[name+"undershoot"] = w.BilledOvershoot(), w.TrafficOvershoot(), w.Undershoot()
	}
	return m
}
