package audit

import "github.com/postbench/postbench/internal/intent"

// CellBytes is the size of the state kept per intent.
const CellBytes = 64

// MaxAttempts is the highest number of attempts per intent that a Cell can
// count.
const MaxAttempts = 255

// Cell is what the run remembers of one intent. The loop fills the first part;
// the judge fills the rest from the ledger. Times are ns since the run's
// start. The struct is the file format of state.bin, see FORMAT.md; field
// order and size are fixed.
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

	RecordedUnixNs int64 // of the first row, Unix ns; 0 = the ledger does not say
	Rows           uint8 // rows other than duplicate and conflict, saturating
	BillableRows   uint8 // of these billable, saturating
	FirstVerdict   uint8 // intent.Verdict of the first row
	Marks          uint8
	_              [12]byte
}

// Flags of a Cell that the loop sets.
const (
	// Released: the intent became due; without it the run ended before.
	Released uint8 = 1 << iota
	// FirstAcked: the first attempt was acked.
	FirstAcked
)

// Marks of a Cell that the judge sets.
const (
	markWrongVerdict uint8 = 1 << iota
	markWrongPayload
	markDuplicateRow
	markConflictRow
	markForged
)

// Dispatched notes the start of an attempt.
func (c *Cell) Dispatched(atNs int64) {
	if c.Attempts == 0 {
		c.DispatchedNs = atNs
	}
	if c.Attempts < MaxAttempts {
		c.Attempts++
	}
}

// Ended notes the end of an attempt. first says whether it was the intent's
// first one.
func (c *Cell) Ended(atNs int64, outcome intent.Outcome, status int, first bool) {
	c.LastEndNs = max(c.LastEndNs, atNs)
	c.LastOutcome, c.LastStatus = uint8(outcome), uint16(status)
	if outcome != intent.Acked {
		return
	}
	if first {
		c.Flags |= FirstAcked
	}
	if c.Acked == 0 || atNs < c.AckNs {
		c.AckNs = atNs
	}
	if c.Acked < MaxAttempts {
		c.Acked++
	}
	c.Reason = uint8(intent.NoReason)
}

// GaveUp notes why the partner stopped trying. It is ignored once an attempt
// was acked.
func (c *Cell) GaveUp(reason intent.Reason) {
	if c.Acked == 0 {
		c.Reason = uint8(reason)
	}
}

// forgetLedger clears what an earlier judgement wrote, so that a run can be
// judged again.
func (c *Cell) forgetLedger() {
	c.RecordedUnixNs, c.Rows, c.BillableRows, c.FirstVerdict, c.Marks = 0, 0, 0, 0, 0
}
