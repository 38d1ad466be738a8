package audit

import (
	"cmp"
	"math"
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
	// over_cap that were due before the router first saw this window closed. One
	// that was due in a window and received in the next counts in the latter.
	BeforeClosing int64
	// Unwatched says that a router watched and yet does not know when this
	// window closed: BeforeClosing is 0 and says nothing. A closing belongs to
	// the window that the cap status named. Where it named none, it belongs to
	// the first of the offer's windows in the run, and all others are unwatched;
	// only an offer that was never seen closed had no window that was.
	Unwatched bool
	// VisibleNs is the time from the row that reached the cap to the moment
	// the router saw the offer closed; -1 when not known.
	VisibleNs int64
}

// Closing is what the router saw of a cap window.
type Closing struct {
	Offer  int    `json:"offer"` // position in the spec
	Window string `json:"window"`
	// ClosedNs is when it was first seen closed (ns since the run's start), or
	// NeverClosed if it was only seen open.
	ClosedNs int64 `json:"closed_ns"`
}

// BilledOvershoot is the billable rows beyond the cap.
func (w *CapWindow) BilledOvershoot() int64 { return max(0, w.Billable-w.Cap) }

// TrafficOvershoot is how far the traffic that a router would have let
// through went past the cap (DESIGN §2). It says nothing of a window that is
// Unwatched.
func (w *CapWindow) TrafficOvershoot() int64 { return max(0, w.BeforeClosing-w.Cap) }

// Reached says that as much as the cap was due in the window: only then had
// anybody to stop in time.
func (w *CapWindow) Reached() bool { return w.Billable+w.OverCap >= w.Cap }

// Undershoot is what was refused as over the cap although room remained when the
// window had ended.
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

	// Of the sheet that is being drawn up:
	closedNs   int64 // before which an identity must be due to count
	unwatched  bool
	firstDueNs int64 // of its identities
}

// capBook books rows of capped offers, each in the window that the row names.
type capBook struct {
	offers  []intent.Offer
	byID    map[string]int
	numbers map[capKey]uint32 // position in entries + 1
	entries []capEntry
	dropped int64
	named   map[int]bool // offers whose windows the cap status named
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
	closings, named := make(map[capKey]int64, len(cfg.Closings)), make(map[int]bool)
	for _, c := range cfg.Closings {
		closings[capKey{c.Offer, c.Window}], named[c.Offer] = c.ClosedNs, true
	}
	for i := range b.entries {
		e := &b.entries[i]
		seen[e.offer] = true
		e.firstDueNs, e.unwatched = math.MaxInt64, false
		switch closedNs, watched := closings[e.capKey]; {
		case cfg.ClosedSeenNs == nil:
			e.closedNs = math.MinInt64
		case !named[e.offer]:
			e.closedNs = cfg.ClosedSeenNs[e.offer]
		case watched:
			e.closedNs = closedNs
		default:
			e.closedNs, e.unwatched = math.MinInt64, true
		}
		list = append(list, CapWindow{OfferID: b.offers[e.offer].ID, Window: e.window, Cap: b.offers[e.offer].Cap,
			Billable: e.billable, VisibleNs: b.visibleNs(e, cfg)})
	}
	b.named = named
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
	if !cfg.ClockKnown || cfg.ClosedSeenNs == nil || e.unwatched || timed < e.billable || timed < limit {
		return -1
	}
	slices.Sort(e.recorded)
	reachedNs := e.recorded[limit-1] + cfg.ClockOffsetNs - cfg.StartUnixNs
	if e.closedNs == NeverClosed || e.closedNs < reachedNs {
		return -1
	}
	return e.closedNs - reachedNs
}

// identity counts a legitimate identity in its window, whose entry is e.
func (w *CapWindow) identity(cell *Cell, e *capEntry) {
	e.firstDueNs = min(e.firstDueNs, cell.DueNs)
	if cell.DueNs < e.closedNs {
		w.BeforeClosing++
	}
	if cell.verdicts().Has(intent.OverCap) && cell.BillableRows == 0 {
		w.OverCap++
	}
}

// markUnwatched takes back what was counted before a closing that belongs to
// another window. list is what windows returned.
func (b *capBook) markUnwatched(list []CapWindow, cfg *Config) {
	first := make(map[int]*capEntry)
	for i := range b.entries {
		e := &b.entries[i]
		if f := first[e.offer]; f == nil || cmp.Or(cmp.Compare(e.firstDueNs, f.firstDueNs), cmp.Compare(e.window, f.window)) < 0 {
			first[e.offer] = e
		}
	}
	for i := range b.entries {
		e := &b.entries[i]
		if cfg.ClosedSeenNs != nil && !b.named[e.offer] && e.closedNs != NeverClosed && first[e.offer] != e {
			e.unwatched = true
		}
		if e.unwatched {
			list[i].Unwatched, list[i].BeforeClosing, list[i].VisibleNs = true, 0, -1
		}
	}
}

func sortWindows(list []CapWindow) {
	slices.SortFunc(list, func(x, y CapWindow) int {
		return cmp.Or(cmp.Compare(x.OfferID, y.OfferID), cmp.Compare(x.Window, y.Window))
	})
}
