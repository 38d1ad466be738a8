package audit

import (
	"cmp"
	"slices"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// MaxWorst is how many lost postbacks a sheet lists.
const MaxWorst = 20

// Fate is what became of one intent.
type Fate uint8

// The fates of DESIGN §2.
const (
	FateRecorded Fate = iota
	FateRecordedUnacked
	FateLostAfterAck
	FateLostAtPartner
	FateRejected
	FateForgedAccepted
)

// String returns the word used in results.
func (f Fate) String() string {
	words := [...]string{"recorded", "recorded_unacked", "lost_after_ack", "lost_at_partner", "rejected", "forged_accepted"}
	if int(f) >= len(words) {
		return "invalid"
	}
	return words[f]
}

func (f Fate) count(to *Fates) {
	switch f {
	case FateRecorded:
		to.Recorded++
	case FateRecordedUnacked:
		to.RecordedUnacked++
	case FateLostAfterAck:
		to.LostAfterAck++
	case FateLostAtPartner:
		to.LostAtPartner++
	case FateRejected:
		to.Rejected++
	case FateForgedAccepted:
		to.ForgedAccepted++
	}
}

// Lost is one lost postback with its timeline, in ns since the run's start (0
// where it never got so far).
type Lost struct {
	Index                                 uint64
	ClickID, TxID                         string
	Event                                 postback.Event
	Partner                               int
	Payout                                postback.Money
	Currency                              postback.Currency
	Fate                                  Fate
	Reason                                intent.Reason
	DueNs, DispatchedNs, AckNs, LastEndNs int64
	LastStatus, Attempts                  int
	LastOutcome                           intent.Outcome
}

// worse orders lost postbacks: an acked one is the server's broken promise and
// comes first, then the dearer, then the earlier.
func worse(a, b *Lost) int {
	return cmp.Or(cmp.Compare(a.Fate, b.Fate), cmp.Compare(b.Payout, a.Payout), cmp.Compare(a.Index, b.Index))
}

// worstList keeps the MaxWorst worst of all that are offered.
type worstList struct{ list []Lost }

func (w *worstList) offer(it *intent.Intent, cell *Cell, fate Fate) {
	if fate != FateLostAfterAck && fate != FateLostAtPartner {
		return
	}
	lost := Lost{Index: it.Index, Event: it.Event, Partner: it.Partner, Payout: it.Payout, Currency: it.Currency,
		Fate: fate, Reason: intent.Reason(cell.Reason), DueNs: cell.DueNs, DispatchedNs: cell.DispatchedNs, AckNs: cell.AckNs,
		LastEndNs: cell.LastEndNs, LastStatus: int(cell.LastStatus), Attempts: int(cell.Attempts), LastOutcome: intent.Outcome(cell.LastOutcome)}
	full := len(w.list) == MaxWorst
	if full && worse(&lost, &w.list[MaxWorst-1]) > 0 {
		return
	}
	lost.ClickID, lost.TxID = string(it.ClickID), string(it.TxID)
	if full {
		w.list = w.list[:MaxWorst-1]
	}
	at, _ := slices.BinarySearchFunc(w.list, lost, func(a, b Lost) int { return worse(&a, &b) })
	w.list = slices.Insert(w.list, at, lost)
}
