package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
)

const (
	racers = 64
	cap10  = 10
)

func openCapped(t *testing.T, atomic bool) *SQL {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: t.TempDir(), AtomicCaps: atomic, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	offers := func(yield func(Offer, error) bool) { yield(Offer{OfferID: "o", Cap: cap10}, nil) }
	if _, err := s.LoadOffers(t.Context(), offers); err != nil {
		t.Fatal(err)
	}
	return s
}

// race commits one conversion of each racer at the same time and counts verdicts.
func race(t *testing.T, s *SQL) map[decide.Verdict]int {
	t.Helper()
	var wait sync.WaitGroup
	verdicts := make(chan decide.Verdict, racers)
	for i := range racers {
		wait.Go(func() {
			out, err := s.Commit(context.Background(), &Conversion{
				ClickID: fmt.Sprint(i), Event: postback.EventSale, Payout: 1, Attribution: Attribution{Found: true, OfferID: "o"}})
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

func TestAtomicHoldsTheCap(t *testing.T) {
	s := openCapped(t, true)
	counts := race(t, s)
	status, _, err := s.OfferStatus(t.Context(), "o")
	if counts[decide.Billable] != cap10 || counts[decide.OverCap] != racers-cap10 || status.Billable != cap10 || err != nil {
		t.Errorf("verdicts %v, %+v, %v; want exactly %d billable", counts, status, err, cap10)
	}
}

// Every racer decides before the first one inserts, which is the worst that
// requests in work at the same time can do.
func TestCheckThenInsertPassesTheCap(t *testing.T) {
	s := openCapped(t, false)
	var decided sync.WaitGroup
	decided.Add(racers)
	s.afterCheck = func() {
		decided.Done()
		decided.Wait()
	}
	counts := race(t, s)
	status, _, err := s.OfferStatus(t.Context(), "o")
	if counts[decide.Billable] != racers || status.Billable != racers || err != nil {
		t.Errorf("verdicts %v, %+v, %v; all %d passed the check together", counts, status, err, racers)
	}
}

// One after the other, the racy way holds the cap too: the race is the only difference.
func TestCheckThenInsertInOrderHoldsTheCap(t *testing.T) {
	s := openCapped(t, false)
	billable := 0
	for i := range racers {
		out, err := s.Commit(t.Context(), &Conversion{
			ClickID: fmt.Sprint(i), Event: postback.EventSale, Payout: 1, Attribution: Attribution{Found: true, OfferID: "o"}})
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
		s := openCapped(t, atomic)
		conn, err := s.writer.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err = s.Commit(ctx, &Conversion{ClickID: "c", Attribution: Attribution{Found: true, OfferID: "o"}})
		cancel()
		if !errors.Is(err, ErrBusy) {
			t.Errorf("atomic %v: %v, want ErrBusy", atomic, err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.EachRow(t.Context(), func(r Row) error { return fmt.Errorf("row %+v", r) }); err != nil {
			t.Errorf("atomic %v: %v", atomic, err)
		}
	}
}

func TestOtherSchemaVersion(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir, Now: time.Now}); err == nil {
		t.Error("a store of another version was opened")
	}
}

// What the durability class rests on.
func TestSettings(t *testing.T) {
	s := openCapped(t, false)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000"} {
		var got string
		if err := s.writer.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", pragma, got, want, err)
		}
	}
	if _, err := s.readers.Exec("DELETE FROM offers"); err == nil {
		t.Error("a reader could write")
	}
}
