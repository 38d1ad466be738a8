package audit

import (
	"fmt"
	"math"
	"testing"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// salesRun is n plain acked and recorded sales of payout 1 EUR.
func salesRun(t testing.TB, n int) *history {
	spec := testSpec()
	spec.Mix = intent.Mix{}
	spec.Partners = spec.Partners[:1]
	spec.Offers = []intent.Offer{{ID: "o", Share: 1, Payout: 1, Currency: eur}}
	h := newHistory(t, spec, n)
	for i := range uint64(n) {
		h.play(i, intent.Acked)
		h.add(h.row(i, intent.Billable))
	}
	return h
}

// windowRun is one sale whose click's attribution window ends endNs after the
// run's start; it was sent at 0 and answered 5 ms later.
func windowRun(t *testing.T, endNs int64, outcomes ...intent.Outcome) *history {
	spec := testSpec()
	spec.Mix = intent.Mix{}
	spec.Partners = spec.Partners[:1]
	spec.Offers = []intent.Offer{{ID: "o", Share: 1, Payout: 1, Currency: eur, AttributionWindowS: 3_600}}
	h := newHistory(t, spec, 1)
	h.cfg.StartUnixNs = (h.cfg.Intents.ClickUnixS(0)+3_600)*1e9 - endNs
	h.play(0, outcomes...)
	return h
}

func TestLateness(t *testing.T) {
	const s = 1_000_000_000
	for _, c := range []struct {
		name                 string
		endNs, offsetNs      int64
		outcomes             []intent.Outcome
		wantBillable, wantOK bool // is billable, is late admissible
	}{
		{"in time", 2 * s, 0, []intent.Outcome{intent.Acked}, true, false},
		{"the end is under way", 3 * msNs, 0, []intent.Outcome{intent.Acked}, true, true},
		{"too late", -2 * s, 0, []intent.Outcome{intent.Acked}, false, true},
		{"a retry comes after the end", 12 * msNs, 0, []intent.Outcome{intent.Errored, intent.Acked}, true, true},
		{"an unanswered attempt may have come after the end", 2 * s, 0, []intent.Outcome{intent.TimedOut}, true, true},
		{"one of two attempts is unanswered", 2 * s, 0, []intent.Outcome{intent.TimedOut, intent.Acked}, true, true},
		{"not after any patience", 9 * s, 0, []intent.Outcome{intent.TimedOut}, true, false},
		{"the server's clock is ahead: late for it", 2 * s, -4 * s, []intent.Outcome{intent.Acked}, false, true},
		{"the server's clock is behind: in time for it", -2 * s, 4 * s, []intent.Outcome{intent.Acked}, true, false},
	} {
		for _, verdict := range []intent.Verdict{intent.Billable, intent.Late} {
			h := windowRun(t, c.endNs, c.outcomes...)
			h.cfg.MaxAttemptNs, h.cfg.ClockOffsetNs = 5*s, c.offsetNs
			h.add(h.row(0, verdict))
			h.rows[0].RecordedUnixNs = h.cfg.StartUnixNs - c.offsetNs + 2*msNs
			h.rows[0].ReceivedUnixNs = 0
			sheet := h.judge()
			want := int64(1)
			if verdict == intent.Billable && c.wantBillable || verdict == intent.Late && c.wantOK {
				want = 0
			}
			if sheet.WrongVerdict != want {
				t.Errorf("%s: %s: wrong verdict %d, want %d", c.name, verdict, sheet.WrongVerdict, want)
			}
			m := sheet.Money[0]
			if leftOut := verdict == intent.Late && c.wantOK; leftOut != (m.LeftOutCount == 1) || leftOut == (m.PartnerCount == 1) {
				t.Errorf("%s: %s: money %+v", c.name, verdict, m)
			}
		}
	}
}

// An offset that nobody measured is none.
func TestUnknownClock(t *testing.T) {
	h := windowRun(t, 2e9, intent.Acked)
	h.cfg.ClockKnown, h.cfg.ClockOffsetNs = false, -4e9
	old := h.row(0, intent.Billable)
	h.add(old, old)
	h.rows[0].RecordedUnixNs, h.rows[0].ReceivedUnixNs = 0, 0
	h.rows[1].ClickID, h.rows[1].RecordedUnixNs = []byte("old"), h.cfg.StartUnixNs-1
	if s := h.judge(); s.WrongVerdict != 0 || s.Fates.Recorded != 1 || s.FilteredRows != 1 || s.Recorded != nil {
		t.Errorf("%+v", s)
	}
}

func TestLatencies(t *testing.T) {
	h := salesRun(t, 10)
	h.cfg.WarmupNs = 4 * msNs // intents 0 to 3
	h.play(5, intent.TimedOut, intent.Acked)
	h.play(6, intent.TimedOut)
	h.drop(6)
	h.drop(7)
	h.play(8, intent.Errored) // recorded, not acked
	h.of(9).RecordedUnixNs += 40 * msNs
	s := h.judge()
	for name, c := range map[string]struct {
		got                    *hist.Histogram
		count, censored        int64
		minNs, meanNs, maxNsOr int64
	}{
		"delivery": {s.Delivery, 4, 2, 5 * msNs, (3*5 + 15) * msNs / 4, 15 * msNs},
		"recorded": {s.Recorded, 4, 2, 3 * msNs, (3*3 + 43) * msNs / 4, 43 * msNs},
	} {
		near := math.Abs(float64(c.got.MeanNs()-c.meanNs)) < 0.001*float64(c.meanNs)
		if c.got.Count() != c.count || c.got.Censored() != c.censored || c.got.MinNs() != c.minNs || c.got.MaxNs() != c.maxNsOr || !near {
			t.Errorf("%s: %d entries, %d censored, %d to %d ns, mean %d; want %+v", name, c.got.Count(), c.got.Censored(),
				c.got.MinNs(), c.got.MaxNs(), c.got.MeanNs(), c)
		}
	}
	if f := s.Fates; f.Recorded != 7 || f.RecordedUnacked != 1 || f.LostAfterAck != 1 || f.LostAtPartner != 1 {
		t.Errorf("the warm-up belongs to the fates: %+v", f)
	}
}

func TestRecordedLatency(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*history)
		wantNs int64 // -1 = not known
	}{
		"same clock":       {func(h *history) {}, 3 * msNs},
		"server behind":    {func(h *history) { h.cfg.ClockOffsetNs = 2 * msNs }, 5 * msNs},
		"server ahead":     {func(h *history) { h.cfg.ClockOffsetNs = -2 * msNs }, 1 * msNs},
		"clock not known":  {func(h *history) { h.cfg.ClockKnown = false }, -1},
		"no time":          {func(h *history) { h.rows[0].RecordedUnixNs = 0 }, -1},
		"negative time":    {func(h *history) { h.rows[0].RecordedUnixNs = -5 }, -1},
		"no time, warm-up": {func(h *history) { h.rows[0].RecordedUnixNs, h.cfg.WarmupNs = 0, 1 }, 0},
		"the earliest row counts": {func(h *history) {
			h.add(h.rows[0])
			h.rows[0].RecordedUnixNs += 9 * msNs
			h.rows[0].Verdict = intent.NonBillable
		}, 3 * msNs},
		"a duplicate row says nothing": {func(h *history) {
			h.add(h.rows[0])
			h.rows[1].RecordedUnixNs -= msNs
			h.rows[1].Verdict = intent.Duplicate
		}, 3 * msNs},
		"one of two rows has a time": {func(h *history) {
			h.add(h.rows[0])
			h.rows[0].RecordedUnixNs = 0
		}, 3 * msNs},
		"a time in another age": {func(h *history) { h.rows[0].RecordedUnixNs = math.MaxInt64 }, hist.HighestNs},
	} {
		h := salesRun(t, 1)
		h.cfg.ClockOffsetNs = 0
		c.change(h)
		got := int64(-1)
		if s := h.judge(); s.Recorded != nil {
			got = s.Recorded.MaxNs()
		}
		if got != c.wantNs {
			t.Errorf("%s: %d ns, want %d", name, got, c.wantNs)
		}
	}
}

func TestIllegitimateIntentsAreNotTimed(t *testing.T) {
	spec := testSpec()
	spec.Mix = intent.Mix{Malformed: 1}
	h := newHistory(t, spec, 5)
	for i := range uint64(5) {
		h.play(i, intent.Acked)
	}
	h.add(h.row(0, intent.Billable))
	if s := h.judge(); s.Delivery.Count()+s.Delivery.Censored()+s.Recorded.Count()+s.Recorded.Censored() != 0 {
		t.Errorf("%d deliveries, %d recorded", s.Delivery.Count(), s.Recorded.Count())
	}
}

func TestWorstList(t *testing.T) {
	h := flawless(t)
	h.rows = nil
	for i := range uint64(planned) {
		if i%3 == 0 && h.at(i).Kind.Legitimate() {
			h.play(i, intent.TimedOut)
		}
	}
	list := h.judge().Worst // the model sorts all of them
	if len(list) != MaxWorst {
		t.Fatalf("%d entries", len(list))
	}
	for i, lost := range list {
		if lost.Fate != FateLostAfterAck || lost.Payout != 40 || i > 0 && lost.Index <= list[i-1].Index {
			t.Errorf("entry %d is %+v", i, lost)
		}
	}
}

func TestWorstListIsBounded(t *testing.T) {
	const lost = 1_000
	h := salesRun(t, lost)
	h.rows = nil
	for i := range uint64(lost) {
		if i != 7 && i != 990 {
			h.play(i, intent.TimedOut)
		}
	}
	s := h.judge()
	var got []uint64
	for _, l := range s.Worst {
		got = append(got, l.Index)
	}
	want := fmt.Sprint([]uint64{7, 990, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18})
	if fmt.Sprint(got) != want || s.Fates.LostAtPartner != lost-2 {
		t.Errorf("worst %v, want %s; fates %+v", got, want, s.Fates)
	}
	it := h.at(7)
	wantFirst := Lost{Index: 7, ClickID: string(it.ClickID), TxID: string(it.TxID), Event: postback.EventSale, Payout: 1, Currency: eur,
		Fate: FateLostAfterAck, DueNs: 7 * msNs, DispatchedNs: 7 * msNs, AckNs: 12 * msNs, LastEndNs: 12 * msNs, LastStatus: 200, Attempts: 1}
	if s.Worst[0] != wantFirst {
		t.Errorf("%+v, want %+v", s.Worst[0], wantFirst)
	}
}

func TestFateWords(t *testing.T) {
	for fate, want := range []string{"recorded", "recorded_unacked", "lost_after_ack", "lost_at_partner", "rejected", "forged_accepted", "invalid"} {
		if got := Fate(fate).String(); got != want {
			t.Errorf("fate %d is %q, want %q", fate, got, want)
		}
	}
	if rate := (&Fates{Recorded: 5, RecordedUnacked: 1, LostAfterAck: 1, LostAtPartner: 3, Rejected: 90}).LossRate(); rate != 0.4 {
		t.Errorf("loss rate %v", rate)
	}
	if rate := (&Fates{Rejected: 1}).LossRate(); rate != 0 {
		t.Errorf("loss rate of nothing: %v", rate)
	}
}

// Amounts that no int64 can sum up are said to mean nothing; the books balance
// all the same.
func TestMoneyOverflow(t *testing.T) {
	for name, payouts := range map[string][]postback.Money{
		"sum of two rows":      {math.MaxInt64, math.MaxInt64},
		"one row far below":    {math.MinInt64},
		"and back into range":  {math.MaxInt64, 1, math.MinInt64},
		"sum of two rows down": {math.MinInt64, -1},
	} {
		h := salesRun(t, 1)
		row := h.rows[0]
		h.rows = nil
		for _, payout := range payouts {
			row.Payout = payout
			h.add(row)
		}
		if s := h.take(h.rows); !s.Money[0].Overflowed || len(s.Imbalances) != 0 {
			t.Errorf("%s: %+v, %q", name, s.Money, s.Imbalances)
		}
	}
	h := salesRun(t, 1)
	h.rows[0].Payout = math.MaxInt64
	if m := h.judge().Money[0]; m.Overflowed || m.SurplusMicros != math.MaxInt64-1 {
		t.Errorf("%+v does not overflow", m)
	}
}

// Judging again, and drawing up the sheet again, gives the same.
func TestJudgingAgain(t *testing.T) {
	h := flawless(t)
	h.add(*h.of(h.sale()), h.row(h.kind(intent.Malformed), intent.Billable))
	h.of(h.capped(intent.Billable)).CapWindow = "w"
	first := h.judge()
	j := NewJudge(h.cfg)
	for i := range h.rows {
		j.Row(&h.rows[i])
		j.Sheet()
	}
	requireSame(t, "one sheet after the other", j.Sheet(), first)
	h.rows = nil
	if s := h.judge(); s.Fates.Recorded != 0 || s.Fates.ForgedAccepted != 0 {
		t.Errorf("an earlier judgement is left in the cells: %+v", s.Fates)
	}
}

func TestAllFound(t *testing.T) {
	h := flawless(t)
	lost := h.sale()
	h.play(h.kind(intent.Malformed), intent.Acked) // nothing to wait for
	j := NewJudge(h.cfg)
	take := func(row Row) { j.Row(&row) }
	for i, row := range h.rows {
		if j.AllFound() {
			t.Fatalf("found after %d of %d rows", i, len(h.rows))
		}
		if i != h.position(lost) {
			take(row)
			take(row)
		}
	}
	row := *h.of(lost)
	for _, verdict := range []intent.Verdict{intent.Duplicate, intent.Conflict} {
		row.Verdict = verdict
		take(row)
	}
	if j.AllFound() {
		t.Error("a duplicate and a conflict row are not the conversion")
	}
	take(*h.of(lost))
	take(*h.of(lost))
	if !j.AllFound() || j.Rows() != int64(2*len(h.rows)+2) {
		t.Errorf("found %v, %d rows", j.AllFound(), j.Rows())
	}
	h.play(h.muteSale(), intent.Refused) // an answer: not waited for
	h.drop(h.muteSale())
	j = NewJudge(h.cfg)
	for _, row := range h.rows {
		take(row)
	}
	if !j.AllFound() {
		t.Error("waits for an intent that the server refused")
	}
	for _, outcomes := range [][]intent.Outcome{{intent.TimedOut}, {intent.Errored}, {intent.TimedOut, intent.Refused}, {intent.Refused, intent.Errored}} {
		h.play(h.muteSale(), outcomes...) // the server may have taken it
		j = NewJudge(h.cfg)
		for _, row := range h.rows {
			take(row)
		}
		if j.AllFound() {
			t.Errorf("does not wait for an intent whose attempts ended with %v", outcomes)
		}
	}
}

// An imbalance is our bug; the equations must be able to fail.
func TestImbalancesAreSeen(t *testing.T) {
	for want, spoil := range map[string]func(*Judge, *history){
		"identities by row and by intent: 400":  func(j *Judge, h *history) { j.rows.identities = 400 },
		"rows and identities + repeats + phant": func(j *Judge, h *history) { j.rows.repeats++ },
		"rows and verdicts + phantoms":          func(j *Judge, h *history) { j.verdicts[intent.Late]++ },
		"billable rows and rows in the money":   func(j *Judge, h *history) { j.rows.billable++ },
		"USD: partner + surplus − missing ≠ re": func(j *Judge, h *history) { h.cfg.Cells[h.sale()].BilledMicros++ },
	} {
		h := flawless(t)
		j := NewJudge(h.cfg)
		for i := range h.rows {
			j.Row(&h.rows[i])
		}
		spoil(j, h)
		if got := j.Sheet().Imbalances; len(got) != 1 || len(got[0]) < len(want) || got[0][:len(want)] != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A run number that was played before would make old rows look like new ones.
func TestOlderRows(t *testing.T) {
	h := flawless(t)
	old := h.of(h.sale())
	old.RecordedUnixNs = h.cfg.StartUnixNs - 2*ownClickSlackNs
	j := NewJudge(h.cfg)
	for _, row := range h.rows {
		j.Row(&row)
	}
	if j.OlderRows() != 1 {
		t.Errorf("%d older rows, want 1", j.OlderRows())
	}
}
