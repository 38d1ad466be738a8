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
	// AttemptsPerIntent[n] are its intents that took n attempts, deliberate
	// duplicates included; the last entry takes those with more.
	AttemptsPerIntent [MaxAttemptsCounted + 1]int64
	// Money and LostMoney are the Sheet's without the phantoms.
	Money     []Money
	LostMoney []LostMoney
}

// MaxAttemptsCounted is the last entry of AttemptsPerIntent: so many or more.
const MaxAttemptsCounted = 8

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
	// LostMoney says which mechanism caused how much of Money's missing and
	// surplus.
	LostMoney []LostMoney
	// ChainRowsWithoutEvent are rows of conversions that report several events,
	// in a ledger that does not say which: they all count as the first.
	ChainRowsWithoutEvent int64
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
		ChainRowsWithoutEvent: j.rows.eventless,
		Delivery:              hist.New(), Recorded: hist.New(), Caps: j.caps.windows(&j.cfg),
	}
	for _, p := range j.cfg.Intents.Spec().Partners {
		s.Partners = append(s.Partners, PartnerSheet{Name: p.Name})
	}
	counts, worst := intentCounts{}, worstList{}
	accounts := make([]account, len(j.accounts))
	for i := range accounts {
		accounts[i] = j.accounts[i].clone()
	}
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
				s.Caps[cell.CapWindow-1].identity(cell, &j.caps.entries[cell.CapWindow-1])
			}
		}
		fate := j.fate(cell)
		switch account := accounts[j.it.Partner]; {
		case !j.it.Payable():
		case j.leftOut(cell):
			account.leftOut(&j.it)
		default:
			account.intent(&j.it, cell, fate)
		}
		s.add(&j.it, cell, fate)
		worst.offer(&j.it, cell, fate)
	}
	if !timesKnown {
		s.Recorded = nil
	}
	if s.Verdicts[intent.Duplicate] > 0 {
		s.FalseDuplicates = &counts.falseDuplicates
	}
	j.caps.markUnwatched(s.Caps, &j.cfg)
	sortWindows(s.Caps)
	s.closeAccounts(accounts)
	s.Worst = worst.list
	s.Imbalances = j.imbalances(s, &counts)
	return s
}

// closeAccounts lists each partner's money, and all of it.
func (s *Sheet) closeAccounts(accounts []account) {
	total := newAccount()
	for i, a := range accounts {
		if i < len(s.Partners) {
			s.Partners[i].Money, s.Partners[i].LostMoney = a.money.sorted(), a.lost.sorted()
		}
		total.money.plus(a.money)
		total.lost.plus(a.lost)
	}
	s.Money, s.LostMoney = total.money.sorted(), total.lost.sorted()
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
	partner.AttemptsPerIntent[min(cell.Attempts, MaxAttemptsCounted)]++
	s.AckedAttempts += int64(cell.Acked)
	fate.count(&s.Fates)
	fate.count(&partner.Fates)
	if fate == FateLostAtPartner {
		reason := cell.reason()
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
	if !explains(s.LostMoney, s.Money) {
		list = append(list, "the mechanisms do not add up to missing and surplus")
	}
	for i := range s.Partners {
		p := &s.Partners[i]
		equal(p.Name+": intents and intents by attempts", p.Intents, sum(p.AttemptsPerIntent[:]))
		if !explains(p.LostMoney, p.Money) {
			list = append(list, p.Name+": the mechanisms do not add up to missing and surplus")
		}
	}
	return list
}

func sum(counts []int64) (total int64) {
	for _, n := range counts {
		total += n
	}
	return total
}
