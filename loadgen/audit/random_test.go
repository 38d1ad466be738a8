package audit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// TestRandomHistories holds the judge against the model over small histories
// in which anything may happen to anything.
func TestRandomHistories(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(randomHistories) {
		h := randomHistory(t, seed)
		s := h.judge()
		for name, n := range figures(s) {
			if n != 0 {
				seen[name] = true
			}
		}
		if s.Recorded == nil {
			seen["times not known"] = true
		}
		for _, w := range s.Caps {
			seen["visible"] = seen["visible"] || w.VisibleNs > 0
			seen["unwatched"] = seen["unwatched"] || w.Unwatched
		}
		for _, l := range s.LostMoney {
			seen[fmt.Sprint(l.Mechanism, " ", l.Surplus)] = true
		}
		seen["chain without event"] = seen["chain without event"] || s.ChainRowsWithoutEvent > 0
		if t.Failed() {
			t.Fatalf("history %d", seed)
		}
	}
	if randomHistories < 1_000 {
		return
	}
	// A model test that never gets somewhere proves nothing about it.
	for _, name := range []string{"recorded", "recorded_unacked", "lost_after_ack", "lost_at_partner", "rejected", "forged_accepted",
		"double_counted", "phantom", "wrong_verdict", "wrong_payload", "conflicts", "repeats", "filtered", "false_duplicate",
		"rows late", "USD left out", "USD missing", "USD surplus", "EUR surplus µ", "reason run_ended", "times not known", "visible",
		"rows reversal", "chain without event", "queue_full false", "timed_out false", "run_ended false", "lost_after_ack false",
		"wrong_verdict false", "wrong_verdict true", "wrong_currency false", "wrong_currency true", "wrong_amount false", "wrong_amount true",
		"double_counted true", "forged_accepted true", "phantom true",
		"o0 billed_overshoot", "o0 traffic_overshoot", "o0 undershoot", "o1 w billed_overshoot", "o1 w undershoot", "unwatched"} {
		if !seen[name] {
			t.Errorf("no history has any %q", name)
		}
	}
}

// dice makes random choices.
type dice struct{ *rand.Rand }

func (d dice) chance(p float64) bool { return d.Float64() < p }

func one[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func randomHistory(t testing.TB, seed uint64) *history {
	d := dice{rand.New(rand.NewPCG(seed, 17))}
	n := 1 + d.IntN(12)
	h := newHistory(t, d.spec(t, n), n)
	h.cfg.Carries = nil
	for _, p := range h.cfg.Intents.Spec().Partners {
		h.cfg.Carries = append(h.cfg.Carries, Carries{TxID: d.chance(0.7), OfferID: d.chance(0.7), Event: !p.NoEvents,
			Payout: d.chance(0.8), Currency: d.chance(0.8)})
	}
	h.cfg.ClockKnown = d.chance(0.7)
	h.cfg.ClockOffsetNs = one[int64](d, 0, 0, 3*msNs, -3*msNs, 2e9)
	h.cfg.WarmupNs = one[int64](d, 0, 0, 3*msNs)
	h.cfg.MaxAttemptNs = one[int64](d, 0, 1e9, 5e9)
	if d.chance(0.7) {
		for range h.cfg.Intents.Spec().Offers {
			h.cfg.ClosedSeenNs = append(h.cfg.ClosedSeenNs, one[int64](d, NeverClosed, 0, int64(n/2)*msNs, int64(n)*msNs, 1<<40))
		}
	}
	for i := range uint64(n) {
		d.cell(h, i)
	}
	other := *h.cfg.Intents.Spec()
	other.RunNumber++
	otherRun := newHistory(t, other, n)
	for range d.IntN(2*n + 3) {
		h.add(d.row(h, otherRun))
	}
	for i := range h.cfg.Intents.Spec().Offers {
		for _, window := range []string{"", "v", "w"} {
			if d.chance(0.2) {
				h.cfg.Closings = append(h.cfg.Closings, Closing{i, window, one[int64](d, NeverClosed, 0, int64(n/2)*msNs, 1<<40)})
			}
		}
	}
	return h
}

func (d dice) spec(t testing.TB, n int) intent.Spec {
	spec := intent.Spec{Seed: d.Uint64(), RunNumber: d.Uint32N(3), EpochUnixS: startUnixNs / 1_000_000_000}
	share := func() float64 { return one[float64](d, 0, 0, 0.1, 0.3) / 2 }
	spec.Mix = intent.Mix{UnknownClicks: share(), BadSignatures: share(), Malformed: share(), UnknownPartner: share(), Leads: share()}
	for i := range 1 + d.IntN(2) {
		spec.Partners = append(spec.Partners, intent.Partner{Name: fmt.Sprint("p", i), Share: 1, NoEvents: d.chance(0.3)})
	}
	for i := range 1 + d.IntN(3) {
		spec.Offers = append(spec.Offers, intent.Offer{ID: fmt.Sprint("o", i), Share: 1, Payout: one[postback.Money](d, 10, 10, 40, 0),
			Currency: one(d, usd, eur), Cap: one[int64](d, 0, 1, 2, 3),
			AttributionWindowS: one[int64](d, 0, 0, 60, 1800, 1801, 3600)})
	}
	d.spice(&spec)
	if d.chance(0.2) {
		var ids []string
		for i := range n {
			ids = append(ids, fmt.Sprint("own-", one(d, i, i, i, 0)))
		}
		list, err := intent.ReadClicks("", strings.NewReader(strings.Join(ids, "\n")), nil)
		if err != nil {
			t.Fatal(err)
		}
		spec.Clicks = list
	}
	return spec
}

// spice adds what not every mix allows.
func (d dice) spice(spec *intent.Spec) {
	allowed := func() bool {
		_, err := intent.New(*spec)
		return err == nil
	}
	plain := spec.Mix
	lead, sale, refund := postback.EventLead, postback.EventSale, postback.EventRefund
	if d.chance(0.4) {
		spec.Mix.Chains = []intent.Chain{{Events: one(d, []postback.Event{lead, sale}, []postback.Event{sale, refund},
			[]postback.Event{lead, sale, postback.EventRejected}), Share: one(d, 0.1, 0.15)}}
		spec.Mix.ChainLag = one[uint64](d, 1, 2, 3)
	}
	if !allowed() {
		spec.Mix = plain
	}
	plain = spec.Mix
	if spec.Mix.Late = one(d, 0, 0, 0.05); !allowed() {
		spec.Mix = plain
	}
}

// cell plays an intent in any way.
func (d dice) cell(h *history, index uint64) {
	if d.chance(0.1) {
		return // never released
	}
	var outcomes []intent.Outcome
	for range one(d, 0, 1, 1, 1, 1, 2, 3) {
		outcomes = append(outcomes, one(d, intent.Acked, intent.Acked, intent.Refused, intent.TimedOut, intent.Errored))
	}
	h.play(index, outcomes...)
	h.cfg.Cells[index].GaveUp(one(d, intent.NoReason, intent.QueueFull, intent.ReasonTimedOut, intent.Reasons))
}

// row is a row of some intent, right or wrong in any way.
func (d dice) row(h, otherRun *history) Row {
	index := d.Uint64N(uint64(len(h.cfg.Cells)))
	if d.chance(0.03) {
		return otherRun.row(index, intent.Billable)
	}
	if d.chance(0.03) {
		index = uint64(len(h.cfg.Cells)) + d.Uint64N(3)
	}
	row := h.row(index, one(d, intent.Billable, intent.Billable, intent.Billable, intent.OverCap, intent.OverCap, intent.NonBillable,
		intent.Reversal, intent.Unattributed, intent.Late, intent.Duplicate, intent.Duplicate, intent.Conflict, intent.VerdictUnknown))
	if len(h.rows) > 0 && d.chance(0.25) { // something of a row that is there already
		row.ClickID, row.TxID, row.Event = h.rows[0].ClickID, h.rows[0].TxID, h.rows[0].Event
	}
	if d.chance(0.3) {
		row.RecordedUnixNs = one[int64](d, 0, -1, row.RecordedUnixNs+9*msNs, startUnixNs-1, startUnixNs-1e9-1, startUnixNs-1e10)
	}
	if d.chance(0.3) {
		row.ReceivedUnixNs = one[int64](d, 0, 0, row.RecordedUnixNs, startUnixNs-1, startUnixNs-1e10)
	}
	if d.chance(0.1) {
		row.ClickID = one(d, []byte("foreign"), nil, []byte("own-0"), []byte("own-1"))
	}
	if d.chance(0.15) {
		row.TxID = one(d, nil, []byte{}, []byte("foreign"), h.at(index+1).TxID)
	}
	if d.chance(0.15) {
		row.OfferID = one(d, nil, []byte("o0"), []byte("o1"), []byte("foreign"))
	}
	if d.chance(0.1) {
		row.Event = one(d, postback.EventNone, postback.EventLead, postback.EventRefund)
	}
	if d.chance(0.15) {
		row.Payout, row.HasPayout = one[postback.Money](d, 0, -5, 10, 13), d.chance(0.8)
	}
	if d.chance(0.15) {
		row.Currency = one(d, postback.Currency{}, usd, eur, gbp)
	}
	if d.chance(0.2) {
		row.CapWindow = one(d, "w", "v")
	}
	return row
}

// FuzzHostileLedger judges any text whatsoever: no panic, no imbalance, and
// the model agrees.
func FuzzHostileLedger(f *testing.F) {
	h := flawless(f)
	var honest bytes.Buffer
	for _, row := range h.rows[:12] {
		writeRow(&honest, &row)
	}
	f.Add(honest.Bytes())
	f.Add([]byte(`{"click_id":"x","verdict":"billable","payout":"9223372036854.775807"}` + "\n"))
	f.Add([]byte(`{"click_id":"","txid":"","verdict":"duplicate","recorded_unix_ns":-1}` + "\n"))
	h.cfg.Cells = h.cfg.Cells[:40]
	h.cfg.ClosedSeenNs = []int64{NeverClosed, 5 * msNs, 0}
	f.Fuzz(func(t *testing.T, text []byte) {
		h.t, h.rows = t, nil
		if err := ReadNDJSON("f", bytes.NewReader(text), func(r *Row) { h.add(*r) }); err != nil {
			requireLedgerError(t, err)
		}
		s := h.take(h.rows)
		if len(s.Imbalances) > 0 {
			t.Fatalf("our books do not balance: %q", s.Imbalances)
		}
		for _, m := range s.Money {
			if m.Overflowed {
				return
			}
		}
		h.judge()
	})
}
