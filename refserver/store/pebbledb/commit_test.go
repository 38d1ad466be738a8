package pebbledb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
	"github.com/postbench/postbench/refserver/store/storetest"
)

// A batch is decided in its order, and each decision sees the ones before it.
func TestBatchSeesItself(t *testing.T) {
	s := fresh(t, 8)
	other := storetest.Sale("free-0", "t-1")
	other.Payout++
	batch := []store.Conversion{
		storetest.Sale("free-0", "t-1"), storetest.Sale("free-0", "t-1"), other, other,
		storetest.Sale("capped-0", ""), storetest.Sale("capped-1", ""), storetest.Sale("capped-1", ""),
		storetest.Sale("capped-2", ""), storetest.Sale("capped-3", ""), storetest.Sale("stranger", ""),
	}
	want := []string{
		"billable false", "duplicate true", "conflict false", "conflict true",
		"billable false", "billable false", "duplicate true",
		"billable false", "over_cap false", "unattributed false",
	}
	outcomes := make([]store.Outcome, len(batch))
	if err := s.CommitBatch(batch, nil, outcomes); err != nil {
		t.Fatal(err)
	}
	for i, out := range outcomes {
		if got := fmt.Sprint(out.Verdict, " ", out.Repeated); got != want[i] {
			t.Errorf("conversion %d: %s, want %s", i, got, want[i])
		}
		if out.CapNs < 0 || out.InsertNs < 0 {
			t.Errorf("conversion %d: %+v", i, out)
		}
	}
	if got := s.Committed(); got != int64(len(batch)) {
		t.Errorf("committed %d, want %d", got, len(batch))
	}
	// The same again, in the other order, repeats everything.
	for i, j := 0, len(batch)-1; i < j; i, j = i+1, j-1 {
		batch[i], batch[j] = batch[j], batch[i]
	}
	rows := subject(s).Ledger(t)
	if err := s.CommitBatch(batch, nil, outcomes); err != nil {
		t.Fatal(err)
	}
	for i, out := range outcomes {
		if !out.Repeated {
			t.Errorf("again, conversion %d: %+v", i, out)
		}
	}
	if again := subject(s).Ledger(t); len(rows) != 7 || len(again) != 7 {
		t.Errorf("%d rows, then %d; want 7", len(rows), len(again))
	}
}

// Whatever Attribution a conversion brings, the click's own offer counts.
func TestAttributionIsTheStores(t *testing.T) {
	s := fresh(t, 1)
	c := storetest.Sale("free-0", "")
	c.Attribution = store.Attribution{Found: true, OfferID: storetest.CappedOffer}
	if err := s.CommitBatch([]store.Conversion{c}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if row := subject(s).Ledger(t)[0]; row.OfferID != storetest.FreeOffer {
		t.Errorf("%+v", row)
	}
}

// An offer that is loaded late has billed what its clicks brought before.
func TestOfferLoadedLate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	clicks := []store.Click{{ClickID: "c-0", OfferID: "late"}, {ClickID: "c-1", OfferID: "late"}}
	if _, err := s.LoadClicks(t.Context(), storetest.Rows(clicks, nil)); err != nil {
		t.Fatal(err)
	}
	subject(s).Commit(t, storetest.Sale("c-0", ""))
	if _, found, err := s.OfferStatus(t.Context(), "late"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if _, err := s.LoadOffers(t.Context(), storetest.Rows([]store.Offer{{OfferID: "late", Cap: 1}}, nil)); err != nil {
		t.Fatal(err)
	}
	if got := subject(s).Commit(t, storetest.Sale("c-1", "")); got.Verdict != decide.OverCap {
		t.Errorf("%+v", got)
	}
}

func TestStates(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	storetest.Populate(t, s, 1)
	for _, states := range [][]pebbledb.KV{
		{{Key: "edge/1", Value: []byte("one")}, {Key: "edge/2", Value: []byte("two")}},
		{{Key: "edge/1", Value: []byte("three")}},
	} {
		if err := s.CommitBatch([]store.Conversion{storetest.Sale("free-0", "")}, states, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CommitBatch(nil, []pebbledb.KV{{Key: "edge/3", Value: []byte("alone")}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	for key, want := range map[string]string{"edge/1": "three", "edge/2": "two", "edge/3": "alone", "edge/4": ""} {
		if got, err := s.Value(key); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", key, got, err, want)
		}
	}
	if got := s.Committed(); got != 2 {
		t.Errorf("committed %d", got)
	}
}

// What is refused is refused as a whole.
func TestRefused(t *testing.T) {
	s := fresh(t, 1)
	good := storetest.Sale("free-0", "")
	long, longTx, longOffer, badEvent, badCurrency := good, good, good, good, good
	long.ClickID = strings.Repeat("c", postback.MaxClickIDBytes+1)
	longTx.TxID = strings.Repeat("t", postback.MaxTxIDBytes+1)
	longOffer.ClaimedOfferID = strings.Repeat("o", postback.MaxOfferIDBytes+1)
	badEvent.Event = 99
	badCurrency.Currency = postback.Currency{'e', 'u', 'r'}
	for name, test := range map[string]struct {
		batch    []store.Conversion
		states   []pebbledb.KV
		outcomes []store.Outcome
		want     error
	}{
		"click_id":      {batch: []store.Conversion{good, long}, want: pebbledb.ErrTooLarge},
		"txid":          {batch: []store.Conversion{good, longTx}, want: pebbledb.ErrTooLarge},
		"offer_id":      {batch: []store.Conversion{good, longOffer}, want: pebbledb.ErrTooLarge},
		"event":         {batch: []store.Conversion{good, badEvent}, want: pebbledb.ErrInvalid},
		"currency":      {batch: []store.Conversion{good, badCurrency}, want: pebbledb.ErrInvalid},
		"batch":         {batch: make([]store.Conversion, pebbledb.MaxBatchRecords+1), want: pebbledb.ErrTooLarge},
		"states":        {batch: []store.Conversion{good}, states: make([]pebbledb.KV, pebbledb.MaxBatchStates+1), want: pebbledb.ErrTooLarge},
		"state's value": {batch: []store.Conversion{good}, states: []pebbledb.KV{{Value: make([]byte, pebbledb.MaxStateBytes+1)}}, want: pebbledb.ErrTooLarge},
		"outcomes":      {batch: []store.Conversion{good}, outcomes: make([]store.Outcome, 2), want: pebbledb.ErrInvalid},
	} {
		err := s.CommitBatch(test.batch, test.states, test.outcomes)
		if !errors.Is(err, test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if rows := subject(s).Ledger(t); len(rows) != 0 || s.Committed() != 0 {
		t.Errorf("%d rows, %d committed", len(rows), s.Committed())
	}
	if out := subject(s).Commit(t, good); out.Verdict != decide.Billable {
		t.Errorf("%+v", out)
	}
}

// The largest batch with the longest values goes through in one piece.
func TestLargestBatch(t *testing.T) {
	s := fresh(t, 1)
	batch := make([]store.Conversion, pebbledb.MaxBatchRecords)
	for i := range batch {
		batch[i] = storetest.Sale(strings.Repeat("c", postback.MaxClickIDBytes), fmt.Sprintf("%0*d", postback.MaxTxIDBytes, i))
		batch[i].ClaimedOfferID = strings.Repeat("o", postback.MaxOfferIDBytes)
	}
	states := make([]pebbledb.KV, pebbledb.MaxBatchStates)
	for i := range states {
		states[i] = pebbledb.KV{Key: fmt.Sprint(i), Value: make([]byte, pebbledb.MaxStateBytes/len(states)-4)}
	}
	if err := s.CommitBatch(batch, states, nil); err != nil {
		t.Fatal(err)
	}
	if rows := subject(s).Ledger(t); len(rows) != len(batch) || rows[7].TxID != batch[7].TxID {
		t.Errorf("%d rows", len(rows))
	}
}

// Writers, loaders and readers at the same time: the cap holds, the ledger
// never goes back, and it agrees with the counters in the end.
func TestTogether(t *testing.T) {
	s := fresh(t, 8)
	const writers, batches = 6, 30
	var wait, readers sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	readers.Go(func() {
		for last := 0; ctx.Err() == nil; {
			rows := 0
			if err := s.EachRow(t.Context(), func(store.Row) error { rows++; return nil }); err != nil || rows < last {
				t.Errorf("%d rows after %d, %v", rows, last, err)
			}
			last = rows
			if status, _, _ := s.OfferStatus(t.Context(), storetest.CappedOffer); status.Billable > storetest.Cap {
				t.Errorf("%+v", status)
			}
		}
	})
	for w := range writers {
		wait.Go(func() {
			for n := range batches {
				batch := []store.Conversion{
					storetest.Sale(fmt.Sprintf("capped-%d", n%8), fmt.Sprintf("t-%d", n)),
					storetest.Sale("free-0", fmt.Sprintf("t-%d", n)),          // all writers: one wins
					storetest.Sale("free-1", fmt.Sprintf("t-%d-%d", w, n)),    // its own
					storetest.Sale("late-0", fmt.Sprintf("late-%d-%d", w, n)), // until the click is there: unattributed
				}
				if err := s.CommitBatch(batch, nil, nil); err != nil {
					t.Error(err)
				}
				if _, err := subject(s).TryCommit(t.Context(), storetest.Sale("free-2", fmt.Sprintf("t-%d-%d", w, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Go(func() {
		clicks := []store.Click{{ClickID: "late-0", OfferID: "late"}}
		if _, err := s.LoadClicks(t.Context(), storetest.Rows(clicks, nil)); err != nil {
			t.Error(err)
		}
		if _, err := s.LoadOffers(t.Context(), storetest.Rows([]store.Offer{{OfferID: "late"}}, nil)); err != nil {
			t.Error(err)
		}
	})
	wait.Wait()
	cancel()
	readers.Wait()
	billed := map[string]int64{}
	for _, row := range subject(s).Ledger(t) {
		if row.Verdict == decide.Billable {
			billed[row.OfferID]++
		}
	}
	if want := int64(batches + 2*writers*batches); billed[storetest.FreeOffer] != want || billed[storetest.CappedOffer] != storetest.Cap {
		t.Errorf("billed %v", billed)
	}
	for offerID, n := range billed {
		if status := subject(s).Status(t, offerID); status.Billable != n {
			t.Errorf("%+v, but %d rows", status, n)
		}
	}
	if got := s.Committed(); got != writers*batches*5 {
		t.Errorf("committed %d, want %d", got, writers*batches*5)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir())
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c := storetest.Sale("free-0", "")
	_, commit := s.Commit(t.Context(), &c)
	_, value := s.Value("k")
	_, keys := s.Keys(t.Context())
	_, load := s.LoadClicks(t.Context(), storetest.Rows([]store.Click{{ClickID: "c"}}, nil))
	for i, err := range []error{commit, value, keys, load, s.CommitBatch([]store.Conversion{c}, nil, nil)} {
		if !errors.Is(err, pebbledb.ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// The clock may stand still or go back: rows keep their order all the same.
func TestOddClock(t *testing.T) {
	ns := int64(1_000)
	now := func() time.Time { ns -= 10; return time.Unix(0, ns) }
	s, err := pebbledb.Open(t.Context(), pebbledb.Options{Dir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.Populate(t, s, 1)
	for i := range 3 {
		subject(s).Commit(t, storetest.Sale("free-0", fmt.Sprint(i)))
	}
	for i, row := range subject(s).Ledger(t) {
		if row.TxID != fmt.Sprint(i) {
			t.Errorf("row %d: %+v", i, row)
		}
	}
}
