package clickhouse_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/clickhouse"
	"github.com/postbench/postbench/refserver/store/storetest"
)

// A store whose clicks are in ClickHouse keeps the contract of a store.
func TestContract(t *testing.T) {
	server := start(t, t.TempDir())
	databases := map[string]string{} // by directory
	storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) storetest.Subject {
		t.Helper()
		if databases[dir] == "" {
			databases[dir] = fmt.Sprint("contract_", len(databases))
		}
		clicks, err := clickhouse.Open(t.Context(), clickhouse.Options{Native: server.Native, HTTP: server.HTTP, Database: databases[dir]})
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(t.Context(), store.Options{Dir: dir, Clicks: clicks, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return storetest.Subject{Conversions: s, Books: s, Population: s, Keys: s,
			Close: func() error { return errors.Join(s.Close(), clicks.Close()) }}
	})
}

func BenchmarkAttribute(b *testing.B) {
	server := start(b, b.TempDir())
	c := open(b, server, "postbench")
	clicks := make([]store.Click, 1_000_000)
	for i := range clicks {
		clicks[i] = store.Click{ClickID: fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15), OfferID: fmt.Sprint("offer-", i%100), ClickedUnixS: int64(i)}
	}
	load(b, c, clicks...)
	b.Logf("ClickHouse %s, %d clicks", server.Version, len(clicks))
	i := 0
	for b.Loop() {
		i = (i + 7_919) % len(clicks)
		expect(b, c, clicks[i].ClickID, found(clicks[i].OfferID, int64(i)))
	}
}
