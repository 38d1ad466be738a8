package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// lookAlikes are different ids, which a text column may take for the same.
var lookAlikes = []string{"a", "A", "a ", " a", "a\x00", "á", "a\u0301", "\xff", "\xfe\xff", "%", "_", `\`, "'", "1", "01", "1.0"}

// Ids are bytes: case, trailing blanks and accents count, and every byte comes
// back from the ledger.
func testBytes(t *testing.T, open Opener) {
	s := fresh(t, open)
	var clicks []store.Click
	for i, id := range lookAlikes {
		clicks = append(clicks, store.Click{ClickID: id, OfferID: FreeOffer, ClickedUnixS: int64(i)})
	}
	if n, err := s.Population.LoadClicks(t.Context(), Rows(clicks, nil)); int(n) != len(clicks) || err != nil {
		t.Fatal(n, err)
	}
	var want []string
	for i, id := range lookAlikes {
		if got, err := s.Conversions.Attribute(t.Context(), id); got.ClickedUnixS != int64(i) || !got.Found || err != nil {
			t.Errorf("click %q: %+v, %v", id, got, err)
		}
		for _, c := range []store.Conversion{Sale(id, "t"), Sale("free-0", id)} {
			c.ClaimedOfferID = id
			if got := s.Commit(t, c); got.Verdict != decide.Billable {
				t.Errorf("click %q, txid %q: %s, it is new", c.ClickID, c.TxID, got.Verdict)
			}
			if got := s.Commit(t, c); got.Verdict != decide.Duplicate {
				t.Errorf("click %q, txid %q again: %s", c.ClickID, c.TxID, got.Verdict)
			}
			want = append(want, fmt.Sprintf("%q %q", c.ClickID, c.TxID))
		}
	}
	for i, row := range s.Ledger(t) {
		if got := fmt.Sprintf("%q %q", row.ClickID, row.TxID); got != want[i] {
			t.Errorf("row %d: %s, want %s", i, got, want[i])
		}
	}
}

// What has the greatest length and the greatest amount is stored whole.
func testLongest(t *testing.T, open Opener) {
	s := fresh(t, open)
	long := func(bytes int) string { return fmt.Sprintf("%0*d", bytes, 7) }
	c := store.Conversion{
		ClickID: long(postback.MaxClickIDBytes), TxID: long(postback.MaxTxIDBytes), ClaimedOfferID: long(postback.MaxOfferIDBytes),
		Event: postback.EventRejected, Payout: 1<<63 - 1, Currency: postback.Currency{'E', 'U', 'R'}, ReceivedUnixNs: 1<<63 - 1,
	}
	s.Commit(t, c)
	c.Payout = -1 << 63
	s.Commit(t, c)
	for i, payout := range []postback.Money{1<<63 - 1, -1 << 63} {
		row := s.Ledger(t)[i]
		if row.ClickID != c.ClickID || row.TxID != c.TxID || row.OfferID != c.ClaimedOfferID || row.Payout != payout || row.ReceivedUnixNs != c.ReceivedUnixNs {
			t.Errorf("row %+v", row)
		}
	}
}

// A load is one whole, however many statements it takes.
func testLargeLoad(t *testing.T, open Opener) {
	s := fresh(t, open)
	clicks := make([]store.Click, 2_500)
	for i := range clicks {
		clicks[i] = store.Click{ClickID: fmt.Sprint("large-", i%2_400), OfferID: FreeOffer, ClickedUnixS: int64(i)}
	}
	broken := errors.New("line 2501")
	if n, err := s.Population.LoadClicks(t.Context(), Rows(clicks, broken)); n != 0 || !errors.Is(err, broken) {
		t.Errorf("%d rows, %v", n, err)
	}
	if got, err := s.Conversions.Attribute(t.Context(), "large-0"); got.Found || err != nil {
		t.Errorf("a broken load left a click behind: %+v, %v", got, err)
	}
	for range 2 {
		if n, err := s.Population.LoadClicks(t.Context(), Rows(clicks, nil)); int(n) != len(clicks) || err != nil {
			t.Fatal(n, err)
		}
		for id, clicked := range map[int]int64{0: 2_400, 99: 2_499, 100: 100, 511: 511, 512: 512, 2_399: 2_399} {
			if got, err := s.Conversions.Attribute(t.Context(), fmt.Sprint("large-", id)); got.ClickedUnixS != clicked || !got.Found || err != nil {
				t.Errorf("click %d: %+v, %v; want the last of the same id", id, got, err)
			}
		}
	}
}
