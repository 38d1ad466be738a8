package audit

import (
	"math"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// CellBytes is the size of the state kept per intent.
const CellBytes = 64

// MaxAttempts is the highest number of attempts per intent that a Cell can
// count, the deliberate duplicate included.
const MaxAttempts = math.MaxUint8

// Cell is what the run remembers of one intent. The loop fills the first part;
// the judge fills the rest from the ledger, in a way that does not depend on
// the order of the rows. Times are ns since the run's start. The struct is the
// file format of state.bin, see FORMAT.md; field order and size are fixed.
type Cell struct {
	DueNs        int64 // due time of the first attempt
	DispatchedNs int64 // the first attempt got its connection slot
	AckNs        int64 // end of the first acked attempt
	LastEndNs    int64 // end of the last attempt
	Attempts     uint8 // attempts dispatched
	Acked        uint8 // of these acked
	Flags        uint8
	Reason       uint8  // intent.Reason: why there is no ack
	LastStatus   uint16 // HTTP status of the last attempt, 0 if none came
	LastOutcome  uint8  // intent.Outcome of the last attempt
	_            uint8

	RecordedUnixNs int64  // earliest of the rows, Unix ns; 0 = the ledger does not say
	Rows           uint8  // rows other than duplicate and conflict, saturating
	BillableRows   uint8  // of these billable, saturating
	Verdicts       uint8  // of these: intent.VerdictSet without bit 0
	Marks          uint8  // what the judge found
	CapWindow      uint32 // number of the cap window in the judge's book + 1, 0 = none
	// BilledMicros is the sum of the billable rows in the intent's currency.
	BilledMicros postback.Money
}

// Flags of a Cell that the loop sets.
const (
	// Released: the intent became due; without it the run ended before.
	Released uint8 = 1 << iota
	// Unanswered: some attempt timed out or lost its connection, so that the
	// server may have taken it all the same.
	Unanswered
)

// Marks of a Cell that the judge sets.
const (
	markWrongVerdict uint8 = 1 << iota
	markWrongPayload
	markDuplicateRow
	markConflictRow
	markForged
	markBilled      // a billable row in the intent's currency
	markBilledAgain // a further one
)

// Dispatched notes the start of an attempt.
func (c *Cell) Dispatched(atNs int64) {
	if c.Attempts == 0 {
		c.DispatchedNs = atNs
	}
	c.Attempts = saturate(c.Attempts)
}

// Ended notes the end of an attempt.
func (c *Cell) Ended(atNs int64, outcome intent.Outcome, status int) {
	if atNs >= c.LastEndNs {
		c.LastEndNs, c.LastOutcome, c.LastStatus = atNs, uint8(outcome), uint16(status)
	}
	if outcome == intent.TimedOut || outcome == intent.Errored {
		c.Flags |= Unanswered
	}
	if outcome != intent.Acked {
		return
	}
	if c.Acked == 0 || atNs < c.AckNs {
		c.AckNs = atNs
	}
	c.Acked = saturate(c.Acked)
	c.Reason = uint8(intent.NoReason)
}

// GaveUp notes why the partner stopped trying. It is ignored once an attempt
// was acked.
func (c *Cell) GaveUp(reason intent.Reason) {
	if c.Acked == 0 {
		c.Reason = uint8(reason)
	}
}

// sent reports whether the server can know of the intent at all.
func (c *Cell) sent() bool { return c.Flags&Released != 0 && c.Attempts > 0 }

// inLedger reports whether any row was taken.
func (c *Cell) inLedger() bool {
	return c.Rows > 0 || c.Marks&(markDuplicateRow|markConflictRow|markForged) != 0
}

// verdicts are those of the rows that Rows counts.
func (c *Cell) verdicts() intent.VerdictSet { return intent.VerdictSet(c.Verdicts) << 1 }

func (c *Cell) addVerdict(v intent.Verdict) { c.Verdicts |= uint8(intent.SetOf(v) >> 1) }

// mayHaveRow reports whether the server acked the intent or may have taken it:
// a refusal is an answer, a timeout or a lost connection is not.
func (c *Cell) mayHaveRow() bool { return c.Acked > 0 || c.Flags&Unanswered != 0 }

// forgetLedger clears what an earlier judgement wrote, so that a run can be
// judged again.
func (c *Cell) forgetLedger() {
	c.RecordedUnixNs, c.Rows, c.BillableRows, c.Verdicts, c.Marks, c.CapWindow, c.BilledMicros = 0, 0, 0, 0, 0, 0, 0
}

func saturate(n uint8) uint8 {
	if n == math.MaxUint8 {
		return n
	}
	return n + 1
}
