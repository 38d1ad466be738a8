package audit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/postbench/postbench/internal/intent"
)

func TestCaps(t *testing.T) {
	paid := "EUR left out -1, EUR left out µ -40, EUR partner +1, EUR partner µ +40, EUR recorded +1, EUR recorded µ +40, capped billable +1, "
	requireFaults(t, []fault{
		{"billed over the cap", func(h *history) { h.of(h.capped(intent.OverCap)).Verdict = intent.Billable },
			paid + "capped billed_overshoot +1, capped over cap -1, rows billable +1, rows over_cap -1"},
		{"refused below the cap", func(h *history) { h.of(h.capped(intent.Billable)).Verdict = intent.OverCap },
			"EUR left out +1, EUR left out µ +40, EUR partner -1, EUR partner µ -40, EUR recorded -1, EUR recorded µ -40, capped billable -1, capped over cap +1, capped undershoot +1, rows billable -1, rows over_cap +1"},
		{"one too few, all over_cap rows twice", func(h *history) { // one place was free, not one per row
			h.of(h.capped(intent.Billable)).Verdict = intent.OverCap
			for _, row := range h.rows {
				if row.Verdict == intent.OverCap {
					h.add(row)
				}
			}
		}, fmt.Sprintf("EUR left out +1, EUR left out µ +40, EUR partner -1, EUR partner µ -40, EUR recorded -1, EUR recorded µ -40, capped billable -1, capped over cap +1, capped undershoot +1, repeats +%d, rows billable -1, rows over_cap +%[2]d",
			overCapRows(flawless(t))+1, overCapRows(flawless(t))+2)},
		{"billed twice takes two places", func(h *history) { h.add(*h.of(h.capped(intent.Billable))) },
			"EUR recorded +1, EUR recorded µ +40, EUR surplus +1, EUR surplus µ +40, capped billable +1, capped billed_overshoot +1, double_counted +1, repeats +1, rows billable +1"},
		{"a forged one takes a place", func(h *history) {
			i := h.find("forgery on the capped offer", func(it *intent.Intent) bool { return !it.Kind.Legitimate() && it.Offer == 1 && it.Payout > 0 })
			h.add(h.row(i, intent.Billable))
		}, "EUR recorded +1, EUR recorded µ +40, EUR surplus +1, EUR surplus µ +40, capped billable +1, capped billed_overshoot +1, forged_accepted +1, rejected -1, rows billable +1"},
		{"a forged one over the cap", func(h *history) {
			i := h.find("forgery on the capped offer", func(it *intent.Intent) bool { return !it.Kind.Legitimate() && it.Offer == 1 })
			h.add(h.row(i, intent.OverCap))
		}, "forged_accepted +1, rejected -1, rows over_cap +1"},
		{"a phantom takes a place", func(h *history) {
			row := h.row(h.capped(intent.Billable), intent.Billable)
			row.ClickID = []byte("x")
			h.add(row)
		}, "EUR recorded +1, EUR recorded µ +40, EUR surplus +1, EUR surplus µ +40, capped billable +1, capped billed_overshoot +1, phantom +1"},
		{"a phantom over the cap", func(h *history) {
			row := h.row(h.capped(intent.Billable), intent.OverCap)
			row.ClickID = []byte("x")
			h.add(row)
		}, "phantom +1"},
		{"a phantom without an offer", func(h *history) {
			h.add(Row{Verdict: intent.Billable, Currency: eur, OfferID: []byte("no such")})
		}, "EUR recorded +1, EUR surplus +1, phantom +1"},
		{"billed on the capped offer instead of its own", func(h *history) { h.of(h.sale()).OfferID = []byte("capped") },
			"capped billable +1, capped billed_overshoot +1, wrong_payload +1"},
		{"billed on another offer", func(h *history) { h.of(h.capped(intent.Billable)).OfferID = []byte("open") },
			"capped billable -1, capped undershoot +1, wrong_payload +1"},
		{"the ledger does not name the offer", func(h *history) { h.of(h.capped(intent.Billable)).OfferID = nil }, ""},
		{"the ledger has names of its own", func(h *history) { h.of(h.capped(intent.Billable)).OfferID = []byte("17") }, "wrong_payload +1"},
		{"another window", func(h *history) { h.of(h.capped(intent.OverCap)).CapWindow = "monday" },
			"capped monday over cap +1, capped monday undershoot +1, capped over cap -1"},
		{"a window on an offer without a cap", func(h *history) { h.of(h.sale()).CapWindow = "monday" }, ""},
	})
}

func overCapRows(h *history) (n int) {
	for _, row := range h.rows {
		if row.Verdict == intent.OverCap {
			n++
		}
	}
	return n
}

// cappedRun has two capped offers and nothing else; all n intents are billable
// rows unless changed.
func cappedRun(t *testing.T, n int) *history {
	spec := testSpec()
	spec.Mix = intent.Mix{}
	spec.Offers = []intent.Offer{
		{ID: "a", Share: 1, Payout: 1, Currency: eur, Cap: 3},
		{ID: "b", Share: 1, Payout: 1, Currency: eur, Cap: 4},
	}
	h := newHistory(t, spec, n)
	for i := range uint64(n) {
		h.play(i, intent.Acked)
		h.add(h.row(i, intent.Billable))
	}
	return h
}

// nth is the nth intent of an offer, from 1.
func (h *history) nth(offer, n int) uint64 {
	return h.find("intent of the offer", func(it *intent.Intent) bool {
		if it.Offer == offer {
			n--
		}
		return n == 0
	})
}

func (h *history) count(offer int) (n int64) {
	for i := range uint64(len(h.cfg.Cells)) {
		if h.at(i).Offer == offer {
			n++
		}
	}
	return n
}

func TestTrafficOvershoot(t *testing.T) {
	const n = 40
	h := cappedRun(t, n)
	a, b := h.count(0), h.count(1)
	if a < 8 || b < 8 {
		t.Fatalf("%d and %d intents of two offers", a, b)
	}
	fifthDue := h.cfg.Cells[h.nth(0, 5)].DueNs
	for _, c := range []struct {
		name           string
		closed         []int64
		beforeA, overA int64
		beforeB, overB int64
	}{
		{"no router", nil, 0, 0, 0, 0},
		{"never closed", []int64{NeverClosed, NeverClosed}, a, a - 3, b, b - 4},
		{"closed before everything", []int64{0, -1}, 0, 0, 0, 0},
		{"closed when the fifth was due", []int64{fifthDue, 0}, 4, 1, 0, 0},
		{"closed just after the fifth was due", []int64{fifthDue + 1, 0}, 5, 2, 0, 0},
		{"closed at the cap", []int64{h.cfg.Cells[h.nth(0, 4)].DueNs, NeverClosed}, 3, 0, b, b - 4},
	} {
		h.cfg.ClosedSeenNs = c.closed
		s := h.judge()
		got := [4]int64{s.Caps[0].BeforeClosing, s.Caps[0].TrafficOvershoot(), s.Caps[1].BeforeClosing, s.Caps[1].TrafficOvershoot()}
		if want := [4]int64{c.beforeA, c.overA, c.beforeB, c.overB}; got != want {
			t.Errorf("%s: %d, want %d", c.name, got, want)
		}
		if s.Caps[0].BilledOvershoot() != a-3 || s.Caps[1].BilledOvershoot() != b-4 {
			t.Errorf("%s: billed overshoot %+v", c.name, s.Caps)
		}
	}
}

// What is counted before the closing are legitimate identities, each once, and
// only those that would have taken a place.
func TestTrafficOvershootCountsIdentities(t *testing.T) {
	h := cappedRun(t, 40)
	h.cfg.ClosedSeenNs = []int64{NeverClosed, NeverClosed}
	a, b := h.count(0), h.count(1)
	again := *h.of(h.nth(0, 1))
	again.CapWindow = "later"
	h.add(again, again)
	h.of(h.nth(0, 2)).Verdict = intent.OverCap
	h.of(h.nth(1, 1)).Verdict = intent.Late
	h.of(h.nth(1, 2)).Verdict = intent.Duplicate
	h.drop(h.nth(1, 3))
	s := h.judge()
	got := [3]int64{s.Caps[0].BeforeClosing, s.Caps[1].BeforeClosing, s.Caps[2].BeforeClosing}
	if want := [3]int64{a, 0, b - 3}; got != want {
		t.Errorf("before closing %d, want %d: %+v", got, want, s.Caps)
	}
}

// windowedRun is a cappedRun whose offer a counts in three windows: 5 intents
// fall in "mon", 5 in "tue", the others in "wed", none of which comes first in
// the ledger.
func windowedRun(t *testing.T) *history {
	h := cappedRun(t, 60)
	for n := 1; n <= int(h.count(0)); n++ {
		h.of(h.nth(0, n)).CapWindow = []string{"mon", "tue", "wed"}[min((n-1)/5, 2)]
	}
	slices.Reverse(h.rows)
	h.cfg.ClosedSeenNs = []int64{NeverClosed, NeverClosed}
	return h
}

// What the router saw of one window says nothing of another, and each has the
// whole cap of 3.
func TestTrafficOvershootOfWindows(t *testing.T) {
	h := windowedRun(t)
	due := func(n int) int64 { return h.cfg.Cells[h.nth(0, n)].DueNs }
	rest := h.count(0) - 10
	const unwatched = -1
	for _, c := range []struct {
		name     string
		closed   int64 // first, of any window
		closings []Closing
		before   [3]int64 // of mon, tue, wed
	}{
		{"never closed", NeverClosed, nil, [3]int64{5, 5, rest}},
		{"closed in the first one", due(5), nil, [3]int64{4, unwatched, unwatched}},
		{"closed later: all of the first one came before", due(8), nil, [3]int64{5, unwatched, unwatched}},
		{"each by name", due(5), []Closing{{0, "tue", due(9)}, {0, "mon", due(5)}, {0, "wed", due(12)}}, [3]int64{4, 3, 1}},
		{"one seen open only", due(5), []Closing{{0, "mon", due(5)}, {0, "tue", NeverClosed}}, [3]int64{4, 5, unwatched}},
		{"only another offer's by name", due(5), []Closing{{1, "mon", due(1)}}, [3]int64{4, unwatched, unwatched}},
		{"closed before anything was due in it", due(1), []Closing{{0, "tue", due(4)}}, [3]int64{unwatched, 0, unwatched}},
	} {
		h.cfg.ClosedSeenNs[0], h.cfg.Closings = c.closed, c.closings
		for i, w := range h.judge().Caps[:3] {
			want := CapWindow{OfferID: "a", Window: []string{"mon", "tue", "wed"}[i], Cap: 3, Billable: []int64{5, 5, rest}[i],
				BeforeClosing: max(0, c.before[i]), Unwatched: c.before[i] == unwatched, VisibleNs: w.VisibleNs}
			if w != want {
				t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, w, want)
			}
		}
	}
	h.cfg.ClosedSeenNs, h.cfg.Closings = nil, nil
	if w := h.judge().Caps[1]; w.Unwatched || w.BeforeClosing != 0 || w.BilledOvershoot() != 2 {
		t.Errorf("no router: %+v", w)
	}
}

// Room in one window is no room in another.
func TestUndershootOfWindows(t *testing.T) {
	h := windowedRun(t)
	refuse := func(from, to int) {
		for n := from; n <= to; n++ {
			h.of(h.nth(0, n)).Verdict = intent.OverCap
		}
	}
	refuse(1, 5)  // mon: 0 billable, 3 places free
	refuse(9, 10) // tue: 3 billable, full
	refuse(13, int(h.count(0)))
	s := h.judge()
	for i, want := range []int64{3, 0, 1} {
		if w := s.Caps[i]; w.Undershoot() != want || w.BilledOvershoot() != 0 {
			t.Errorf("%+v: undershoot %d, want %d", w, w.Undershoot(), want)
		}
	}
}

// Each window becomes visible by its own closing, or not at all.
func TestVisibilityOfWindows(t *testing.T) {
	h := windowedRun(t)
	reachedNs := func(n int) int64 { return h.cfg.Cells[h.nth(0, n)].DueNs + 3*msNs }
	h.cfg.ClosedSeenNs[0] = reachedNs(3) + 7
	for name, c := range map[string]struct {
		closings []Closing
		want     [3]int64
	}{
		"by name":     {[]Closing{{0, "mon", reachedNs(3) + 7}, {0, "wed", reachedNs(13) + 9}}, [3]int64{7, -1, 9}},
		"not by name": {nil, [3]int64{7, -1, -1}},
	} {
		h.cfg.Closings = c.closings
		for i, w := range h.judge().Caps[:3] {
			if w.VisibleNs != c.want[i] {
				t.Errorf("%s: %s visible after %d ns, want %d", name, w.Window, w.VisibleNs, c.want[i])
			}
		}
	}
}

func TestCapVisibility(t *testing.T) {
	h := cappedRun(t, 40)
	// The row of the third intent of offer a reaches its cap, 3 ms after due.
	reachedNs := h.cfg.Cells[h.nth(0, 3)].DueNs + 3*msNs
	for _, c := range []struct {
		name   string
		change func(*history)
		want   int64
	}{
		{"seen later", func(h *history) { h.cfg.ClosedSeenNs[0] = reachedNs + 7 }, 7},
		{"seen at once", func(h *history) { h.cfg.ClosedSeenNs[0] = reachedNs }, 0},
		{"seen before: another window's closing", func(h *history) { h.cfg.ClosedSeenNs[0] = reachedNs - 1 }, -1},
		{"never seen", func(h *history) {}, -1},
		{"no router", func(h *history) { h.cfg.ClosedSeenNs = nil }, -1},
		{"clocks not known", func(h *history) { h.cfg.ClosedSeenNs[0], h.cfg.ClockKnown = reachedNs+7, false }, -1},
		{"clock offset", func(h *history) { h.cfg.ClosedSeenNs[0], h.cfg.ClockOffsetNs = reachedNs+7, 5 }, 2},
		{"a row without a time", func(h *history) {
			h.cfg.ClosedSeenNs[0] = reachedNs + 7
			h.of(h.nth(0, 8)).RecordedUnixNs = 0
		}, -1},
		{"cap not reached", func(h *history) {
			h.cfg.ClosedSeenNs[0] = reachedNs + 7
			for n := range int(h.count(0)) - 2 {
				h.of(h.nth(0, n+1)).Verdict = intent.OverCap
			}
		}, -1},
		{"a repeat reaches it earlier", func(h *history) {
			h.cfg.ClosedSeenNs[0] = reachedNs + 7
			row := *h.of(h.nth(0, 2))
			row.RecordedUnixNs++
			h.add(row)
		}, reachedNs + 7 - (h.cfg.Cells[h.nth(0, 2)].DueNs + 3*msNs + 1)},
	} {
		h := cappedRun(t, 40)
		h.cfg.ClosedSeenNs = []int64{NeverClosed, NeverClosed}
		c.change(h)
		if got := h.judge().Caps[0].VisibleNs; got != c.want {
			t.Errorf("%s: visible after %d ns, want %d", c.name, got, c.want)
		}
	}
}

// An offer that got nothing is an offer, too: means go over all of them.
func TestCapsOfUntouchedOffers(t *testing.T) {
	h := cappedRun(t, 40)
	h.rows = nil
	s := h.judge()
	if len(s.Caps) != 2 || s.Caps[0] != (CapWindow{OfferID: "a", Cap: 3, VisibleNs: -1}) || s.Caps[1].OfferID != "b" {
		t.Errorf("%+v", s.Caps)
	}
}

func TestOvershootFormulas(t *testing.T) {
	for _, c := range []struct {
		w                       CapWindow
		billed, traffic, undone int64
	}{
		{CapWindow{Cap: 5, Billable: 5, OverCap: 3, BeforeClosing: 5}, 0, 0, 0},
		{CapWindow{Cap: 5, Billable: 7, OverCap: 3, BeforeClosing: 9}, 2, 4, 0},
		{CapWindow{Cap: 5, Billable: 3, OverCap: 1, BeforeClosing: 4}, 0, 0, 1},
		{CapWindow{Cap: 5, Billable: 3, OverCap: 9, BeforeClosing: 0}, 0, 0, 2},
		{CapWindow{Cap: 5, Billable: 3, OverCap: 0}, 0, 0, 0},
	} {
		if b, tr, u := c.w.BilledOvershoot(), c.w.TrafficOvershoot(), c.w.Undershoot(); b != c.billed || tr != c.traffic || u != c.undone {
			t.Errorf("%+v: billed %d, traffic %d, under %d", c.w, b, tr, u)
		}
	}
}

// A ledger that invents windows fills the book to its limit and no further.
func TestCapWindowLimit(t *testing.T) {
	h := cappedRun(t, 40)
	j := NewJudge(h.cfg)
	row := h.row(h.nth(0, 1), intent.Billable)
	for i := range maxCapWindows + 10 {
		row.CapWindow = fmt.Sprint(i)
		j.Row(&row)
	}
	row.CapWindow = "0" // known, hence still booked
	j.Row(&row)
	s := j.Sheet()
	if len(s.Caps) != maxCapWindows+1 || s.CapRowsDropped != 10 || len(s.Imbalances) != 0 || s.DoubleCounted != maxCapWindows+10 {
		t.Errorf("%d windows, %d rows dropped, %d double counted, %q", len(s.Caps), s.CapRowsDropped, s.DoubleCounted, s.Imbalances)
	}
}
