package monolith

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
	"github.com/postbench/postbench/refserver/store"
)

func TestDialects(t *testing.T) {
	accepttest.Run(t, func(t *testing.T, c accepttest.Config) accepttest.Subject {
		var mu sync.Mutex
		var rows, all []accepttest.Row
		_, url := serve(t, &fakeStore{commit: func(_ context.Context, s *store.Conversion) (store.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			row := accepttest.Row{ClickID: s.ClickID, TxID: s.TxID, OfferID: s.ClaimedOfferID, Event: s.Event.String(),
				Payout: s.Payout.String(), Currency: s.Currency.String()}
			repeated := slices.Contains(all, row)
			rows, all = append(rows, row), append(all, row)
			return store.Outcome{Repeated: repeated}, nil
		}}, func(own *Config) {
			own.Dialects, own.SignedOnly, own.Now, own.AccessLog = c.Dialects, c.SignedOnly, c.Now, c.AccessLog
		})
		return accepttest.Subject{URL: url, KnowsRepeats: true, Rows: func() []accepttest.Row {
			mu.Lock()
			defer mu.Unlock()
			defer func() { rows = nil }()
			return rows
		}}
	})
}

func TestDialectThatIsNone(t *testing.T) {
	f := &fakeStore{}
	config := Config{Conversions: f, Books: f, Population: f, Keys: f, Dialects: []postback.Dialect{{Partner: "p", Target: "/x"}}}
	if _, err := New(t.Context(), config); err == nil {
		t.Error("a dialect without a click id was taken")
	}
}
