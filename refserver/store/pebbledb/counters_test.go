package pebbledb

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/storetest"
)

const windowS = 10

func openWithWindows(t *testing.T) *Store {
	t.Helper()
	s := mustOpen(t, t.TempDir())
	storetest.Populate(t, s, 1)
	offers := []store.Offer{{OfferID: storetest.CappedOffer, Cap: 2, CapWindowS: windowS}}
	if _, err := s.LoadOffers(t.Context(), storetest.Rows(offers, nil)); err != nil {
		t.Fatal(err)
	}
	return s
}

// inWindow is a sale received in that window.
func inWindow(txID string, window int) store.Conversion {
	c := storetest.Sale("capped-0", txID)
	c.ReceivedUnixNs = int64(window) * windowS * 1e9
	return c
}

// Few windows stay in memory, however many a batch brings; those that left it
// are counted on when they come again.
func TestWindowsInMemory(t *testing.T) {
	s := openWithWindows(t)
	const windows = 100
	for round := range 3 {
		var batch []store.Conversion
		for i := range windows {
			batch = append(batch, inWindow(fmt.Sprintf("t-%d-%d", round, i), 1+i))
		}
		outcomes := make([]store.Outcome, len(batch))
		if err := s.CommitBatch(batch, nil, outcomes); err != nil {
			t.Fatal(err)
		}
		for i, out := range outcomes {
			if over := out.Verdict == decide.OverCap; over != (round == 2) {
				t.Fatalf("round %d, window %d: %s", round, i, out.Verdict)
			}
		}
		if _, err := s.Commit(t.Context(), &batch[0]); err != nil { // a duplicate asks for no counter
			t.Fatal(err)
		}
		next := inWindow(fmt.Sprint("next-", round), 1_000+round)
		if _, err := s.Commit(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
		if n := len(s.offers[storetest.CappedOffer].counters); n > maxCounters {
			t.Errorf("round %d: %d counters in memory, at most %d", round, n, maxCounters)
		}
	}
}

// A counter that cannot be read stops the commit, and nothing of it stays.
func TestBrokenCounter(t *testing.T) {
	s := openWithWindows(t)
	key := appendCounter(nil, storetest.CappedOffer, windowS, 7)
	if err := s.db.Set(key, []byte("short"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	batch := []store.Conversion{inWindow("a", 6), inWindow("b", 7)}
	if err := s.CommitBatch(batch, nil, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
	for _, c := range s.offers[storetest.CappedOffer].counters {
		if c.billable != 0 || c.moved {
			t.Errorf("window %d has counted %d, moved %v", c.window, c.billable, c.moved)
		}
	}
	s.options.Now = func() time.Time { return time.Unix(7*windowS, 0) }
	if _, _, err := s.OfferStatus(t.Context(), storetest.CappedOffer); !errors.Is(err, ErrCorrupt) {
		t.Errorf("status: %v, want ErrCorrupt", err)
	}
}

// No two counters share a key, however their offers are called.
func TestCounterKeysAreInjective(t *testing.T) {
	keys := map[string]bool{}
	n := 0
	for _, offerID := range []string{"", "a", "\x00", "a\x00", "\x00\x00\x00\x01", "a\x00\x00\x00\x01"} {
		for _, windowS := range []int64{0, 1, 2, 256, store.MaxCapWindowS} {
			for _, window := range []int64{0, 1, 256, 1 << 40} {
				if windowS == 0 && window > 0 {
					continue
				}
				keys[string(appendCounter(nil, offerID, windowS, window))] = true
				n++
			}
		}
	}
	if len(keys) != n {
		t.Errorf("%d keys of %d counters", len(keys), n)
	}
}

func TestOffersWindowIsBounded(t *testing.T) {
	s := openWithWindows(t)
	for _, bad := range []int64{-1, store.MaxCapWindowS + 1} {
		offers := []store.Offer{{OfferID: storetest.CappedOffer, CapWindowS: bad}}
		if _, err := s.LoadOffers(t.Context(), storetest.Rows(offers, nil)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d s: %v, want ErrInvalid", bad, err)
		}
	}
}

// A directory of the version before is refused in words.
func TestOlderSchema(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Set(keySchema, appendUint32(nil, 1), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{Dir: dir, Now: time.Now})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "schema version 1, this program knows 2") {
		t.Errorf("%v", err)
	}
}
