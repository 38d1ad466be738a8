package audit

import (
	"math"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// NeverClosed stands for "the router never saw the offer closed".
const NeverClosed = math.MaxInt64

// Carries says which fields a partner's requests carry, so that the judge
// does not ask the ledger for what was never sent.
type Carries struct {
	TxID, OfferID, Event, Payout, Currency bool
}

// Config is what the judge knows apart from the cells and the rows.
type Config struct {
	Intents *intent.Generator
	// Cells holds one cell per planned intent.
	Cells []Cell
	// Carries has one entry per partner of the spec.
	Carries []Carries
	// StartUnixNs is the run's start on this machine's clock.
	StartUnixNs int64
	// WarmupNs: intents due before it are judged but not timed.
	WarmupNs int64
	// ClockOffsetNs is added to the ledger's times to bring them onto this
	// machine's clock; ClockKnown says whether they can be compared at all.
	ClockOffsetNs int64
	ClockKnown    bool
	// ClosedSeenNs is, per offer, when the router first saw it closed (ns
	// since the run's start) or NeverClosed. nil without a router.
	ClosedSeenNs []int64
	// MaxAttemptNs bounds how long after its start an attempt may still reach
	// the server; it widens what counts as straddling an attribution window.
	MaxAttemptNs int64
}

// Judge takes rows in any order and gives the Sheet at the end.
type Judge struct {
	cfg     Config
	it      intent.Intent
	rows    rowCounts
	caps    capBook
	money   moneyBook
	verdict [intent.Verdicts]int64
}

// rowCounts is the judge's second book: it is kept per row while the Sheet
// counts per intent, and both must agree.
type rowCounts struct {
	ours, identities, repeats, phantoms, filtered int64
	doubleCounted                                 int64
}

// NewJudge clears earlier judgements from the cells and returns a judge.
func NewJudge(cfg Config) *Judge {
	for i := range cfg.Cells {
		cfg.Cells[i].forgetLedger()
	}
	return &Judge{cfg: cfg, caps: newCapBook(cfg.Intents.Spec().Offers), money: moneyBook{}}
}

// Row takes one row of the ledger.
func (j *Judge) Row(row *Row) {
	index, owner := j.cfg.Intents.Find(row.ClickID, row.TxID)
	switch owner {
	case intent.OtherRun:
		j.rows.filtered++
		return
	case intent.Foreign:
		if j.recordedBeforeStart(row) {
			j.rows.filtered++
			return
		}
		j.phantom(row)
		return
	case intent.ThisRun:
	}
	if index >= uint64(len(j.cfg.Cells)) || j.cfg.Cells[index].Attempts == 0 {
		j.phantom(row)
		return
	}
	j.cfg.Intents.At(index, &j.it)
	if !j.sent(row) {
		j.phantom(row)
		return
	}
	j.rows.ours++
	j.verdict[row.Verdict]++
	cell := &j.cfg.Cells[index]
	if !j.it.Kind.Legitimate() {
		j.forged(cell, row)
		return
	}
	switch row.Verdict {
	case intent.Duplicate:
		j.identity(cell)
		cell.Marks |= markDuplicateRow
	case intent.Conflict:
		j.identity(cell)
		cell.Marks |= markConflictRow
		j.checkPayload(cell, row)
	default:
		j.original(cell, row)
	}
}

// recordedBeforeStart reports whether a foreign row was there before the run.
// A row without a time cannot excuse itself.
func (j *Judge) recordedBeforeStart(row *Row) bool {
	return row.RecordedUnixNs != 0 && row.RecordedUnixNs+j.cfg.ClockOffsetNs < j.cfg.StartUnixNs
}

func (j *Judge) phantom(row *Row) {
	j.rows.phantoms++
	if row.Verdict == intent.Billable {
		j.money.unexpected(row.Currency, row.Payout)
	}
}

// sent reports whether the row's identity is one that was sent: the click id
// alone already led to the intent, txid and event must agree with it.
func (j *Judge) sent(row *Row) bool {
	carries := j.cfg.Carries[j.it.Partner]
	if carries.TxID && string(row.TxID) != string(j.it.TxID) {
		return false
	}
	return !carries.Event || row.Event == postback.EventNone || row.Event == j.it.Event
}

// identity counts a row as the first of its identity or as a repeat.
func (j *Judge) identity(cell *Cell) {
	if cell.Rows == 0 && cell.Marks&(markDuplicateRow|markConflictRow|markForged) == 0 {
		j.rows.identities++
		return
	}
	j.rows.repeats++
}

func (j *Judge) forged(cell *Cell, row *Row) {
	j.identity(cell)
	cell.Marks |= markForged
	if row.Verdict == intent.Billable {
		j.money.unexpected(row.Currency, row.Payout)
	}
}

// original takes a row that stands for the conversion itself.
func (j *Judge) original(cell *Cell, row *Row) {
	j.identity(cell)
	j.checkPayload(cell, row)
	first := cell.Rows == 0
	if first {
		cell.FirstVerdict = uint8(row.Verdict)
		cell.RecordedUnixNs = row.RecordedUnixNs
	}
	cell.Rows = saturate(cell.Rows)
	if !j.admissible(cell).Has(row.Verdict) {
		cell.Marks |= markWrongVerdict
	}
	j.caps.row(&j.it, row, first && j.dueBeforeClosing(cell))
	if row.Verdict != intent.Billable {
		return
	}
	if cell.BillableRows > 0 {
		j.rows.doubleCounted++
		j.money.unexpected(j.currency(row), j.payout(row))
	} else {
		j.money.billable(&j.it, j.currency(row), j.payout(row))
	}
	cell.BillableRows = saturate(cell.BillableRows)
}

func saturate(n uint8) uint8 {
	if n == math.MaxUint8 {
		return n
	}
	return n + 1
}

func (j *Judge) dueBeforeClosing(cell *Cell) bool {
	return j.cfg.ClosedSeenNs != nil && cell.DueNs < j.cfg.ClosedSeenNs[j.it.Offer]
}

// admissible is the verdict set for the intent in j.it.
func (j *Judge) admissible(cell *Cell) intent.VerdictSet {
	first := (j.cfg.StartUnixNs + cell.DispatchedNs) / 1e9
	last := (j.cfg.StartUnixNs + cell.LastEndNs + j.cfg.MaxAttemptNs) / 1e9
	return j.cfg.Intents.Admissible(&j.it, first, last)
}

// payout is the row's or, where the ledger does not say, the intent's.
func (j *Judge) payout(row *Row) postback.Money {
	if row.HasPayout {
		return row.Payout
	}
	return j.it.Payout
}

func (j *Judge) currency(row *Row) postback.Currency {
	if row.Currency != (postback.Currency{}) {
		return row.Currency
	}
	return j.it.Currency
}

// checkPayload marks rows that say something else than what was sent.
func (j *Judge) checkPayload(cell *Cell, row *Row) {
	carries := j.cfg.Carries[j.it.Partner]
	offer := j.cfg.Intents.Spec().Offers[j.it.Offer].ID
	wrong := carries.Payout && j.payout(row) != j.it.Payout ||
		carries.Currency && j.currency(row) != j.it.Currency ||
		carries.OfferID && len(row.OfferID) > 0 && string(row.OfferID) != offer
	if wrong {
		cell.Marks |= markWrongPayload
	}
}

// AllAckedFound reports whether every legitimate intent with an ack has a row:
// nothing more needs to be waited for.
func (j *Judge) AllAckedFound() bool {
	for i := range j.cfg.Cells {
		cell := &j.cfg.Cells[i]
		if cell.Acked == 0 || cell.Rows > 0 {
			continue
		}
		j.cfg.Intents.At(uint64(i), &j.it)
		if j.it.Kind.Legitimate() {
			return false
		}
	}
	return true
}

// Rows is how many rows were taken, those of other runs left out.
func (j *Judge) Rows() int64 { return j.rows.ours + j.rows.phantoms }
