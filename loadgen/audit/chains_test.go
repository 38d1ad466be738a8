package audit

import (
	"testing"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// chainsRun is a flawless run in which conversions report several events.
func chainsRun(t testing.TB) *history {
	spec := testSpec()
	spec.Partners[1].NoEvents = true
	spec.Mix.Chains = []intent.Chain{
		{Events: []postback.Event{postback.EventLead, postback.EventSale, postback.EventRejected}, Share: 0.1},
		{Events: []postback.Event{postback.EventSale, postback.EventRefund}, Share: 0.05},
	}
	spec.Mix.ChainLag, spec.Mix.Late = 25, 0.03
	h := newHistory(t, spec, planned)
	h.cfg.MaxAttemptNs = 1e9
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
		case it.Event.Reverses():
			verdict = intent.Reversal
		case it.Late:
			verdict = intent.Late
		case it.Payout == 0:
			verdict = intent.NonBillable
		}
		h.add(h.row(i, verdict))
	}
	return h
}

// step is the first step number n of the longer chain; its row has an index
// of its own because all steps share their ids.
func (h *history) step(n uint64) (index uint64, row int) {
	index = h.find("chain", func(it *intent.Intent) bool { return it.ChainSteps == 3 && it.Origin == it.Index && it.Offer == 0 })
	index += n * h.cfg.Intents.Spec().Mix.ChainLag
	for i := range h.rows {
		if it := h.at(index); string(h.rows[i].TxID) == string(it.TxID) && h.rows[i].Event == it.Event {
			return index, i
		}
	}
	h.t.Fatalf("step %d of the chain has no row", n)
	return 0, 0
}

func TestChainsAreJudgedStepByStep(t *testing.T) {
	base := chainsRun(t).judge()
	if f := base.Fates; f.LostAfterAck+f.LostAtPartner+base.Repeats+base.Phantom+base.WrongVerdict+base.WrongPayload != 0 ||
		base.Verdicts[intent.Reversal] == 0 || base.Verdicts[intent.Late] == 0 || len(base.LostMoney) != 0 {
		t.Fatalf("not flawless: %+v", base)
	}
	for _, c := range []struct {
		name   string
		inject func(h *history)
		want   string
	}{
		{"the lead is lost", func(h *history) {
			_, row := h.step(0)
			h.rows = append(h.rows[:row], h.rows[row+1:]...)
		}, "lost_after_ack +1, recorded -1, rows non_billable -1"},
		{"the sale is lost", func(h *history) {
			_, row := h.step(1)
			h.rows = append(h.rows[:row], h.rows[row+1:]...)
		}, "USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, lost_after_ack +1, recorded -1, rows billable -1"},
		{"the sale is paid twice", func(h *history) {
			_, row := h.step(1)
			h.add(h.rows[row])
		}, "USD recorded +1, USD recorded µ +10, USD surplus +1, USD surplus µ +10, double_counted +1, repeats +1, rows billable +1"},
		{"the rejection is ignored", func(h *history) {
			_, row := h.step(2)
			h.rows[row].Verdict = intent.Duplicate
		}, "false_duplicate +1, lost_after_ack +1, recorded -1, rows duplicate +1, rows reversal -1"},
		{"the sale was never sent", func(h *history) {
			index, row := h.step(1)
			h.cfg.Cells[index] = Cell{}
			h.rows[row].Verdict = intent.NonBillable
		}, "USD partner -1, USD partner µ -10, USD recorded -1, USD recorded µ -10, acked -1, attempts -1, intents -1, phantom +1, recorded -1, rows billable -1"},
		{"an event that the chain has not", func(h *history) {
			_, row := h.step(0)
			h.rows[row].Event = postback.EventRebill
		}, "lost_after_ack +1, phantom +1, recorded -1, rows non_billable -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := chainsRun(t)
			c.inject(h)
			if got := difference(base, h.judge()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A ledger that does not tell the events cannot be judged step by step, and
// the sheet says so.
func TestChainsWithoutEvents(t *testing.T) {
	h := chainsRun(t)
	rows := int64(0)
	for i := range h.rows {
		h.rows[i].Event = postback.EventNone
	}
	for i := range uint64(planned) {
		if h.at(i).ChainSteps > 0 {
			rows++
		}
	}
	s := h.judge()
	if s.ChainRowsWithoutEvent != rows || rows == 0 || s.Phantom != 0 || s.Repeats == 0 {
		t.Errorf("%d rows of chains without an event, want %d; %d phantoms, %d repeats", s.ChainRowsWithoutEvent, rows, s.Phantom, s.Repeats)
	}
}
