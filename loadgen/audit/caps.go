package audit

import (
	"slices"

	"github.com/postbench/postbench/internal/intent"
)

// maxCapTimes bounds the recording times kept per offer and window to find
// when the cap was reached; beyond it visibility is not reported.
const maxCapTimes = 1 << 20

// CapWindow is what happened to one offer in one of its cap windows.
type CapWindow struct {
	OfferID, Window string
	Cap             int64
	Billable        int64 // billable rows, repeats included
	OverCap         int64 // identities recorded as over the cap
	// BeforeClosing are the identities recorded as billable or over_cap that
	// were due before the router first saw the offer closed.
	BeforeClosing int64
	// VisibleNs is the time from the row that reached the cap to the moment
	// the router saw the offer closed; -1 when not known.
	VisibleNs int64
}

// BilledOvershoot is the billable rows beyond the cap.
func (w *CapWindow) BilledOvershoot() int64 { return max(0, w.Billable-w.Cap) }

// TrafficOvershoot is how far the traffic that a router would have let
// through went past the cap (DESIGN §2).
func (w *CapWindow) TrafficOvershoot() int64 { return max(0, w.BeforeClosing-w.Cap) }

// Undershoot is what was refused as over the cap although room remained.
func (w *CapWindow) Undershoot() int64 { return max(0, min(w.OverCap, w.Cap-w.Billable)) }

type capKey struct {
	offer  int
	window string
}

type capEntry struct {
	CapWindow
	offer     int
	recorded  []int64 // Unix ns of the billable rows
	truncated bool
}

type capBook struct {
	offers  []intent.Offer
	entries map[capKey]*capEntry
}

func newCapBook(offers []intent.Offer) capBook {
	return capBook{offers: offers, entries: map[capKey]*capEntry{}}
}

// row books an original row of intent it. counted says that the row is its
// identity's first and was due before the router saw the offer closed.
func (b *capBook) row(it *intent.Intent, row *Row, counted bool) {
	offer := &b.offers[it.Offer]
	if offer.Cap == 0 || row.Verdict != intent.Billable && row.Verdict != intent.OverCap {
		return
	}
	key := capKey{it.Offer, row.CapWindow}
	e, ok := b.entries[key]
	if !ok {
		e = &capEntry{offer: it.Offer, CapWindow: CapWindow{OfferID: offer.ID, Window: row.CapWindow, Cap: offer.Cap, VisibleNs: -1}}
		b.entries[key] = e
	}
	if counted {
		e.BeforeClosing++
	}
	if row.Verdict == intent.OverCap {
		e.OverCap++
		return
	}
	e.Billable++
	if len(e.recorded) < maxCapTimes {
		e.recorded = append(e.recorded, row.RecordedUnixNs)
	} else {
		e.truncated = true
	}
}

// windows returns the entries in order, with the visibility filled in where
// the clocks can be compared.
func (b *capBook) windows(cfg *Config) []CapWindow {
	var list []CapWindow
	for _, e := range b.entries {
		if cfg.ClockKnown && cfg.ClosedSeenNs != nil && !e.truncated {
			e.VisibleNs = e.visible(cfg)
		}
		list = append(list, e.CapWindow)
	}
	slices.SortFunc(list, func(x, y CapWindow) int {
		return slices.Compare([]string{x.OfferID, x.Window}, []string{y.OfferID, y.Window})
	})
	return list
}

func (e *capEntry) visible(cfg *Config) int64 {
	closed := cfg.ClosedSeenNs[e.offer]
	if closed == NeverClosed || int64(len(e.recorded)) < e.Cap {
		return -1
	}
	slices.Sort(e.recorded)
	reachedUnixNs := e.recorded[e.Cap-1] + cfg.ClockOffsetNs
	return max(0, cfg.StartUnixNs+closed-reachedUnixNs)
}
