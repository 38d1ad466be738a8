package audit

import (
	"cmp"
	"slices"

	"github.com/postbench/postbench/internal/intent"
)

// Limits of the cap book. Beyond them rows are counted in
// Sheet.CapRowsDropped and VisibleNs is not known.
const (
	maxCapWindows = 1 << 16
	maxCapTimes   = 1 << 20 // recording times kept per window
)

// CapWindow is what happened to one offer in one of its cap windows.
type CapWindow struct {
	OfferID, Window string
	Cap             int64
	// Billable are the billable rows of the offer: repeats, forged ones, and
	// phantoms that name it included.
	Billable int64
	// OverCap are the legitimate identities that were recorded as over the cap
	// and not as billable too.
	OverCap int64
	// BeforeClosing are the legitimate identities recorded as billable or
	// over_cap that were due before the router first saw the offer closed.
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

// noOffer stands for the offer of a row that belongs to no intent.
const noOffer = -1

type capKey struct {
	offer  int
	window string
}

type capEntry struct {
	capKey
	billable int64
	recorded []int64 // Unix ns of the billable rows that say it
}

// capBook books rows of capped offers, each in the window that the row names.
type capBook struct {
	offers  []intent.Offer
	byID    map[string]int
	numbers map[capKey]uint32 // position in entries + 1
	entries []capEntry
	dropped int64
}

func newCapBook(offers []intent.Offer) capBook {
	b := capBook{offers: offers, byID: make(map[string]int, len(offers)), numbers: map[capKey]uint32{}}
	for i := range offers {
		b.byID[offers[i].ID] = i
	}
	return b
}

// row books a billable or over_cap row and returns the number of its window,
// 0 if there is none. It belongs to the offer that it names, else to the
// intent's, which is the position offer or noOffer.
func (b *capBook) row(row *Row, offer int) uint32 {
	if row.Verdict != intent.Billable && row.Verdict != intent.OverCap {
		return 0
	}
	if named, ok := b.byID[string(row.OfferID)]; ok {
		offer = named
	}
	if offer == noOffer || b.offers[offer].Cap == 0 {
		return 0
	}
	number := b.number(capKey{offer, row.CapWindow})
	if number != 0 && row.Verdict == intent.Billable {
		e := &b.entries[number-1]
		e.billable++
		if row.RecordedUnixNs > 0 && len(e.recorded) < maxCapTimes {
			e.recorded = append(e.recorded, row.RecordedUnixNs)
		}
	}
	return number
}

func (b *capBook) number(key capKey) uint32 {
	number, ok := b.numbers[key]
	switch {
	case ok:
		return number
	case len(b.entries) == maxCapWindows:
		b.dropped++
		return 0
	}
	b.entries = append(b.entries, capEntry{capKey: key})
	number = uint32(len(b.entries))
	b.numbers[key] = number
	return number
}

// less orders windows in a way that does not depend on the order of the rows.
func (b *capBook) less(x, y uint32) bool {
	return b.entries[x-1].compare(b.entries[y-1].capKey) < 0
}

func (k capKey) compare(o capKey) int {
	return cmp.Or(cmp.Compare(k.offer, o.offer), cmp.Compare(k.window, o.window))
}

// windows returns a window for each entry, in the same order, and one for each
// capped offer without any; the identities are not counted yet.
func (b *capBook) windows(cfg *Config) []CapWindow {
	list := make([]CapWindow, 0, len(b.entries))
	seen := make([]bool, len(b.offers))
	for i := range b.entries {
		e := &b.entries[i]
		seen[e.offer] = true
		list = append(list, CapWindow{OfferID: b.offers[e.offer].ID, Window: e.window, Cap: b.offers[e.offer].Cap,
			Billable: e.billable, VisibleNs: b.visibleNs(e, cfg)})
	}
	for i := range b.offers {
		if b.offers[i].Cap > 0 && !seen[i] {
			list = append(list, CapWindow{OfferID: b.offers[i].ID, Cap: b.offers[i].Cap, VisibleNs: -1})
		}
	}
	return list
}

// visibleNs is not known when the clocks cannot be compared, a billable row is
// without a time, or the router saw the offer closed before the cap was
// reached: then it was another window's.
func (b *capBook) visibleNs(e *capEntry, cfg *Config) int64 {
	limit := b.offers[e.offer].Cap
	timed := int64(len(e.recorded))
	if !cfg.ClockKnown || cfg.ClosedSeenNs == nil || timed < e.billable || timed < limit {
		return -1
	}
	closedNs := cfg.ClosedSeenNs[e.offer]
	slices.Sort(e.recorded)
	reachedNs := e.recorded[limit-1] + cfg.ClockOffsetNs - cfg.StartUnixNs
	if closedNs == NeverClosed || closedNs < reachedNs {
		return -1
	}
	return closedNs - reachedNs
}

// identity counts a legitimate identity in its window.
func (w *CapWindow) identity(cell *Cell, closedNs int64) {
	if cell.DueNs < closedNs {
		w.BeforeClosing++
	}
	if cell.verdicts().Has(intent.OverCap) && cell.BillableRows == 0 {
		w.OverCap++
	}
}

func sortWindows(list []CapWindow) {
	slices.SortFunc(list, func(x, y CapWindow) int {
		return cmp.Or(cmp.Compare(x.OfferID, y.OfferID), cmp.Compare(x.Window, y.Window))
	})
}
