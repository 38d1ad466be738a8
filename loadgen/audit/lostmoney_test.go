package audit

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// mechanisms is a list as text: "USD -10 refused x1".
func mechanisms(list []LostMoney) string {
	var text []string
	for _, l := range list {
		sign := "-"
		if l.Surplus {
			sign = "+"
		}
		text = append(text, fmt.Sprintf("%s %s%d %s x%d", l.Currency, sign, int64(l.Micros), l.Mechanism, l.Count))
	}
	return strings.Join(text, ", ")
}

func TestMechanisms(t *testing.T) {
	gaveUp := func(reason intent.Reason) func(h *history) {
		return func(h *history) {
			h.drop(h.sale())
			h.play(h.sale(), intent.Refused)
			h.cfg.Cells[h.sale()].GaveUp(reason)
		}
	}
	again := func(payouts ...postback.Money) func(h *history) {
		return func(h *history) {
			row := *h.of(h.sale())
			h.of(h.sale()).Payout = payouts[0]
			for _, row.Payout = range payouts[1:] {
				h.add(row)
			}
		}
	}
	for _, c := range []struct {
		name   string
		inject func(h *history)
		want   string
	}{
		{"nothing", func(*history) {}, ""},
		{"lost after ack", func(h *history) { h.drop(h.sale()) }, "USD -10 lost_after_ack x1"},
		{"queue full", gaveUp(intent.QueueFull), "USD -10 queue_full x1"},
		{"timed out", gaveUp(intent.ReasonTimedOut), "USD -10 timed_out x1"},
		{"errored", gaveUp(intent.ReasonErrored), "USD -10 errored x1"},
		{"retries exhausted", gaveUp(intent.RetriesExhausted), "USD -10 retries_exhausted x1"},
		{"no reason noted", gaveUp(intent.NoReason), "USD -10 run_ended x1"},
		{"recorded, unacked", func(h *history) { h.play(h.sale(), intent.TimedOut) }, ""},
		{"recorded, unpaid", func(h *history) { h.of(h.sale()).Verdict = intent.Late }, "USD -10 wrong_verdict x1"},
		{"rightly unpaid", func(h *history) { h.of(h.capped(intent.Billable)).Verdict = intent.OverCap }, ""},
		{"a lead paid", func(h *history) {
			row := h.of(h.find("lead", func(it *intent.Intent) bool { return it.Event == postback.EventLead && it.Kind == intent.Legitimate }))
			row.Verdict, row.Payout, row.Currency = intent.Billable, 7, gbp
		}, "GBP +7 wrong_verdict x1"},
		{"another currency", func(h *history) { h.of(h.sale()).Currency = gbp }, "GBP +10 wrong_currency x1, USD -10 wrong_currency x1"},
		{"too much", again(12), "USD +2 wrong_amount x1"},
		{"too little", again(9), "USD -1 wrong_amount x1"},
		{"twice", again(10, 10), "USD +10 double_counted x1"},
		{"three times", again(10, 10, 4), "USD +14 double_counted x2"},
		{"twice, and right in the sum", again(7, 3), "USD +0 double_counted x1"},
		{"twice, and too little", again(3, 3), "USD -4 wrong_amount x1, USD +0 double_counted x1"},
		{"forged", func(h *history) { h.add(h.row(h.kind(intent.BadSignature), intent.Billable)) }, "USD +10 forged_accepted x1"},
		{"phantom", func(h *history) {
			row := *h.of(h.sale())
			row.ClickID, row.Payout = []byte("x"), 6
			h.add(row)
		}, "USD +6 phantom x1"},
		{"the dearest first", func(h *history) {
			again(10, 10, 10)(h)
			h.drop(h.capped(intent.Billable))
			h.drop(h.muteSale())
		}, "EUR -40 lost_after_ack x1, USD +20 double_counted x2, USD -10 lost_after_ack x1"},
	} {
		h := flawless(t)
		c.inject(h)
		if got := mechanisms(h.judge().LostMoney); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Each partner's money is its own; the phantoms are nobody's.
func TestMoneyOfPartners(t *testing.T) {
	h := flawless(t)
	h.drop(h.sale())
	h.drop(h.muteSale())
	h.add(h.row(h.find("another", func(it *intent.Intent) bool {
		return it.Kind == intent.Legitimate && it.Partner == 1 && it.Payable() && it.Offer == 2
	}), intent.Billable))
	phantom := *h.of(h.kind(intent.UnknownClick))
	phantom.ClickID, phantom.Verdict = []byte("x"), intent.Billable
	h.add(phantom)
	s := h.judge()
	for i, want := range []string{"USD -10 lost_after_ack x1", "USD -10 lost_after_ack x1, USD +3 double_counted x1"} {
		if got := mechanisms(s.Partners[i].LostMoney); got != want {
			t.Errorf("partner %d: %s, want %s", i, got, want)
		}
	}
	total := newAccount().money
	total.unexpectedly(phantom)
	for _, p := range s.Partners {
		for _, m := range p.Money {
			total.plus(moneyBook{m.Currency: m})
		}
	}
	if got := total.sorted(); !slices.Equal(got, s.Money) {
		t.Errorf("the partners' money and the phantom are %+v of %+v", got, s.Money)
	}
}

// unexpectedly books a phantom without the judge's hands.
func (b moneyBook) unexpectedly(row Row) {
	b.plus(moneyBook{row.Currency: {RecordedMicros: row.Payout, SurplusMicros: row.Payout, RecordedCount: 1, SurplusCount: 1}})
}

func TestAttemptsPerIntent(t *testing.T) {
	h := salesRun(t, 12)
	for i, attempts := range []int{0, 1, 2, 7, 8, 9, 250} {
		h.play(uint64(i), slices.Repeat([]intent.Outcome{intent.Refused}, attempts)...)
	}
	h.cfg.Cells[11] = Cell{} // never released: no intent yet
	want := [9]int64{0: 1, 1: 1 + 4, 2: 1, 7: 1, 8: 3}
	if p := h.judge().Partners[0]; p.AttemptsPerIntent != want || p.Intents != 11 {
		t.Errorf("%v of %d intents, want %v", p.AttemptsPerIntent, p.Intents, want)
	}
}

// Amounts beyond all bounds wrap around in both books alike.
func TestMechanismsOfAbsurdAmounts(t *testing.T) {
	h := salesRun(t, 3)
	for i := range h.rows {
		h.rows[i].Payout = math.MaxInt64
	}
	h.rows[2].Payout = math.MinInt64
	h.add(h.rows[0], h.rows[1])
	if s := h.take(h.rows); !s.Money[0].Overflowed || len(s.Imbalances) != 0 {
		t.Errorf("%+v, %q", s.Money, s.Imbalances)
	}
}

func TestExplains(t *testing.T) {
	h := flawless(t)
	h.drop(h.sale())
	h.of(h.muteSale()).Verdict = intent.Late
	h.add(h.row(h.kind(intent.BadSignature), intent.Billable))
	s := h.judge()
	if len(s.LostMoney) != 3 || !explains(s.LostMoney, s.Money) {
		t.Fatalf("%s do not explain %+v", mechanisms(s.LostMoney), s.Money)
	}
	for name, spoil := range map[string]func(list []LostMoney) []LostMoney{
		"an amount":         func(list []LostMoney) []LostMoney { list[0].Micros++; return list },
		"a count":           func(list []LostMoney) []LostMoney { list[0].Count++; return list },
		"the direction":     func(list []LostMoney) []LostMoney { list[0].Surplus = !list[0].Surplus; return list },
		"a mechanism short": func(list []LostMoney) []LostMoney { return list[1:] },
		"another currency":  func(list []LostMoney) []LostMoney { list[0].Currency = gbp; return list },
	} {
		if explains(spoil(slices.Clone(s.LostMoney)), s.Money) {
			t.Errorf("%s is not noticed", name)
		}
	}
}
