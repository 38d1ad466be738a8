package intent

import "strings"

// Verdict is what a server says of a recorded conversion (DESIGN §2). The
// judge has its own list on purpose: it shares no code with the judged.
type Verdict uint8

// The verdicts that a ledger may carry.
const (
	VerdictUnknown Verdict = iota
	Billable
	NonBillable
	Reversal
	OverCap
	Unattributed
	Late
	Duplicate
	Conflict
	// Verdicts is their number, VerdictUnknown included.
	Verdicts
)

// String returns the ledger's word.
func (v Verdict) String() string {
	words := [Verdicts]string{"unknown", "billable", "non_billable", "reversal", "over_cap", "unattributed", "late", "duplicate", "conflict"}
	if v >= Verdicts {
		return words[VerdictUnknown]
	}
	return words[v]
}

// ParseVerdict reads a ledger's word; ok is false for any other text.
func ParseVerdict(word []byte) (v Verdict, ok bool) {
	for v := Billable; v < Verdicts; v++ {
		if string(word) == v.String() {
			return v, true
		}
	}
	return VerdictUnknown, false
}

// VerdictSet is a set of verdicts.
type VerdictSet uint16

// SetOf makes a set.
func SetOf(verdicts ...Verdict) VerdictSet {
	var s VerdictSet
	for _, v := range verdicts {
		s |= 1 << v
	}
	return s
}

// Has reports whether v is in the set.
func (s VerdictSet) Has(v Verdict) bool { return s&(1<<v) != 0 }

// String lists the words, separated by "|".
func (s VerdictSet) String() string {
	var words []string
	for v := Billable; v < Verdicts; v++ {
		if s.Has(v) {
			words = append(words, v.String())
		}
	}
	return strings.Join(words, "|")
}

// Admissible is the set of verdicts that a correct server may give to a row of
// an intent, whose attempts reached it between firstUnixS and lastUnixS (whole
// Unix seconds on the server's clock, rounded down). It is empty for
// illegitimate intents: any row is wrong.
//
// An offer with a cap admits over_cap, because only the counts per cap window
// are determined, not which postback of a burst is the hundredth. An attempt
// that straddles the end of the attribution window admits both sides, and so
// does a click of the user's own, whose age is not known.
func (g *Generator) Admissible(it *Intent, firstUnixS, lastUnixS int64) VerdictSet {
	switch {
	case !it.Kind.Legitimate():
		return 0
	case it.Kind == UnknownClick:
		return SetOf(Unattributed)
	case it.Event.Reverses():
		return SetOf(Reversal)
	}
	offer := &g.spec.Offers[it.Offer]
	inTime := SetOf(Billable)
	switch {
	case !it.Payable():
		inTime = SetOf(NonBillable)
	case offer.Cap > 0:
		inTime = SetOf(Billable, OverCap)
	}
	lateFrom := g.ClickUnixS(it.Index) + offer.AttributionWindowS
	switch {
	case offer.AttributionWindowS == 0:
		return inTime
	case g.spec.Clicks != nil:
		return inTime | SetOf(Late)
	case firstUnixS > lateFrom:
		return SetOf(Late)
	case lastUnixS >= lateFrom:
		return inTime | SetOf(Late)
	}
	return inTime
}
