package audit

import (
	"fmt"
	"maps"
	"math"

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

	// DoubleCounted are the billable rows beyond the first of an identity,
	// WrongVerdict and WrongPayload intents with at least one such row.
	DoubleCounted, Phantom, WrongVerdict, WrongPayload int64
	// Conflicts are legitimate intents with a conflict row. Repeats are the
	// rows beyond the first of each identity, whatever their verdict.
	Conflicts, Repeats int64
	// FilteredRows belong to other runs or were there before this one.
	FilteredRows int64
	// FalseDuplicates are identities with duplicate rows and no original; nil
	// where the ledger has no duplicate rows.
	FalseDuplicates *int64
	// Verdicts counts the rows of the run's identities by verdict; phantoms
	// are not among them.
	Verdicts [intent.Verdicts]int64

	Money []Money
	// Caps has at least one entry per capped offer.
	Caps []CapWindow
	// CapRowsDropped could not be booked in Caps: the ledger names more than
	// 65,536 cap windows.
	CapRowsDropped int64
	// Delivery is due → end of the acked attempt, Recorded is due → entry
	// into the commit; both of legitimate intents after the warm-up. Recorded
	// is nil when the clocks cannot be compared or the ledger has rows that do
	// not say when they were recorded.
	Delivery, Recorded *hist.Histogram
	Partners           []PartnerSheet
	Worst              []Lost
	// Imbalances names the equations of our own books that do not hold; it
	// is empty unless postbench has a bug.
	Imbalances []string
}

// intentCounts is the first book: what the Sheet counted per intent.
type intentCounts struct{ identities, falseDuplicates, legitimate, payable int64 }

// Sheet draws up the balance of the rows taken so far.
func (j *Judge) Sheet() *Sheet {
	s := &Sheet{
		DoubleCounted: j.rows.doubleCounted, Phantom: j.rows.phantoms, Repeats: j.rows.repeats,
		FilteredRows: j.rows.filtered, Verdicts: j.verdicts, CapRowsDropped: j.caps.dropped,
		Delivery: hist.New(), Recorded: hist.New(), Caps: j.caps.windows(&j.cfg),
	}
	for _, p := range j.cfg.Intents.Spec().Partners {
		s.Partners = append(s.Partners, PartnerSheet{Name: p.Name})
	}
	counts, money, worst := intentCounts{}, maps.Clone(j.money), worstList{}
	timesKnown := j.cfg.ClockKnown
	for i := range j.cfg.Cells {
		cell := &j.cfg.Cells[i]
		if cell.Flags&Released == 0 {
			continue
		}
		j.cfg.Intents.At(uint64(i), &j.it)
		counts.add(&j.it, cell)
		if j.it.Kind.Legitimate() {
			timesKnown = j.time(s, cell) && timesKnown
			if cell.CapWindow != 0 {
				s.Caps[cell.CapWindow-1].identity(cell, j.closedNs(cell))
			}
		}
		if j.it.Payable() {
			money.intent(&j.it, cell, j.leftOut(cell))
		}
		fate := j.fate(cell)
		s.add(&j.it, cell, fate)
		worst.offer(&j.it, cell, fate)
	}
	if !timesKnown {
		s.Recorded = nil
	}
	if s.Verdicts[intent.Duplicate] > 0 {
		s.FalseDuplicates = &counts.falseDuplicates
	}
	sortWindows(s.Caps)
	s.Money, s.Worst = money.sorted(), worst.list
	s.Imbalances = j.imbalances(s, &counts)
	return s
}

func (c *intentCounts) add(it *intent.Intent, cell *Cell) {
	if cell.inLedger() {
		c.identities++
	}
	if cell.Rows == 0 && cell.Marks&markDuplicateRow != 0 {
		c.falseDuplicates++
	}
	if it.Kind.Legitimate() {
		c.legitimate++
	}
	if it.Payable() {
		c.payable++
	}
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

// time adds the intent in j.it to the latencies that need the whole story. It
// is false when the ledger does not say when the intent was recorded.
func (j *Judge) time(s *Sheet, cell *Cell) bool {
	if cell.DueNs < j.cfg.WarmupNs {
		return true
	}
	if cell.Acked > 0 {
		s.Delivery.Record(cell.AckNs - cell.DueNs)
	} else {
		s.Delivery.RecordCensored()
	}
	switch {
	case cell.Rows == 0:
		s.Recorded.RecordCensored()
	case cell.RecordedUnixNs == 0:
		return false
	default:
		s.Recorded.Record(cell.RecordedUnixNs - (j.cfg.StartUnixNs - j.cfg.ClockOffsetNs + cell.DueNs))
	}
	return true
}

// closedNs is when the router saw the offer of the cell's cap window closed;
// without a router nothing is due before.
func (j *Judge) closedNs(cell *Cell) int64 {
	if j.cfg.ClosedSeenNs == nil {
		return math.MinInt64
	}
	return j.cfg.ClosedSeenNs[j.caps.entries[cell.CapWindow-1].offer]
}

// leftOut reports whether the payable intent in j.it was recorded and, for an
// admissible reason, not paid.
func (j *Judge) leftOut(cell *Cell) bool {
	unpaid := cell.verdicts() & intent.SetOf(intent.OverCap, intent.Late, intent.Unattributed)
	return cell.BillableRows == 0 && unpaid&j.admissible(cell) != 0
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
func (j *Judge) imbalances(s *Sheet, counts *intentCounts) []string {
	var list []string
	equal := func(what string, a, b int64) {
		if a != b {
			list = append(list, fmt.Sprintf("%s: %d ≠ %d", what, a, b))
		}
	}
	f := &s.Fates
	equal("legitimate intents and their fates", counts.legitimate, f.Legitimate())
	equal("intents and fates", s.Intents, f.Legitimate()+f.Rejected+f.ForgedAccepted)
	equal("lost at the partner and drops by reason", f.LostAtPartner, sum(s.Drops[:]))
	equal("identities by row and by intent", j.rows.identities, counts.identities)
	equal("rows and identities + repeats + phantoms", j.Rows(), counts.identities+s.Repeats+s.Phantom)
	equal("rows and verdicts + phantoms", j.Rows(), sum(s.Verdicts[:])+s.Phantom)
	var recorded, payable int64
	for i := range s.Money {
		m := &s.Money[i]
		recorded += m.RecordedCount
		payable += m.PartnerCount + m.LeftOutCount
		if !m.balanced() {
			list = append(list, fmt.Sprintf("%s: partner + surplus − missing ≠ recorded", m.Currency))
		}
	}
	equal("billable rows and rows in the money", j.rows.billable, recorded)
	equal("payable intents and intents in the money", counts.payable, payable)
	return list
}

func sum(counts []int64) (total int64) {
	for _, n := range counts {
		total += n
	}
	return total
}
