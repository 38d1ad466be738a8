package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// dayS is a cap window; midnightUnixS a moment at which one begins.
const (
	dayS          = 86_400
	midnightUnixS = 1_700_006_400 // 2023-11-15
)

// capEvery makes the capped offer's cap reset, and takes away its attribution
// window, which the days of these tests would exceed.
func capEvery(t *testing.T, s Subject, windowS int64) {
	t.Helper()
	offers := []store.Offer{{OfferID: CappedOffer, Cap: Cap, CapWindowS: windowS}}
	if n, err := s.Population.LoadOffers(t.Context(), Rows(offers, nil)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

// received is a sale of the capped offer that came in at that time.
func received(txID string, unixNs int64) store.Conversion {
	c := Sale("capped-0", txID)
	c.ReceivedUnixNs = unixNs
	return c
}

// windowed is an opener's store on a clock that the test sets.
type windowed struct {
	Subject
	t     *testing.T
	dir   string
	open  Opener
	nowNs atomic.Int64
}

func openWindowed(t *testing.T, open Opener) *windowed {
	w := &windowed{t: t, dir: t.TempDir(), open: open}
	w.nowNs.Store(midnightUnixS * 1e9)
	w.reopen()
	Populate(t, w.Population, 8)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *windowed) reopen() {
	w.Subject = w.open(w.t, w.dir, func() time.Time { return time.Unix(0, w.nowNs.Load()) })
}

// requireStatus asks for the capped offer's status at a time.
func (w *windowed) requireStatus(atNs, billable int64, window string) {
	w.t.Helper()
	w.nowNs.Store(atNs)
	want := store.OfferStatus{OfferID: CappedOffer, Cap: Cap, Billable: billable, Closed: billable >= Cap, CapWindow: window}
	if got := w.Status(w.t, CappedOffer); got != want {
		w.t.Errorf("status at %d: %+v, want %+v", atNs, got, want)
	}
}

// A conversion counts in the window of its receipt, whenever it is committed;
// each window has the whole cap, also after the store was opened again.
func testCapWindows(t *testing.T, open Opener) {
	w := openWindowed(t, open)
	capEvery(t, w.Subject, dayS)
	const first, second, third = "2023-11-14T00:00:00Z", "2023-11-15T00:00:00Z", "2023-11-16T00:00:00Z"
	const midnightNs, dayNs = int64(midnightUnixS * 1e9), int64(dayS * 1e9)
	for i, step := range []struct {
		atNs   int64
		want   decide.Verdict
		window string
	}{
		{midnightNs - 1, decide.Billable, first},
		{midnightNs, decide.Billable, second}, // the day begins with its first nanosecond
		{midnightNs + 1, decide.Billable, second},
		{midnightNs + dayNs - 1, decide.Billable, second},
		{midnightNs + dayNs - 1, decide.OverCap, second},
		{midnightNs + dayNs, decide.Billable, third},
		{midnightNs + 5, decide.OverCap, second}, // it took its time on the way
		{midnightNs - dayNs, decide.Billable, first},
		{midnightNs - 9, decide.Billable, first},
		{midnightNs - 9, decide.OverCap, first},
	} {
		if i == 7 {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			w.reopen()
		}
		if got := w.Commit(t, received(fmt.Sprint(i), step.atNs)); got.Verdict != step.want {
			t.Errorf("conversion %d: %s, want %s", i, got.Verdict, step.want)
		}
		rows := w.Ledger(t)
		if got := rows[len(rows)-1]; got.CapWindow != step.window || got.Verdict != step.want {
			t.Errorf("conversion %d: row %+v, want window %s", i, got, step.window)
		}
	}
	for _, test := range []struct {
		atNs, billable int64
		window         string
	}{
		{midnightNs - 1, 3, first}, {midnightNs, 3, second}, {midnightNs + dayNs - 1, 3, second},
		{midnightNs + dayNs, 1, third}, {midnightNs + 2*dayNs, 0, "2023-11-17T00:00:00Z"},
	} {
		w.requireStatus(test.atNs, test.billable, test.window)
	}
	other := received("0", midnightNs)
	other.Payout++
	w.Commit(t, other)
	w.Commit(t, Sale("stranger", ""))
	for _, row := range w.Ledger(t)[10:] {
		if row.CapWindow != "" {
			t.Errorf("a window of no cap: %+v", row)
		}
	}
}

// Conversions of many windows at once: none of them counts in another's.
func testRacingWindows(t *testing.T, open Opener) {
	w := openWindowed(t, open)
	const windows, windowS = 12, 10
	capEvery(t, w.Subject, windowS)
	at := func(window int) int64 { return (midnightUnixS + int64(window)*windowS) * 1e9 }
	var wait sync.WaitGroup
	for i := range windows * Cap {
		wait.Go(func() {
			if _, err := w.TryCommit(t.Context(), received(fmt.Sprint(i), at(i%windows))); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	counts := map[string]int{}
	for _, row := range w.Ledger(t) {
		if row.Verdict != decide.Billable {
			t.Errorf("there was room: %+v", row)
		}
		counts[row.CapWindow]++
	}
	if len(counts) != windows {
		t.Errorf("%d windows, want %d: %v", len(counts), windows, counts)
	}
	for window := range windows {
		name := time.Unix(0, at(window)).UTC().Format(time.RFC3339)
		if w.requireStatus(at(window)+1, Cap, name); counts[name] != Cap {
			t.Errorf("window %s: %d rows", name, counts[name])
		}
		if got := w.Commit(t, received(fmt.Sprint("late ", window), at(window))); got.Verdict != decide.OverCap {
			t.Errorf("window %s is full, got %s", name, got.Verdict)
		}
	}
}

// An offer that is loaded with another window counts from 0; with the old one
// it finds what it has counted. Rows keep the window that they were given.
func testOtherWindows(t *testing.T, open Opener) {
	w := openWindowed(t, open)
	const atNs = int64(midnightUnixS+60) * 1e9
	for i, step := range []struct {
		windowS, billable int64
		window            string
	}{
		{0, 1, ""}, {dayS, 1, "2023-11-15T00:00:00Z"}, {3_600, 1, "2023-11-15T00:00:00Z"}, {60, 1, "2023-11-15T00:01:00Z"},
		{7 * dayS, 1, "2023-11-09T00:00:00Z"}, {1, 1, "2023-11-15T00:01:00Z"}, {0, 2, ""}, {dayS, 2, "2023-11-15T00:00:00Z"},
	} {
		capEvery(t, w.Subject, step.windowS)
		w.Commit(t, received(fmt.Sprint(i), atNs))
		w.requireStatus(atNs, step.billable, step.window)
		if rows := w.Ledger(t); rows[i].CapWindow != step.window {
			t.Errorf("row %d: window %q, want %q", i, rows[i].CapWindow, step.window)
		}
	}
}
