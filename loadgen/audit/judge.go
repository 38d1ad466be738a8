package audit

import (
	"math"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// NeverClosed stands for "the router never saw the offer closed".
const NeverClosed = math.MaxInt64

// ownClickSlackNs is how much earlier than the run's start a row must be to
// count as an older use of a click of the user's own: far more than what the
// clocks of two machines differ by.
const ownClickSlackNs = 1_000_000_000

// Carries says which fields a partner's requests carry, so that the judge
// does not ask the ledger for what was never sent: a field that they do not
// carry is taken to be in the ledger as the intent has it.
type Carries struct {
	TxID, OfferID, Event, Payout, Currency bool
}

// Config is what the judge knows apart from the cells and the rows.
type Config struct {
	Intents *intent.Generator
	// Cells holds one cell per planned intent.
	Cells []Cell
	// Carries has one entry per partner of the spec. One without Event must be
	// NoEvents there: the steps of its chains could not be told apart.
	Carries []Carries
	// StartUnixNs is the run's start on this machine's clock.
	StartUnixNs int64
	// WarmupNs: intents due before it are judged but not timed.
	WarmupNs int64
	// ClockOffsetNs is added to the ledger's times to bring them onto this
	// machine's clock; ClockKnown says whether they can be compared at all. If
	// not, the offset is taken for 0.
	ClockOffsetNs int64
	ClockKnown    bool
	// ClosedSeenNs is, per offer, when the router first saw it closed (ns
	// since the run's start) or NeverClosed. nil without a router.
	ClosedSeenNs []int64
	// Closings are the cap windows that the router saw by name, each once; none
	// of an offer whose cap status names no window. Not used without ClosedSeenNs.
	Closings []Closing
	// MaxAttemptNs bounds how long after its end an attempt without an ack may
	// still reach the server; it widens what counts as straddling an
	// attribution window.
	MaxAttemptNs int64
}

// Judge takes rows in any order and gives the Sheet at the end. The sheet does
// not depend on the order. A Judge is not safe for concurrent use.
type Judge struct {
	cfg      Config
	it       intent.Intent
	rows     rowCounts
	caps     capBook
	accounts []account // one per partner, and the last for rows that are nobody's
	verdicts [intent.Verdicts]int64
	missing  int64 // legitimate intents without a row that may still come
}

// rowCounts is the judge's second book: it is kept per row while the Sheet
// counts per intent, and both must agree.
type rowCounts struct {
	ours, identities, repeats, phantoms, filtered int64
	billable, doubleCounted, older, eventless     int64
}

// NewJudge clears earlier judgements from the cells and returns a judge.
func NewJudge(cfg Config) *Judge {
	if !cfg.ClockKnown {
		cfg.ClockOffsetNs = 0
	}
	j := &Judge{cfg: cfg, caps: newCapBook(cfg.Intents.Spec().Offers)}
	for range len(cfg.Intents.Spec().Partners) + 1 {
		j.accounts = append(j.accounts, newAccount())
	}
	for i := range cfg.Cells {
		cell := &cfg.Cells[i]
		cell.forgetLedger()
		if cell.mayHaveRow() && cfg.Intents.Legitimate(uint64(i)) {
			j.missing++
		}
	}
	return j
}

// Row takes one row of the ledger.
func (j *Judge) Row(row *Row) {
	index, owner := j.cfg.Intents.FindEvent(row.ClickID, row.TxID, row.Event)
	switch {
	case owner == intent.OtherRun:
		j.rows.filtered++
	case owner == intent.Foreign || !j.sent(index, row):
		if j.before(row, 0) {
			j.rows.filtered++
			return
		}
		j.phantom(row)
	case j.olderUse(row):
		j.rows.filtered++
	default:
		if j.before(row, ownClickSlackNs) {
			j.rows.older++
		}
		j.ours(&j.cfg.Cells[index], row)
	}
}

// sent makes j.it the intent of the row's ids and reports whether the row's
// identity is one that was sent. One of the ids led to the intent; the other
// and the event must agree with it.
func (j *Judge) sent(index uint64, row *Row) bool {
	if index >= uint64(len(j.cfg.Cells)) || !j.cfg.Cells[index].sent() {
		return false
	}
	j.cfg.Intents.At(index, &j.it)
	carries := j.cfg.Carries[j.it.Partner]
	switch {
	case string(row.ClickID) != string(j.it.ClickID):
		return false
	case carries.TxID && row.TxID != nil && string(row.TxID) != string(j.it.TxID):
		return false
	}
	return !carries.Event || row.Event == postback.EventNone || row.Event == j.it.Event
}

// before reports whether a row was there more than slackNs before the run. A
// row without a time cannot excuse itself.
func (j *Judge) before(row *Row, slackNs int64) bool {
	limitUnixNs := j.cfg.StartUnixNs - j.cfg.ClockOffsetNs - slackNs
	return row.RecordedUnixNs > 0 && row.RecordedUnixNs < limitUnixNs ||
		row.ReceivedUnixNs > 0 && row.ReceivedUnixNs < limitUnixNs
}

// olderUse reports whether the row is an earlier conversion of a click of the
// user's own, which only a txid of ours could have told from this run's.
func (j *Judge) olderUse(row *Row) bool {
	ownTxID := j.cfg.Carries[j.it.Partner].TxID && row.TxID != nil
	return j.cfg.Intents.Spec().Clicks != nil && !ownTxID && j.before(row, ownClickSlackNs)
}

func (j *Judge) phantom(row *Row) {
	j.rows.phantoms++
	if row.Verdict == intent.Billable {
		j.rows.billable++
		j.accounts[len(j.accounts)-1].unexpected(row.Currency, row.Payout, Phantom)
		j.caps.row(row, noOffer)
	}
}

// ours takes a row of the intent in j.it.
func (j *Judge) ours(cell *Cell, row *Row) {
	j.rows.ours++
	if j.it.ChainSteps > 0 && row.Event == postback.EventNone {
		j.rows.eventless++
	}
	j.verdicts[row.Verdict]++
	if cell.inLedger() {
		j.rows.repeats++
	} else {
		j.rows.identities++
	}
	switch {
	case !j.it.Kind.Legitimate():
		cell.Marks |= markForged
	case row.Verdict == intent.Duplicate:
		cell.Marks |= markDuplicateRow
		return
	case row.Verdict == intent.Conflict:
		cell.Marks |= markConflictRow
		j.checkPayload(cell, row)
		return
	default:
		j.original(cell, row)
	}
	window := j.caps.row(row, j.it.Offer)
	if window != 0 && (cell.CapWindow == 0 || j.caps.less(window, cell.CapWindow)) {
		cell.CapWindow = window
	}
	if row.Verdict == intent.Billable {
		j.billable(cell, row)
	}
}

// original takes a row that stands for the conversion itself. Where there are
// several, none of them is "the" row: a ledger is unordered.
func (j *Judge) original(cell *Cell, row *Row) {
	if cell.Rows == 0 && cell.mayHaveRow() {
		j.missing--
	}
	cell.Rows = saturate(cell.Rows)
	cell.addVerdict(row.Verdict)
	if row.RecordedUnixNs > 0 && (cell.RecordedUnixNs == 0 || row.RecordedUnixNs < cell.RecordedUnixNs) {
		cell.RecordedUnixNs = row.RecordedUnixNs
	}
	j.checkPayload(cell, row)
	if !j.admissible(cell).Has(row.Verdict) {
		cell.Marks |= markWrongVerdict
	}
}

// billable takes a row that is paid, legitimate or forged.
func (j *Judge) billable(cell *Cell, row *Row) {
	j.rows.billable++
	if cell.BillableRows > 0 {
		j.rows.doubleCounted++
	}
	cell.BillableRows = saturate(cell.BillableRows)
	payout, currency := j.payout(row), j.currency(row)
	account := j.accounts[j.it.Partner]
	switch {
	case !j.it.Kind.Legitimate():
		account.unexpected(currency, payout, ForgedAccepted)
	case !j.it.Payable():
		account.unexpected(currency, payout, WrongVerdict)
	case currency != j.it.Currency:
		account.unexpected(currency, payout, WrongCurrency)
	default:
		account.recorded(cell, currency, payout)
	}
}

// admissible is the verdict set for the intent in j.it. The server's clock
// decides what is late. An acked attempt had arrived when it was answered.
func (j *Judge) admissible(cell *Cell) intent.VerdictSet {
	startUnixNs := j.cfg.StartUnixNs - j.cfg.ClockOffsetNs
	lastNs := cell.LastEndNs
	if cell.Acked < cell.Attempts {
		lastNs += j.cfg.MaxAttemptNs
	}
	return j.cfg.Intents.Admissible(&j.it, (startUnixNs+cell.DispatchedNs)/1e9, (startUnixNs+lastNs)/1e9)
}

// payout is the row's or, where the ledger does not say or was never told, the
// intent's.
func (j *Judge) payout(row *Row) postback.Money {
	if row.HasPayout && j.cfg.Carries[j.it.Partner].Payout {
		return row.Payout
	}
	return j.it.Payout
}

// currency is to the currency what payout is to the payout.
func (j *Judge) currency(row *Row) postback.Currency {
	if row.Currency != (postback.Currency{}) && j.cfg.Carries[j.it.Partner].Currency {
		return row.Currency
	}
	return j.it.Currency
}

// checkPayload marks rows that say something else than what was sent.
func (j *Judge) checkPayload(cell *Cell, row *Row) {
	offer := j.cfg.Intents.Spec().Offers[j.it.Offer].ID
	otherOffer := len(row.OfferID) > 0 && string(row.OfferID) != offer
	if row.Garbled != nil || j.payout(row) != j.it.Payout || j.currency(row) != j.it.Currency || otherOffer && j.cfg.Carries[j.it.Partner].OfferID {
		cell.Marks |= markWrongPayload
	}
}

// AllFound reports whether every legitimate intent that the server acked, or
// may have taken without an answer in time, has a row other than duplicate and
// conflict: nothing more needs to be waited for.
func (j *Judge) AllFound() bool { return j.missing == 0 }

// OlderRows is how many rows of this run's identities were recorded before the
// run began: its run number was played before.
func (j *Judge) OlderRows() int64 { return j.rows.older }

// Rows is how many rows were taken, those of other runs left out.
func (j *Judge) Rows() int64 { return j.rows.ours + j.rows.phantoms }
