package store_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/storetest"
)

// sqlOpener opens an empty store on one of the databases.
type sqlOpener func(t *testing.T, atomic bool) *store.SQL

// runSQLTests runs what is beyond the contract and must hold on every database.
func runSQLTests(t *testing.T, open sqlOpener) {
	for name, test := range map[string]func(*testing.T, sqlOpener){
		"atomic holds the cap":                     testAtomicHoldsTheCap,
		"check-then-insert passes the cap":         testCheckThenInsertPassesTheCap,
		"check-then-insert in order holds the cap": testCheckThenInsertInOrderHoldsTheCap,
		"facts":           testFacts,
		"stale facts":     testStaleFacts,
		"queries":         testQueries,
		"insert's budget": testInsertQueries,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

func TestSQLite(t *testing.T) {
	runSQLTests(t, func(t *testing.T, atomic bool) *store.SQL { return openSQL(t, t.TempDir(), atomic) })
}

func openWith(t *testing.T, open sqlOpener, atomic bool) *store.SQL {
	t.Helper()
	s := open(t, atomic)
	t.Cleanup(func() { _ = s.Close() })
	storetest.Populate(t, s, 8)
	return s
}

func attributed(t *testing.T, s *store.SQL, clickID, txID string) *store.Conversion {
	t.Helper()
	c := storetest.Sale(clickID, txID)
	var err error
	if c.Attribution, err = s.Attribute(t.Context(), clickID); err != nil {
		t.Fatal(err)
	}
	return &c
}

func testFacts(t *testing.T, open sqlOpener) {
	s := openWith(t, open, false)
	day := []store.Offer{{OfferID: storetest.FreeOffer, Cap: 7, CapWindowS: 86_400}}
	if _, err := s.LoadOffers(t.Context(), storetest.Rows(day, nil)); err != nil {
		t.Fatal(err)
	}
	subject(s).Commit(t, storetest.Sale("free-0", ""))
	other := attributed(t, s, "free-0", "")
	other.Payout++
	tomorrow := attributed(t, s, "free-1", "")
	tomorrow.ReceivedUnixNs += 86_400 * 1e9
	strange := storetest.Sale("stranger", "")
	offer := decide.Offer{Cap: 7, Billable: 1}
	for name, test := range map[string]struct {
		c    *store.Conversion
		want store.Facts
	}{
		"new":        {attributed(t, s, "free-1", ""), store.Facts{Offer: offer, CapWindowS: 86_400}},
		"new window": {tomorrow, store.Facts{Offer: decide.Offer{Cap: 7}, CapWindowS: 86_400}},
		"duplicate":  {attributed(t, s, "free-0", ""), store.Facts{Existing: decide.SamePayload}},
		"conflict":   {other, store.Facts{Existing: decide.OtherPayload}},
		"no click":   {&strange, store.Facts{}},
	} {
		if got, err := s.ReadFacts(t.Context(), test.c); got != test.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, test.want)
		}
	}
}

// Whoever decides on facts from elsewhere can pass a cap with them, but can
// neither lose a conversion nor count it twice.
func testStaleFacts(t *testing.T, open sqlOpener) {
	for _, atomic := range []bool{false, true} {
		s := openWith(t, open, atomic)
		stale := store.Facts{Offer: decide.Offer{Cap: storetest.Cap}}
		first, again := attributed(t, s, "capped-0", ""), attributed(t, s, "capped-0", "")
		other := *first
		other.Currency = postback.Currency{'U', 'S', 'D'}
		for i, step := range []struct {
			c        *store.Conversion
			want     decide.Verdict
			repeated bool
		}{
			{first, decide.Billable, false}, {again, decide.Duplicate, true},
			{&other, decide.Conflict, false}, {&other, decide.Conflict, true},
			{attributed(t, s, "capped-1", ""), decide.Billable, false}, {attributed(t, s, "capped-2", ""), decide.Billable, false},
			{attributed(t, s, "capped-3", ""), decide.Billable, false}, // three were billed, the facts say none
		} {
			got, err := s.Insert(t.Context(), step.c, stale)
			if got.Verdict != step.want || got.Repeated != step.repeated || err != nil {
				t.Errorf("atomic %v, step %d: %+v, %v; want %s", atomic, i, got, err, step.want)
			}
		}
		if rows := subject(s).Ledger(t); len(rows) != 5 {
			t.Errorf("%d rows: %+v", len(rows), rows)
		}
		if got := subject(s).Status(t, storetest.CappedOffer).Billable; got != 4 {
			t.Errorf("%d counted, want 4", got)
		}
	}
}

// What a postback costs is what variants are compared by.
func testQueries(t *testing.T, open sqlOpener) {
	for _, atomic := range []bool{false, true} {
		s := openWith(t, open, atomic)
		if got := s.Queries(); got != (store.Queries{}) {
			t.Errorf("the population was counted: %+v", got)
		}
		lead, strange := storetest.Sale("free-1", ""), storetest.Sale("stranger", "")
		lead.Payout = 0
		for name, test := range map[string]struct {
			c    store.Conversion
			want store.Queries
		}{
			"plain new sale": {storetest.Sale("free-0", ""), store.Queries{Clicks: 1, Selects: 2, Writes: 2, Transactions: 1}},
			"lead":           {lead, store.Queries{Clicks: 1, Selects: 2, Writes: 1, Transactions: 1}},
			"no click":       {strange, store.Queries{Clicks: 1, Selects: 1, Writes: 1, Transactions: 1}},
		} {
			before := s.Queries()
			subject(s).Commit(t, test.c)
			if got := since(before, s.Queries()); got != test.want {
				t.Errorf("atomic %v, %s: %+v, want %+v", atomic, name, got, test.want)
			}
		}
		before := s.Queries()
		subject(s).Ledger(t)
		subject(s).Status(t, storetest.CappedOffer)
		if s.Queries() != before {
			t.Errorf("ledger or caps were counted: %+v", s.Queries())
		}
	}
}

// With the facts at hand, half of the queries are gone; a known duplicate has none.
func testInsertQueries(t *testing.T, open sqlOpener) {
	s := openWith(t, open, false)
	c := attributed(t, s, "free-0", "")
	for name, test := range map[decide.Existing]store.Queries{
		decide.None:         {Writes: 2, Transactions: 1},
		decide.SamePayload:  {},
		decide.OtherPayload: {Writes: 1, Transactions: 1},
	} {
		before := s.Queries()
		if _, err := s.Insert(t.Context(), c, store.Facts{Existing: name}); err != nil {
			t.Fatal(err)
		}
		if got := since(before, s.Queries()); got != test {
			t.Errorf("existing %d: %+v, want %+v", name, got, test)
		}
	}
}

func since(before, now store.Queries) store.Queries {
	return store.Queries{Selects: now.Selects - before.Selects, Writes: now.Writes - before.Writes, Clicks: now.Clicks - before.Clicks,
		Transactions: now.Transactions - before.Transactions, Retries: now.Retries - before.Retries}
}

// elsewhere keeps clicks outside of the database.
type elsewhere map[string]store.Attribution

func (e elsewhere) Attribute(_ context.Context, clickID string) (store.Attribution, error) {
	if clickID == "broken" {
		return store.Attribution{}, errors.New("broken")
	}
	return e[clickID], nil
}

func (e elsewhere) LoadClicks(_ context.Context, clicks iter.Seq2[store.Click, error]) (n int64, err error) {
	for c := range clicks {
		e[c.ClickID] = store.Attribution{Found: true, OfferID: c.OfferID, ClickedUnixS: c.ClickedUnixS}
		n++
	}
	return n, nil
}

func TestClicksElsewhere(t *testing.T) {
	clicks := elsewhere{}
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Clicks: clicks, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.Populate(t, s, 8)
	if len(clicks) != 16 {
		t.Errorf("%d clicks loaded", len(clicks))
	}
	subject(s).Commit(t, storetest.Sale("free-0", ""))
	if got, want := s.Queries(), (store.Queries{Selects: 2, Writes: 2, Transactions: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := subject(s).Status(t, storetest.FreeOffer).Billable; got != 1 {
		t.Errorf("%d billed", got)
	}
	if _, err := s.Attribute(t.Context(), "broken"); err == nil {
		t.Error("the error got lost")
	}
}
