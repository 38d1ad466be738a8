package audit

import (
	"fmt"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
)

// Fates counts what became of the intents (DESIGN §2). Every legitimate
// intent is in exactly one of the first four, every other in one of the last
// two.
type Fates struct {
	Recorded, RecordedUnacked, LostAfterAck, LostAtPartner int64
	Rejected, ForgedAccepted                               int64
}

// Legitimate is the number of legitimate intents.
func (f *Fates) Legitimate() int64 {
	return f.Recorded + f.RecordedUnacked + f.LostAfterAck + f.LostAtPartner
}

// LossRate is lost over legitimate intents; 0 without any.
func (f *Fates) LossRate() float64 {
	if f.Legitimate() == 0 {
		return 0
	}
	return float64(f.LostAfterAck+f.LostAtPartner) / float64(f.Legitimate())
}

// PartnerSheet is one partner's part of the sheet.
type PartnerSheet struct {
	Name              string
	Intents, Attempts int64
	Fates             Fates
	Drops             [intent.Reasons]int64
}

// Sheet is the balance sheet of a run.
type Sheet struct {
	Intents, Attempts, AckedAttempts int64
	Fates                            Fates
	Drops                            [intent.Reasons]int64 // of LostAtPartner, by reason

	DoubleCounted, Phantom, WrongVerdict, WrongPayload int64
	Conflicts, Repeats, FilteredRows                   int64
	// FalseDuplicates is nil where the ledger has no duplicate rows.
	FalseDuplicates *int64
	Verdicts        [intent.Verdicts]int64 // rows by verdict

	Money []Money
	Caps  []CapWindow
	// Delivery is due → end of the acked attempt, Recorded is due → entry
	// into the commit; both of legitimate intents after the warm-up. Recorded
	// is nil when the clocks cannot be compared.
	Delivery, Recorded *hist.Histogram
	Partners           []PartnerSheet
	Worst              []Lost
	// Imbalances names the equations of our own books that do not hold; it
	// is empty unless postbench has a bug.
	Imbalances []string
}

// Sheet closes the books. The judge takes no more rows afterwards.
func (j *Judge) Sheet() *Sheet {
	s := &Sheet{
		DoubleCounted: j.rows.doubleCounted, Phantom: j.rows.phantoms, Repeats: j.rows.repeats,
		FilteredRows: j.rows.filtered, Verdicts: j.verdict, Delivery: hist.New(),
	}
	if j.cfg.ClockKnown {
		s.Recorded = hist.New()
	}
	for _, p := range j.cfg.Intents.Spec().Partners {
		s.Partners = append(s.Partners, PartnerSheet{Name: p.Name})
	}
	var identities, falseDuplicates, legitimate int64
	worst := worstList{}
	for i := range j.cfg.Cells {
		cell := &j.cfg.Cells[i]
		if cell.Flags&Released == 0 {
			continue
		}
		j.cfg.Intents.At(uint64(i), &j.it)
		if cell.Rows > 0 || cell.Marks&(markDuplicateRow|markConflictRow|markForged) != 0 {
			identities++
		}
		if cell.Rows == 0 && cell.Marks&markDuplicateRow != 0 {
			falseDuplicates++
		}
		if j.it.Kind.Legitimate() {
			legitimate++
			j.time(s, cell)
			j.payable(cell)
		}
		fate := j.fate(cell)
		s.add(&j.it, cell, fate)
		worst.offer(&j.it, cell, fate)
	}
	if s.Verdicts[intent.Duplicate] > 0 {
		s.FalseDuplicates = &falseDuplicates
	}
	s.Money, s.Caps, s.Worst = j.money.sorted(), j.caps.windows(&j.cfg), worst.list
	s.Imbalances = j.imbalances(s, identities, legitimate)
	return s
}

// fate is the cell of the table in DESIGN §2 that the intent in j.it falls
// into.
func (j *Judge) fate(cell *Cell) Fate {
	switch {
	case !j.it.Kind.Legitimate() && cell.Marks&markForged != 0:
		return FateForgedAccepted
	case !j.it.Kind.Legitimate():
		return FateRejected
	case cell.Rows > 0 && cell.Acked > 0:
		return FateRecorded
	case cell.Rows > 0:
		return FateRecordedUnacked
	case cell.Acked > 0:
		return FateLostAfterAck
	}
	return FateLostAtPartner
}

// time adds the intent in j.it to the latencies that need the whole story.
func (j *Judge) time(s *Sheet, cell *Cell) {
	if cell.DueNs < j.cfg.WarmupNs {
		return
	}
	if cell.Acked > 0 {
		s.Delivery.Record(cell.AckNs - cell.DueNs)
	} else {
		s.Delivery.RecordCensored()
	}
	switch {
	case s.Recorded == nil:
	case cell.RecordedUnixNs == 0:
		s.Recorded.RecordCensored()
	default:
		s.Recorded.Record(cell.RecordedUnixNs + j.cfg.ClockOffsetNs - j.cfg.StartUnixNs - cell.DueNs)
	}
}

// payable books an intent without a billable row with the money.
func (j *Judge) payable(cell *Cell) {
	if !j.it.Payable() || cell.BillableRows > 0 {
		return
	}
	verdict := intent.Verdict(cell.FirstVerdict)
	unpaid := intent.SetOf(intent.OverCap, intent.Late, intent.Unattributed)
	if cell.Rows > 0 && unpaid.Has(verdict) && j.admissible(cell).Has(verdict) {
		j.money.leftOut(&j.it)
		return
	}
	j.money.missing(&j.it)
}

func (s *Sheet) add(it *intent.Intent, cell *Cell, fate Fate) {
	partner := &s.Partners[it.Partner]
	s.Intents++
	partner.Intents++
	s.Attempts += int64(cell.Attempts)
	partner.Attempts += int64(cell.Attempts)
	s.AckedAttempts += int64(cell.Acked)
	fate.count(&s.Fates)
	fate.count(&partner.Fates)
	if fate == FateLostAtPartner {
		reason := intent.Reason(cell.Reason)
		if reason == intent.NoReason || reason >= intent.Reasons {
			reason = intent.RunEnded
		}
		s.Drops[reason]++
		partner.Drops[reason]++
	}
	if cell.Marks&markWrongVerdict != 0 {
		s.WrongVerdict++
	}
	if cell.Marks&markWrongPayload != 0 {
		s.WrongPayload++
	}
	if cell.Marks&markConflictRow != 0 {
		s.Conflicts++
	}
}

// imbalances checks the books against each other: counts kept per row against
// counts kept per intent.
func (j *Judge) imbalances(s *Sheet, identities, legitimate int64) []string {
	var list []string
	check := func(holds bool, format string, args ...any) {
		if !holds {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	f := &s.Fates
	check(f.Legitimate() == legitimate, "legitimate intents %d ≠ their fates %d", legitimate, f.Legitimate())
	check(s.Intents == f.Legitimate()+f.Rejected+f.ForgedAccepted, "intents %d ≠ fates %d", s.Intents, f.Legitimate()+f.Rejected+f.ForgedAccepted)
	check(j.rows.identities == identities, "identities counted by row %d ≠ by intent %d", j.rows.identities, identities)
	check(j.Rows() == identities+j.rows.repeats+j.rows.phantoms, "rows %d ≠ identities %d + repeats %d + phantoms %d",
		j.Rows(), identities, j.rows.repeats, j.rows.phantoms)
	var dropped int64
	for _, n := range s.Drops {
		dropped += n
	}
	check(dropped == f.LostAtPartner, "lost at the partner %d ≠ drops by reason %d", f.LostAtPartner, dropped)
	for i := range s.Money {
		check(s.Money[i].balanced(), "%s: partner + surplus − missing ≠ recorded", s.Money[i].Currency)
	}
	return list
}
