// Package decide says what a postback is worth: a pure function from what the
// store knows to a verdict. It has no clock and no I/O, so that every server
// variant decides alike and a table proves it.
package decide

import "github.com/postbench/postbench/internal/postback"

// Verdict is what became of a postback that was taken in.
type Verdict string

// The verdicts, as the ledger spells them.
const (
	Billable     Verdict = "billable"
	NonBillable  Verdict = "non_billable" // pays nothing
	Reversal     Verdict = "reversal"     // rejected or refunded; stands even before its sale
	OverCap      Verdict = "over_cap"
	Unattributed Verdict = "unattributed" // no such click
	Late         Verdict = "late"         // after the attribution window: recorded, unpaid
	Duplicate    Verdict = "duplicate"    // same identity, same payload: nothing new to record
	Conflict     Verdict = "conflict"     // same identity, other payload: kept and flagged
)

// Existing is what the store already holds under the postback's identity
// (click_id, txid, event).
type Existing uint8

// What the store may hold.
const (
	None         Existing = iota // nothing
	SamePayload                  // the same conversion
	OtherPayload                 // a conversion that says something else
)

// Click is the click that the postback names. The zero value is an unknown one.
type Click struct {
	Found        bool
	ClickedUnixS int64
}

// Offer is the state of the click's offer at the moment of the decision. The
// zero value is an offer without cap and window.
type Offer struct {
	Cap                int64 // conversions; 0 means none
	Billable           int64 // conversions billed so far
	AttributionWindowS int64 // seconds after the click; 0 means none
}

// Closed reports whether the offer has reached its cap.
func (o Offer) Closed() bool { return o.Cap > 0 && o.Billable >= o.Cap }

// Input is everything that a decision depends on.
type Input struct {
	Event          postback.Event
	Payout         postback.Money
	ReceivedUnixNs int64
	Existing       Existing
	Click          Click
	Offer          Offer
}

// Decide returns the verdict on a postback. The order of the rules is part of
// the contract: what is already recorded outweighs everything; a reversal
// stands whatever the cap, the window and its payout say; a late conversion
// is late even if it pays nothing; only what would be paid can be over the cap.
func Decide(in Input) Verdict {
	switch {
	case in.Existing == SamePayload:
		return Duplicate
	case in.Existing == OtherPayload:
		return Conflict
	case !in.Click.Found:
		return Unattributed
	case in.Event.Reverses():
		return Reversal
	case late(in):
		return Late
	case in.Payout <= 0:
		return NonBillable
	case in.Offer.Closed():
		return OverCap
	}
	return Billable
}

// late compares whole seconds first: a click time in nanoseconds could
// overflow, and the window is exceeded by a fraction of a second too.
func late(in Input) bool {
	if in.Offer.AttributionWindowS <= 0 {
		return false
	}
	ageS := in.ReceivedUnixNs/1e9 - in.Click.ClickedUnixS
	fractionNs := in.ReceivedUnixNs % 1e9
	return ageS > in.Offer.AttributionWindowS || ageS == in.Offer.AttributionWindowS && fractionNs > 0
}
