package audit

import (
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// What a run without any fault looks like; every other test says how a fault
// differs from it.
func TestFlawless(t *testing.T) {
	h := flawless(t)
	s := h.judge()
	legitimate, attempts := int64(0), int64(0)
	for i := range uint64(planned) {
		attempts++
		if h.at(i).Kind.Legitimate() {
			legitimate++
		}
	}
	f := s.Fates
	if f.Recorded != legitimate || f.Rejected != planned-legitimate || f.Legitimate() != legitimate || f.LossRate() != 0 || s.Attempts != attempts {
		t.Errorf("fates %+v of %d legitimate intents, %d attempts", f, legitimate, s.Attempts)
	}
	if faults := s.DoubleCounted + s.Phantom + s.WrongVerdict + s.WrongPayload + s.Conflicts + s.Repeats + s.FilteredRows; faults != 0 {
		t.Errorf("%d faults in %+v", faults, s)
	}
	if s.FalseDuplicates != nil || len(s.Worst) != 0 {
		t.Errorf("false duplicates %v, worst %+v", s.FalseDuplicates, s.Worst)
	}
	for _, m := range s.Money {
		if m.PartnerMicros != m.RecordedMicros || m.MissingCount+m.SurplusCount != 0 || m.RecordedCount == 0 {
			t.Errorf("money %+v", m)
		}
	}
	if len(s.Caps) != 1 || s.Caps[0].Billable != testCap || s.Caps[0].OverCap == 0 {
		t.Errorf("caps %+v", s.Caps)
	}
}

type fault struct {
	name   string
	inject func(h *history)
	want   string // how the sheet differs from the flawless one
}

// requireFaults injects each fault alone into a flawless run.
func requireFaults(t *testing.T, faults []fault) {
	t.Helper()
	base := flawless(t).judge()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			h := flawless(t)
			f.inject(h)
			s := h.judge()
			if got := difference(base, s); got != f.want {
				t.Errorf("got  %s\nwant %s", got, f.want)
			}
			requirePartsSum(t, s)
		})
	}
}

// requirePartsSum holds the partners' sheets against the whole one.
func requirePartsSum(t *testing.T, s *Sheet) {
	t.Helper()
	sum := Sheet{Partners: s.Partners}
	for _, p := range s.Partners {
		sum.Intents += p.Intents
		sum.Attempts += p.Attempts
		for reason, n := range p.Drops {
			sum.Drops[reason] += n
		}
		for i, to := range []*int64{&sum.Fates.Recorded, &sum.Fates.RecordedUnacked, &sum.Fates.LostAfterAck,
			&sum.Fates.LostAtPartner, &sum.Fates.Rejected, &sum.Fates.ForgedAccepted} {
			*to += []int64{p.Fates.Recorded, p.Fates.RecordedUnacked, p.Fates.LostAfterAck,
				p.Fates.LostAtPartner, p.Fates.Rejected, p.Fates.ForgedAccepted}[i]
		}
	}
	if sum.Intents != s.Intents || sum.Attempts != s.Attempts || sum.Fates != s.Fates || sum.Drops != s.Drops {
		t.Errorf("the partners sum to %+v of %+v", sum, s)
	}
}

func TestLosses(t *testing.T) {
	faults := []fault{
		{"lost after ack", func(h *history) { h.drop(h.sale()) },
			"USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, lost_after_ack +1, recorded -1, rows billable -1"},
		{"a retry is acked and lost", func(h *history) {
			h.drop(h.sale())
			h.play(h.sale(), intent.TimedOut, intent.Refused, intent.Acked)
		}, "USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, attempts +2, lost_after_ack +1, recorded -1, rows billable -1"},
		{"two acks, one intent", func(h *history) { h.play(h.sale(), intent.Acked, intent.Acked) }, "acked +1, attempts +1"},
		{"recorded without an ack", func(h *history) { h.play(h.sale(), intent.TimedOut, intent.Errored) },
			"acked -1, attempts +1, recorded -1, recorded_unacked +1"},
		{"a lead is lost", func(h *history) {
			h.drop(h.find("lead", func(it *intent.Intent) bool { return it.Kind == intent.Legitimate && it.Payout == 0 }))
		}, "lost_after_ack +1, recorded -1, rows non_billable -1"},
		{"an unknown click is lost", func(h *history) { h.drop(h.kind(intent.UnknownClick)) },
			"USD left out -1, USD left out µ -10, USD missing +1, USD missing µ +10, USD partner +1, USD partner µ +10, lost_after_ack +1, recorded -1, rows unattributed -1"},
		{"an over_cap row is lost", func(h *history) { h.drop(h.capped(intent.OverCap)) },
			"EUR left out -1, EUR left out µ -40, EUR missing +1, EUR missing µ +40, EUR partner +1, EUR partner µ +40, capped over cap -1, lost_after_ack +1, recorded -1, rows over_cap -1"},
		{"the run ended before", func(h *history) {
			h.drop(h.sale())
			h.cfg.Cells[h.sale()] = Cell{}
		}, "USD partner -1, USD partner µ -10, USD recorded -1, USD recorded µ -10, acked -1, attempts -1, intents -1, recorded -1, rows billable -1"},
	}
	lost := "USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, acked -1, lost_at_partner +1, "
	for reason := intent.QueueFull; reason <= intent.Reasons; reason++ {
		word := reason.String()
		if reason == intent.Reasons { // a number that is no reason
			word = "run_ended"
		}
		faults = append(faults, fault{"lost at the partner: " + reason.String(), func(h *history) {
			h.drop(h.sale())
			h.play(h.sale(), intent.Refused)
			h.cfg.Cells[h.sale()].GaveUp(reason)
		}, lost + "reason " + word + " +1, recorded -1, rows billable -1"})
	}
	faults = append(faults,
		fault{"never sent", func(h *history) {
			h.drop(h.sale())
			h.play(h.sale())
			h.cfg.Cells[h.sale()].GaveUp(intent.QueueFull)
		}, strings.Replace(lost, "acked -1,", "acked -1, attempts -1,", 1) + "reason queue_full +1, recorded -1, rows billable -1"},
		fault{"no reason given", func(h *history) {
			h.drop(h.sale())
			h.play(h.sale(), intent.TimedOut)
			h.cfg.Cells[h.sale()].GaveUp(intent.NoReason)
		}, lost + "reason run_ended +1, recorded -1, rows billable -1"})
	requireFaults(t, faults)
}

func TestRepeatedRows(t *testing.T) {
	again := func(h *history, index uint64, change func(*Row)) {
		row := *h.of(index)
		change(&row)
		h.add(row)
	}
	as := func(verdict intent.Verdict) func(*history) {
		return func(h *history) { again(h, h.sale(), func(r *Row) { r.Verdict = verdict }) }
	}
	requireFaults(t, []fault{
		{"stored twice", as(intent.Billable),
			"USD recorded +1, USD recorded µ +10, USD surplus +1, USD surplus µ +10, double_counted +1, repeats +1, rows billable +1"},
		{"stored three times", func(h *history) { as(intent.Billable)(h); as(intent.Billable)(h) },
			"USD recorded +2, USD recorded µ +20, USD surplus +2, USD surplus µ +20, double_counted +2, repeats +2, rows billable +2"},
		{"stored 300 times more", func(h *history) {
			for range 300 {
				as(intent.Billable)(h)
			}
		}, "USD recorded +300, USD recorded µ +3000, USD surplus +300, USD surplus µ +3000, double_counted +300, repeats +300, rows billable +300"},
		{"stored again, unpaid", as(intent.NonBillable), "repeats +1, rows non_billable +1, wrong_verdict +1"},
		{"stored again as over cap", as(intent.OverCap), "repeats +1, rows over_cap +1, wrong_verdict +1"},
		{"a duplicate row", as(intent.Duplicate), "repeats +1, rows duplicate +1"},
		{"two duplicate rows", func(h *history) { as(intent.Duplicate)(h); as(intent.Duplicate)(h) }, "repeats +2, rows duplicate +2"},
		{"false duplicate", func(h *history) { h.of(h.sale()).Verdict = intent.Duplicate },
			"USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, false_duplicate +1, lost_after_ack +1, recorded -1, rows billable -1, rows duplicate +1"},
		{"false duplicate, twice, not acked", func(h *history) {
			h.play(h.sale(), intent.TimedOut)
			as(intent.Duplicate)(h)
			h.of(h.sale()).Verdict = intent.Duplicate
		}, "USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, acked -1, false_duplicate +1, lost_at_partner +1, reason refused +1, recorded -1, repeats +1, rows billable -1, rows duplicate +2"},
		{"a conflict row", as(intent.Conflict), "conflicts +1, repeats +1, rows conflict +1"},
		{"a conflict row with another payout", func(h *history) {
			again(h, h.sale(), func(r *Row) { r.Verdict, r.Payout = intent.Conflict, 11 })
		}, "conflicts +1, repeats +1, rows conflict +1, wrong_payload +1"},
		{"only a conflict row", func(h *history) { h.of(h.sale()).Verdict = intent.Conflict },
			"USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, conflicts +1, lost_after_ack +1, recorded -1, rows billable -1, rows conflict +1"},
		{"billable and over the cap", func(h *history) { // in whichever order
			again(h, h.capped(intent.Billable), func(r *Row) { r.Verdict = intent.OverCap })
		}, "repeats +1, rows over_cap +1"},
		{"over the cap twice", func(h *history) { again(h, h.capped(intent.OverCap), func(*Row) {}) }, "repeats +1, rows over_cap +1"},
		{"over the cap and, wrongly, unpaid", func(h *history) {
			again(h, h.capped(intent.OverCap), func(r *Row) { r.Verdict = intent.NonBillable })
		}, "repeats +1, rows non_billable +1, wrong_verdict +1"},
		{"twice in two currencies", func(h *history) { again(h, h.sale(), func(r *Row) { r.Currency = gbp }) },
			"GBP recorded +1, GBP recorded µ +10, GBP surplus +1, GBP surplus µ +10, double_counted +1, repeats +1, rows billable +1, wrong_payload +1"},
		{"twice in two amounts", func(h *history) { again(h, h.sale(), func(r *Row) { r.Payout = 4 }) },
			"USD recorded +1, USD recorded µ +4, USD surplus +1, USD surplus µ +4, double_counted +1, repeats +1, rows billable +1, wrong_payload +1"},
		{"twice, each with half of the amount", func(h *history) {
			h.of(h.sale()).Payout = 5
			again(h, h.sale(), func(*Row) {})
		}, "USD recorded +1, USD surplus +1, double_counted +1, repeats +1, rows billable +1, wrong_payload +1"},
	})
}

func TestPhantoms(t *testing.T) {
	foreign := func(change func(*Row)) func(*history) {
		return func(h *history) {
			row := h.row(h.sale(), intent.Billable)
			row.ClickID = []byte("nobody-sent-this")
			change(&row)
			h.add(row)
		}
	}
	const (
		one   = "USD recorded +1, USD recorded µ +10, USD surplus +1, USD surplus µ +10, phantom +1"
		moved = "USD missing +1, USD missing µ +10, USD surplus +1, USD surplus µ +10, lost_after_ack +1, phantom +1, recorded -1, rows billable -1"
	)
	requireFaults(t, []fault{
		{"foreign id", foreign(func(*Row) {}), one},
		{"foreign id, unpaid", foreign(func(r *Row) { r.Verdict = intent.Duplicate }), "phantom +1"},
		{"the same foreign id twice", func(h *history) { foreign(func(*Row) {})(h); foreign(func(*Row) {})(h) },
			"USD recorded +2, USD recorded µ +20, USD surplus +2, USD surplus µ +20, phantom +2"},
		{"without any time", foreign(func(r *Row) { r.RecordedUnixNs, r.ReceivedUnixNs = 0, 0 }), one},
		{"without ids and money", func(h *history) { h.add(Row{Verdict: intent.Billable}) }, " recorded +1,  surplus +1, phantom +1"},
		{"recorded at the start", foreign(func(r *Row) { r.RecordedUnixNs, r.ReceivedUnixNs = startUnixNs, startUnixNs }), one},
		{"recorded before the start", foreign(func(r *Row) { r.RecordedUnixNs, r.ReceivedUnixNs = startUnixNs-1, 0 }), "filtered +1"},
		{"recorded before the start, by a clock that is behind", func(h *history) {
			foreign(func(r *Row) { r.RecordedUnixNs, r.ReceivedUnixNs = startUnixNs-5, startUnixNs-5 })(h)
			h.cfg.ClockOffsetNs = 5
		}, one},
		{"recorded after the start, by a clock that is ahead", func(h *history) {
			foreign(func(r *Row) { r.RecordedUnixNs, r.ReceivedUnixNs = startUnixNs+4, startUnixNs+4 })(h)
			h.cfg.ClockOffsetNs = -5
		}, "filtered +1"},
		{"received before the start", foreign(func(r *Row) { r.ReceivedUnixNs = startUnixNs - 1 }), "filtered +1"},
		{"times that are none", foreign(func(r *Row) { r.RecordedUnixNs, r.ReceivedUnixNs = -1, -1 }), one},
		{"of the next run", func(h *history) {
			spec := testSpec()
			spec.RunNumber++
			h.add(newHistory(t, spec, planned).row(7, intent.Billable))
		}, "filtered +1"},
		{"of the next run, before the start", func(h *history) {
			spec := testSpec()
			spec.RunNumber++
			row := newHistory(t, spec, planned).row(7, intent.Billable)
			row.RecordedUnixNs = 1
			h.add(row)
		}, "filtered +1"},
		{"of another seed", func(h *history) {
			spec := testSpec()
			spec.Seed++
			row := newHistory(t, spec, planned).row(7, intent.Billable)
			row.Currency, row.Payout = usd, 10
			h.add(row)
		}, one},
		{"an index that was never planned", func(h *history) {
			row := h.row(planned, intent.Billable)
			row.Currency, row.Payout, row.OfferID = usd, 10, nil
			h.add(row)
		}, one},
		{"an index that was not released", func(h *history) { h.cfg.Cells[h.sale()] = Cell{Attempts: 1, Acked: 1} },
			"USD partner -1, USD partner µ -10, USD surplus +1, USD surplus µ +10, acked -1, attempts -1, intents -1, phantom +1, recorded -1, rows billable -1"},
		{"released, never dispatched", func(h *history) { h.play(h.sale()) },
			"USD missing +1, USD missing µ +10, USD surplus +1, USD surplus µ +10, acked -1, attempts -1, lost_at_partner +1, phantom +1, reason run_ended +1, recorded -1, rows billable -1"},
		{"wrong txid", func(h *history) { h.of(h.sale()).TxID = h.at(h.sale() + 1).TxID }, moved},
		{"txid lost", func(h *history) { h.of(h.sale()).TxID = []byte{} }, moved},
		{"txid not in the ledger", func(h *history) { h.of(h.sale()).TxID = nil }, ""},
		{"wrong event", func(h *history) { h.of(h.sale()).Event = postback.EventRefund }, moved},
		{"event not in the ledger", func(h *history) { h.of(h.sale()).Event = postback.EventNone }, ""},
		{"a txid that was never sent", func(h *history) { h.of(h.muteSale()).TxID = []byte("server-17") }, ""},
		{"an event that was never sent", func(h *history) { h.of(h.muteSale()).Event = postback.EventLead }, ""},
	})
}

func TestForgeries(t *testing.T) {
	record := func(kind intent.Kind, verdicts ...intent.Verdict) func(*history) {
		return func(h *history) {
			for _, verdict := range verdicts {
				h.add(h.row(h.kind(kind), verdict))
			}
		}
	}
	const paid = "USD recorded +1, USD recorded µ +10, USD surplus +1, USD surplus µ +10, forged_accepted +1, rejected -1, rows billable +1"
	requireFaults(t, []fault{
		{"bad signature", record(intent.BadSignature, intent.Billable), paid},
		{"malformed", record(intent.Malformed, intent.Billable), paid},
		{"unknown partner", record(intent.UnknownPartner, intent.Billable), paid},
		{"without its payout", func(h *history) {
			record(intent.Malformed, intent.Billable)(h)
			r := h.of(h.kind(intent.Malformed))
			r.HasPayout, r.Payout, r.Currency = false, 0, postback.Currency{}
		}, paid},
		{"recorded, unpaid", record(intent.BadSignature, intent.Unattributed), "forged_accepted +1, rejected -1, rows unattributed +1"},
		{"a duplicate row is a row, too", record(intent.BadSignature, intent.Duplicate), "forged_accepted +1, rejected -1, rows duplicate +1"},
		{"a conflict row is a row, too", record(intent.BadSignature, intent.Conflict), "forged_accepted +1, rejected -1, rows conflict +1"},
		{"stored twice", record(intent.BadSignature, intent.Billable, intent.Billable),
			"USD recorded +2, USD recorded µ +20, USD surplus +2, USD surplus µ +20, double_counted +1, forged_accepted +1, rejected -1, repeats +1, rows billable +2"},
		{"paid and unpaid", record(intent.Malformed, intent.NonBillable, intent.Billable),
			"USD recorded +1, USD recorded µ +10, USD surplus +1, USD surplus µ +10, forged_accepted +1, rejected -1, repeats +1, rows billable +1, rows non_billable +1"},
		{"acked and thrown away", func(h *history) { h.play(h.kind(intent.Malformed), intent.Acked) }, "acked +1"},
		{"wrong txid", func(h *history) {
			record(intent.Malformed, intent.NonBillable)(h)
			h.of(h.kind(intent.Malformed)).TxID = []byte("x")
		}, "phantom +1"},
	})
}

func TestWrongContents(t *testing.T) {
	change := func(what func(*Row)) func(*history) { return func(h *history) { what(h.of(h.sale())) } }
	mute := func(what func(*Row)) func(*history) { return func(h *history) { what(h.of(h.muteSale())) } }
	unpaid := "USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, rows billable -1, "
	requireFaults(t, []fault{
		{"payout too high", change(func(r *Row) { r.Payout = 13 }), "USD recorded µ +3, USD surplus µ +3, wrong_payload +1"},
		{"payout too low", change(func(r *Row) { r.Payout = 9 }), "USD missing µ +1, USD recorded µ -1, wrong_payload +1"},
		{"payout negative", change(func(r *Row) { r.Payout = -4 }), "USD missing µ +14, USD recorded µ -14, wrong_payload +1"},
		{"payout zero", change(func(r *Row) { r.Payout = 0 }), "USD missing µ +10, USD recorded µ -10, wrong_payload +1"},
		{"payout not in the ledger", change(func(r *Row) { r.HasPayout, r.Payout = false, 0 }), ""},
		{"payout never sent", mute(func(r *Row) { r.Payout = 13 }), ""},
		{"currency changed", change(func(r *Row) { r.Currency = gbp }),
			"GBP recorded +1, GBP recorded µ +10, GBP surplus +1, GBP surplus µ +10, USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, wrong_payload +1"},
		{"currency and payout changed", change(func(r *Row) { r.Currency, r.Payout = gbp, 7 }),
			"GBP recorded +1, GBP recorded µ +7, GBP surplus +1, GBP surplus µ +7, USD missing +1, USD missing µ +10, USD recorded -1, USD recorded µ -10, wrong_payload +1"},
		{"currency not in the ledger", change(func(r *Row) { r.Currency = postback.Currency{} }), ""},
		{"currency never sent", mute(func(r *Row) { r.Currency = gbp }), ""},
		{"offer changed", change(func(r *Row) { r.OfferID = []byte("window") }), "wrong_payload +1"},
		{"offer that nobody knows", change(func(r *Row) { r.OfferID = []byte("else") }), "wrong_payload +1"},
		{"offer not in the ledger", change(func(r *Row) { r.OfferID = nil }), ""},
		{"offer never sent", mute(func(r *Row) { r.OfferID = []byte("else") }), ""},
		{"two faults of one row are one wrong payload", change(func(r *Row) { r.Payout, r.OfferID = 9, []byte("else") }),
			"USD missing µ +1, USD recorded µ -1, wrong_payload +1"},

		{"over_cap without a cap", change(func(r *Row) { r.Verdict = intent.OverCap }), unpaid + "rows over_cap +1, wrong_verdict +1"},
		{"non_billable", change(func(r *Row) { r.Verdict = intent.NonBillable }), unpaid + "rows non_billable +1, wrong_verdict +1"},
		{"reversal", change(func(r *Row) { r.Verdict = intent.Reversal }), unpaid + "rows reversal +1, wrong_verdict +1"},
		{"unattributed", change(func(r *Row) { r.Verdict = intent.Unattributed }), unpaid + "rows unattributed +1, wrong_verdict +1"},
		{"late without a window", change(func(r *Row) { r.Verdict = intent.Late }), unpaid + "rows late +1, wrong_verdict +1"},
		{"no verdict", change(func(r *Row) { r.Verdict = intent.VerdictUnknown }), unpaid + "rows unknown +1, wrong_verdict +1"},
		{"a paid lead", func(h *history) {
			h.of(h.find("lead", func(it *intent.Intent) bool { return it.Kind == intent.Legitimate && it.Payout == 0 && it.Offer == 0 })).Verdict = intent.Billable
		}, "USD recorded +1, USD surplus +1, rows billable +1, rows non_billable -1, wrong_verdict +1"},
		{"a paid unknown click", func(h *history) { h.of(h.kind(intent.UnknownClick)).Verdict = intent.Billable },
			"USD left out -1, USD left out µ -10, USD partner +1, USD partner µ +10, USD recorded +1, USD recorded µ +10, rows billable +1, rows unattributed -1, wrong_verdict +1"},
	})
}

// An unreleased intent with rows, an unknown reason, more acks than attempts:
// a state file may be damaged, and the books still balance.
func TestDamagedCells(t *testing.T) {
	h := flawless(t)
	for i := range h.cfg.Cells {
		c := &h.cfg.Cells[i]
		switch i % 5 {
		case 0:
			c.Flags = 0
		case 1:
			c.Attempts, c.Acked = 0, 200
		case 2:
			c.Attempts, c.Reason, c.LastOutcome = 0, 77, 99
		case 3:
			c.DueNs, c.AckNs, c.DispatchedNs, c.LastEndNs = -1<<62, 1<<62, -1<<62, 1<<62
		}
	}
	h.judge()
}
