package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

const (
	racers = 64
	cap10  = 10
)

func capped(t *testing.T, s *store.SQL) *store.SQL {
	t.Helper()
	t.Cleanup(func() { _ = s.Close() })
	offers := func(yield func(store.Offer, error) bool) { yield(store.Offer{OfferID: "o", Cap: cap10}, nil) }
	if _, err := s.LoadOffers(t.Context(), offers); err != nil {
		t.Fatal(err)
	}
	return s
}

func paid(i int) *store.Conversion {
	return &store.Conversion{ClickID: fmt.Sprint(i), Event: postback.EventSale, Payout: 1,
		Attribution: store.Attribution{Found: true, OfferID: "o"}}
}

// race commits one conversion of each racer at the same time and counts verdicts.
func race(t *testing.T, s *store.SQL) map[decide.Verdict]int {
	t.Helper()
	var wait sync.WaitGroup
	verdicts := make(chan decide.Verdict, racers)
	for i := range racers {
		wait.Go(func() {
			out, err := s.Commit(context.Background(), paid(i))
			if err != nil {
				t.Error(err)
			}
			verdicts <- out.Verdict
		})
	}
	wait.Wait()
	close(verdicts)
	counts := map[decide.Verdict]int{}
	for v := range verdicts {
		counts[v]++
	}
	return counts
}

func testAtomicHoldsTheCap(t *testing.T, open sqlOpener) {
	s := capped(t, open(t, true))
	counts := race(t, s)
	status, _, err := s.OfferStatus(t.Context(), "o")
	if counts[decide.Billable] != cap10 || counts[decide.OverCap] != racers-cap10 || status.Billable != cap10 || err != nil {
		t.Errorf("verdicts %v, %+v, %v; want exactly %d billable", counts, status, err, cap10)
	}
}

// Every racer decides before the first one inserts, which is the worst that
// requests in work at the same time can do.
func testCheckThenInsertPassesTheCap(t *testing.T, open sqlOpener) {
	s := capped(t, open(t, false))
	var decided sync.WaitGroup
	decided.Add(racers)
	s.SetAfterCheck(func() {
		decided.Done()
		decided.Wait()
	})
	counts := race(t, s)
	status, _, err := s.OfferStatus(t.Context(), "o")
	if counts[decide.Billable] != racers || status.Billable != racers || err != nil {
		t.Errorf("verdicts %v, %+v, %v; all %d passed the check together", counts, status, err, racers)
	}
}

// One after the other, the racy way holds the cap too: the race is the only difference.
func testCheckThenInsertInOrderHoldsTheCap(t *testing.T, open sqlOpener) {
	s := capped(t, open(t, false))
	billable := 0
	for i := range racers {
		out, err := s.Commit(t.Context(), paid(i))
		if err != nil {
			t.Fatal(err)
		}
		if out.Verdict == decide.Billable {
			billable++
		}
	}
	if billable != cap10 {
		t.Errorf("%d billable, want %d", billable, cap10)
	}
}

// A commit that cannot get the writer in time says so and writes nothing.
func TestBusyWriter(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		s := capped(t, openSQL(t, t.TempDir(), atomic))
		writer, _ := s.Pools()
		conn, err := writer.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err = s.Commit(ctx, paid(0))
		cancel()
		if !errors.Is(err, store.ErrBusy) {
			t.Errorf("atomic %v: %v, want ErrBusy", atomic, err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.EachRow(t.Context(), func(r store.Row) error { return fmt.Errorf("row %+v", r) }); err != nil {
			t.Errorf("atomic %v: %v", atomic, err)
		}
	}
}

func TestOtherSchemaVersion(t *testing.T) {
	dir := t.TempDir()
	s := openSQL(t, dir, false)
	writer, _ := s.Pools()
	if _, err := writer.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), store.Options{Dir: dir, Now: time.Now}); err == nil {
		t.Error("a store of another version was opened")
	}
}

// What the durability class rests on.
func TestSettings(t *testing.T) {
	writer, readers := capped(t, openSQL(t, t.TempDir(), false)).Pools()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000"} {
		var got string
		if err := writer.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", pragma, got, want, err)
		}
	}
	if _, err := readers.Exec("DELETE FROM offers"); err == nil {
		t.Error("a reader could write")
	}
}
