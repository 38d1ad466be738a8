// Package storetest is the contract of a store, as tests. Every
// implementation calls Run with a way to open itself.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/monolith"
	"github.com/postbench/postbench/refserver/store"
)

// Subject is an opened store.
type Subject struct {
	Conversions monolith.Conversions
	Books       admin.Books
	Population  admin.Population
	Keys        admin.Keys
	Close       func() error
}

// Opener opens the store that lives in dir, or makes it, on that clock.
type Opener func(t *testing.T, dir string, now func() time.Time) Subject

// The population that every test starts with.
const (
	ClickedUnixS   = 1_700_000_000
	WindowS        = 3_600
	ReceivedUnixNs = (ClickedUnixS + 60) * int64(1e9)
	CappedOffer    = "capped" // cap 3, window WindowS
	FreeOffer      = "free"   // no cap, no window
	Cap            = 3
)

// Run runs the contract.
func Run(t *testing.T, open Opener) {
	for name, test := range map[string]func(*testing.T, Opener){
		"attribution":        testAttribution,
		"verdicts":           testVerdicts,
		"identity":           testIdentity,
		"bytes":              testBytes,
		"longest":            testLongest,
		"conflict":           testConflict,
		"click's own offer":  testClicksOwnOffer,
		"cap, one at a time": testCapInOrder,
		"cap windows":        testCapWindows,
		"racing windows":     testRacingWindows,
		"other windows":      testOtherWindows,
		"racing duplicates":  testRacingDuplicates,
		"ledger order":       testLedgerOrder,
		"population":         testPopulation,
		"large load":         testLargeLoad,
		"keys":               testKeys,
		"reopen":             testReopen,
		"deadline":           testDeadline,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// Populate loads the clicks "capped-0", "free-0" and so on, n of each offer.
func Populate(t testing.TB, population admin.Population, n int) {
	t.Helper()
	offers := []store.Offer{
		{OfferID: CappedOffer, Cap: Cap, Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, AttributionWindowS: WindowS},
		{OfferID: FreeOffer, Payout: 1_000_000, Currency: postback.Currency{'U', 'S', 'D'}},
	}
	if _, err := population.LoadOffers(t.Context(), Rows(offers, nil)); err != nil {
		t.Fatal(err)
	}
	var clicks []store.Click
	for _, offer := range offers {
		for i := range n {
			clicks = append(clicks, store.Click{ClickID: fmt.Sprintf("%s-%d", offer.OfferID, i), OfferID: offer.OfferID, ClickedUnixS: ClickedUnixS})
		}
	}
	loaded, err := population.LoadClicks(t.Context(), Rows(clicks, nil))
	if err != nil || loaded != int64(len(clicks)) {
		t.Fatalf("loaded %d of %d clicks: %v", loaded, len(clicks), err)
	}
}

// Rows is a sequence of rows that ends with err, if there is one.
func Rows[T any](rows []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

// Sale is a well-paid conversion of a click.
func Sale(clickID, txID string) store.Conversion {
	return store.Conversion{
		ClickID: clickID, TxID: txID, ClaimedOfferID: CappedOffer, Event: postback.EventSale,
		Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, ReceivedUnixNs: ReceivedUnixNs,
	}
}

// Commit attributes and commits like a server.
func (s Subject) Commit(t testing.TB, c store.Conversion) store.Outcome {
	t.Helper()
	out, err := s.TryCommit(t.Context(), c)
	if err != nil {
		t.Fatalf("commit %s: %v", c.ClickID, err)
	}
	return out
}

// TryCommit is Commit for goroutines that must not end the test.
func (s Subject) TryCommit(ctx context.Context, c store.Conversion) (out store.Outcome, err error) {
	if c.Attribution, err = s.Conversions.Attribute(ctx, c.ClickID); err != nil {
		return out, err
	}
	return s.Conversions.Commit(ctx, &c)
}

// Ledger reads all rows.
func (s Subject) Ledger(t testing.TB) []store.Row {
	t.Helper()
	var rows []store.Row
	if err := s.Books.EachRow(t.Context(), func(r store.Row) error { rows = append(rows, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return rows
}

// Status is the status of an offer that must exist.
func (s Subject) Status(t testing.TB, offerID string) store.OfferStatus {
	t.Helper()
	status, found, err := s.Books.OfferStatus(t.Context(), offerID)
	if err != nil || !found {
		t.Fatalf("offer %s: found %v, %v", offerID, found, err)
	}
	return status
}

func fresh(t *testing.T, open Opener) Subject {
	t.Helper()
	s := open(t, t.TempDir(), time.Now)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	Populate(t, s.Population, 8)
	return s
}

func testAttribution(t *testing.T, open Opener) {
	s := fresh(t, open)
	for clickID, want := range map[string]store.Attribution{
		"capped-0": {Found: true, OfferID: CappedOffer, ClickedUnixS: ClickedUnixS},
		"free-7":   {Found: true, OfferID: FreeOffer, ClickedUnixS: ClickedUnixS},
		"CAPPED-0": {},
		"":         {},
	} {
		got, err := s.Conversions.Attribute(t.Context(), clickID)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", clickID, got, err, want)
		}
	}
}

func testVerdicts(t *testing.T, open Opener) {
	s := fresh(t, open)
	lateNs := (ClickedUnixS+WindowS)*int64(1e9) + 1
	for _, test := range []struct {
		name   string
		change func(*store.Conversion)
		want   decide.Verdict
	}{
		{"capped-0", func(*store.Conversion) {}, decide.Billable},
		{"capped-1", func(c *store.Conversion) { c.Event = postback.EventRefund }, decide.Reversal},
		{"capped-2", func(c *store.Conversion) { c.Event, c.Payout = postback.EventLead, 0 }, decide.NonBillable},
		{"capped-3", func(c *store.Conversion) { c.ReceivedUnixNs = lateNs }, decide.Late},
		{"free-0", func(c *store.Conversion) { c.ReceivedUnixNs = lateNs }, decide.Billable},
		{"stranger", func(*store.Conversion) {}, decide.Unattributed},
	} {
		c := Sale(test.name, "t-1")
		test.change(&c)
		if got := s.Commit(t, c); got.Verdict != test.want || got.Repeated || got.CapNs < 0 || got.InsertNs < 0 {
			t.Errorf("%s: %+v, want %s", test.name, got, test.want)
		}
		row := s.Ledger(t)[len(s.Ledger(t))-1]
		if row.RecordedUnixNs == 0 {
			t.Errorf("%s: no time of the commit", test.name)
		}
		row.RecordedUnixNs = 0
		offerID, _, _ := strings.Cut(test.name, "-")
		if test.want == decide.Unattributed {
			offerID = c.ClaimedOfferID
		}
		want := store.Row{ClickID: c.ClickID, TxID: c.TxID, Event: c.Event.String(), Verdict: test.want, OfferID: offerID,
			Payout: c.Payout, Currency: "EUR", ReceivedUnixNs: c.ReceivedUnixNs}
		if row != want {
			t.Errorf("%s:\nrow  %+v\nwant %+v", test.name, row, want)
		}
	}
	if got := s.Status(t, CappedOffer); got != (store.OfferStatus{OfferID: CappedOffer, Cap: Cap, Billable: 1}) {
		t.Errorf("only the billable one may count: %+v", got)
	}
}

func testIdentity(t *testing.T, open Opener) {
	s := fresh(t, open)
	lead := Sale("free-0", "")
	lead.Event = postback.EventLead
	for i, c := range []store.Conversion{Sale("free-0", ""), Sale("free-0", "t-1"), lead, Sale("free-1", "")} {
		if got := s.Commit(t, c); got.Repeated || got.Verdict != decide.Billable {
			t.Errorf("conversion %d is new, got %+v", i, got)
		}
		again := c
		again.ReceivedUnixNs += int64(1e12) // when it comes again is not its identity
		if got := s.Commit(t, again); !got.Repeated || got.Verdict != decide.Duplicate {
			t.Errorf("conversion %d again: %+v", i, got)
		}
	}
	if rows := s.Ledger(t); len(rows) != 4 {
		t.Errorf("%d rows, want 4: %+v", len(rows), rows)
	}
	if got := s.Status(t, FreeOffer); got.Billable != 4 || got.Closed {
		t.Errorf("offer without a cap: %+v", got)
	}
}

func testConflict(t *testing.T, open Opener) {
	s := fresh(t, open)
	s.Commit(t, Sale("free-0", "t-1"))
	other := map[string]func(*store.Conversion){
		"payout":   func(c *store.Conversion) { c.Payout++ },
		"currency": func(c *store.Conversion) { c.Currency = postback.Currency{'U', 'S', 'D'} },
		"offer":    func(c *store.Conversion) { c.ClaimedOfferID = FreeOffer },
	}
	for name, change := range other {
		c := Sale("free-0", "t-1")
		change(&c)
		if got := s.Commit(t, c); got.Verdict != decide.Conflict || got.Repeated {
			t.Errorf("other %s: %+v", name, got)
		}
		if got := s.Commit(t, c); got.Verdict != decide.Conflict || !got.Repeated {
			t.Errorf("other %s again: %+v", name, got)
		}
	}
	rows := s.Ledger(t)
	conflicts := slices.DeleteFunc(slices.Clone(rows), func(r store.Row) bool { return r.Verdict != decide.Conflict })
	if len(rows) != 4 || len(conflicts) != 3 || rows[0].Verdict != decide.Billable {
		t.Errorf("want the billable row, then 3 conflicts: %+v", rows)
	}
	if got := s.Status(t, FreeOffer).Billable; got != 1 {
		t.Errorf("billed %d times", got)
	}
}

func testClicksOwnOffer(t *testing.T, open Opener) {
	s := fresh(t, open)
	s.Commit(t, Sale("free-0", "t-1")) // claims the capped offer
	if row := s.Ledger(t)[0]; row.OfferID != FreeOffer {
		t.Errorf("recorded for %s, the click is of %s", row.OfferID, FreeOffer)
	}
	if capped, free := s.Status(t, CappedOffer).Billable, s.Status(t, FreeOffer).Billable; capped != 0 || free != 1 {
		t.Errorf("counters: capped %d, free %d; want 0, 1", capped, free)
	}
}

func testCapInOrder(t *testing.T, open Opener) {
	s := fresh(t, open)
	for i := range Cap + 2 {
		want, closed := decide.Billable, i+1 >= Cap
		if i >= Cap {
			want = decide.OverCap
		}
		if got := s.Commit(t, Sale(fmt.Sprintf("capped-%d", i), "")); got.Verdict != want {
			t.Errorf("conversion %d: %s, want %s", i+1, got.Verdict, want)
		}
		if got := s.Status(t, CappedOffer); got.Closed != closed || got.Billable != int64(min(i+1, Cap)) {
			t.Errorf("after conversion %d: %+v", i+1, got)
		}
	}
	if _, found, err := s.Books.OfferStatus(t.Context(), "nobody's"); found || err != nil {
		t.Errorf("an offer nobody loaded: found %v, %v", found, err)
	}
}

func testRacingDuplicates(t *testing.T, open Opener) {
	s := fresh(t, open)
	const racers = 32
	var (
		wait     sync.WaitGroup
		outcomes [racers]store.Outcome
		errs     [racers]error
	)
	for i := range racers {
		wait.Go(func() {
			c := Sale("free-0", "t-1")
			c.Payout += postback.Money(i % 2) // two payloads: one wins, the other is a conflict
			outcomes[i], errs[i] = s.TryCommit(t.Context(), c)
		})
	}
	wait.Wait()
	counts := map[string]int{}
	for i, out := range outcomes {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		counts[fmt.Sprintf("%s %v", out.Verdict, out.Repeated)]++
	}
	want := map[string]int{"billable false": 1, "duplicate true": racers/2 - 1, "conflict false": 1, "conflict true": racers/2 - 1}
	for outcome, n := range want {
		if counts[outcome] != n {
			t.Errorf("outcomes %v, want %v", counts, want)
			break
		}
	}
	if rows, billed := s.Ledger(t), s.Status(t, FreeOffer).Billable; len(rows) != 2 || billed != 1 {
		t.Errorf("%d rows, billed %d times; want 2 rows, billed once", len(rows), billed)
	}
}

func testLedgerOrder(t *testing.T, open Opener) {
	s := fresh(t, open)
	const n = 2_100 // more than one page
	for i := range n {
		s.Commit(t, Sale("free-0", fmt.Sprintf("t-%d", i)))
	}
	rows := s.Ledger(t)
	if len(rows) != n {
		t.Fatalf("%d rows, want %d", len(rows), n)
	}
	for i, row := range rows {
		if want := fmt.Sprintf("t-%d", i); row.TxID != want || i > 0 && row.RecordedUnixNs < rows[i-1].RecordedUnixNs {
			t.Fatalf("row %d: %+v, want %s in the order of the commits", i, row, want)
		}
	}
	stop := errors.New("stop")
	visited := 0
	err := s.Books.EachRow(t.Context(), func(store.Row) error { visited++; return stop })
	if !errors.Is(err, stop) || visited != 1 {
		t.Errorf("visit's error must end the walk: %v after %d rows", err, visited)
	}
}

func testPopulation(t *testing.T, open Opener) {
	s := fresh(t, open)
	s.Commit(t, Sale("capped-0", ""))
	broken := errors.New("line 3")
	clicks := []store.Click{{ClickID: "new-1", OfferID: FreeOffer}, {ClickID: "new-2", OfferID: FreeOffer}}
	if _, err := s.Population.LoadClicks(t.Context(), Rows(clicks, broken)); !errors.Is(err, broken) {
		t.Errorf("error of the sequence got lost: %v", err)
	}
	offers := []store.Offer{{OfferID: CappedOffer, Cap: 1, AttributionWindowS: WindowS}}
	if _, err := s.Population.LoadOffers(t.Context(), Rows(offers, broken)); !errors.Is(err, broken) {
		t.Errorf("error of the sequence got lost: %v", err)
	}
	if got, err := s.Conversions.Attribute(t.Context(), "new-1"); got.Found || err != nil {
		t.Errorf("a broken load left a click behind: %+v, %v", got, err)
	}
	if got := s.Status(t, CappedOffer); got.Cap != Cap {
		t.Errorf("a broken load changed the cap: %+v", got)
	}
	if n, err := s.Population.LoadOffers(t.Context(), Rows(offers, nil)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := s.Status(t, CappedOffer); got.Cap != 1 || got.Billable != 1 || !got.Closed {
		t.Errorf("a new cap keeps the counter: %+v", got)
	}
	moved := []store.Click{{ClickID: "capped-1", OfferID: FreeOffer, ClickedUnixS: 5}}
	if n, err := s.Population.LoadClicks(t.Context(), Rows(moved, nil)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got, _ := s.Conversions.Attribute(t.Context(), "capped-1"); got.OfferID != FreeOffer || got.ClickedUnixS != 5 {
		t.Errorf("a click loaded again is replaced: %+v", got)
	}
}

func testKeys(t *testing.T, open Opener) {
	s := fresh(t, open)
	for _, keys := range [][]store.Key{
		{{KID: "b", Secret: []byte("two")}, {KID: "a", Secret: []byte("one")}},
		{{KID: "a", Secret: []byte("three")}},
	} {
		if _, err := s.Keys.LoadKeys(t.Context(), Rows(keys, nil)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Keys.Keys(t.Context())
	if err != nil || fmt.Sprintf("%s", got) != "[{a three} {b two}]" {
		t.Errorf("keys %s, %v", got, err)
	}
}

func testReopen(t *testing.T, open Opener) {
	dir := t.TempDir()
	s := open(t, dir, time.Now)
	Populate(t, s.Population, 8)
	if _, err := s.Keys.LoadKeys(t.Context(), Rows([]store.Key{{KID: "k", Secret: []byte("s")}}, nil)); err != nil {
		t.Fatal(err)
	}
	for i := range Cap {
		s.Commit(t, Sale(fmt.Sprintf("capped-%d", i), ""))
	}
	before := s.Ledger(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, time.Now)
	defer s.Close()
	if after := s.Ledger(t); !slices.Equal(before, after) {
		t.Errorf("ledger changed\nfrom %+v\nto   %+v", before, after)
	}
	if keys, err := s.Keys.Keys(t.Context()); len(keys) != 1 || err != nil {
		t.Errorf("keys %v, %v", keys, err)
	}
	if got := s.Commit(t, Sale("capped-0", "")); got.Verdict != decide.Duplicate {
		t.Errorf("dedup forgot: %+v", got)
	}
	if got := s.Commit(t, Sale("capped-5", "")); got.Verdict != decide.OverCap {
		t.Errorf("cap counter forgot: %+v", got)
	}
}

func testDeadline(t *testing.T, open Opener) {
	s := fresh(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Conversions.Attribute(ctx, "capped-0"); !errors.Is(err, store.ErrBusy) {
		t.Errorf("attribute after the deadline: %v", err)
	}
	c := Sale("capped-0", "")
	if _, err := s.Conversions.Commit(ctx, &c); !errors.Is(err, store.ErrBusy) {
		t.Errorf("commit after the deadline: %v", err)
	}
	if rows := s.Ledger(t); len(rows) != 0 {
		t.Errorf("something was written: %+v", rows)
	}
}
