package rediscache_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/redisbuf"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/rediscache"
	"github.com/postbench/postbench/refserver/store/storetest"
)

func sqlOpen(dsn string) (*sql.DB, error) { return sql.Open("mysql", dsn) }

// bench is a populated store, its cache and the Redis between them, on a clock
// that stands still.
type bench struct {
	storetest.Subject
	t     *testing.T
	sql   *store.SQL
	cache *rediscache.Cache
	redis *miniredis.Miniredis
	now   time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, redis: miniredis.RunT(t), now: time.Unix(1_700_000_000, 0)}
	clock := func() time.Time { return b.now }
	b.sql = openSQLite(t, t.TempDir(), clock)
	b.Subject, b.cache = cached(t, b.sql, b.redis.Addr(), clock)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	storetest.Populate(t, b.Population, 8)
	return b
}

// costs commits and checks the verdict and what the database had to do.
func (b *bench) costs(c store.Conversion, verdict decide.Verdict, clicks, selects, writes int64) {
	b.t.Helper()
	before := b.sql.Queries()
	if out := b.Commit(b.t, c); out.Verdict != verdict {
		b.t.Errorf("%s %q: %s, want %s", c.ClickID, c.TxID, out.Verdict, verdict)
	}
	after := b.sql.Queries()
	got := [...]int64{after.Clicks - before.Clicks, after.Selects - before.Selects, after.Writes - before.Writes}
	if want := [...]int64{clicks, selects, writes}; got != want {
		b.t.Errorf("%s %q: clicks, selects, writes %v, want %v", c.ClickID, c.TxID, got, want)
	}
}

func TestQueries(t *testing.T) {
	b := newBench(t)
	b.costs(storetest.Sale("free-0", "1"), decide.Billable, 1, 2, 2)
	b.costs(storetest.Sale("free-1", "1"), decide.Billable, 1, 0, 2) // the offer is known
	b.costs(storetest.Sale("free-1", "2"), decide.Billable, 0, 0, 2) // the click, too: half of its queries gone
	b.costs(storetest.Sale("free-1", "2"), decide.Duplicate, 0, 0, 0)
	other := storetest.Sale("free-1", "2")
	other.Payout++
	b.costs(other, decide.Conflict, 0, 0, 1)
	b.costs(other, decide.Conflict, 0, 0, 1)
	reversal := storetest.Sale("free-1", "3")
	reversal.Event = postback.EventRefund
	b.costs(reversal, decide.Reversal, 0, 0, 1)
	b.costs(storetest.Sale("stranger", ""), decide.Unattributed, 1, 0, 1)
	b.costs(storetest.Sale("stranger", ""), decide.Duplicate, 1, 0, 0)
	for i := range storetest.Cap {
		b.Commit(t, storetest.Sale("capped-0", fmt.Sprint(i)))
	}
	b.costs(storetest.Sale("capped-0", "more"), decide.OverCap, 0, 0, 1)
	want := rediscache.Counts{Hits: 19, Misses: 7, Duplicates: 2, Invalidations: 2}
	if got := b.cache.Counts(); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

// What the cache has forgotten, the unique key knows.
func TestForgottenIdentity(t *testing.T) {
	b := newBench(t)
	sale := storetest.Sale("free-0", "1")
	b.Commit(t, sale)
	b.Commit(t, storetest.Sale("free-0", "2"))
	b.redis.FlushAll()
	b.Commit(t, storetest.Sale("free-0", "3")) // the offer is known again
	b.costs(sale, decide.Duplicate, 0, 1, 1)
	b.costs(sale, decide.Duplicate, 0, 0, 0)
	other := storetest.Sale("free-0", "2")
	other.Payout++
	b.costs(other, decide.Conflict, 0, 1, 2)
	b.costs(storetest.Sale("free-0", "2"), decide.Duplicate, 0, 1, 1) // a conflict does not tell what it conflicts with
	if rows := b.Ledger(t); len(rows) != 4 {
		t.Errorf("%d rows, want 3 sales and a conflict: %+v", len(rows), rows)
	}
}

// What is loaded counts from then on: offers, counters by their windows, clicks.
func TestLoadsAreSeen(t *testing.T) {
	b := newBench(t)
	b.Commit(t, storetest.Sale("capped-0", "1"))
	b.costs(storetest.Sale("capped-0", "2"), decide.Billable, 0, 0, 2)
	offers := []store.Offer{{OfferID: storetest.CappedOffer, Cap: 2}}
	if _, err := b.Population.LoadOffers(t.Context(), storetest.Rows(offers, nil)); err != nil {
		t.Fatal(err)
	}
	b.costs(storetest.Sale("capped-0", "3"), decide.OverCap, 1, 2, 1)
	moved := []store.Click{{ClickID: "capped-0", OfferID: storetest.FreeOffer}}
	if _, err := b.Population.LoadClicks(t.Context(), storetest.Rows(moved, nil)); err != nil {
		t.Fatal(err)
	}
	b.costs(storetest.Sale("capped-0", "4"), decide.Billable, 1, 2, 2)
}

// A cache that starts anew believes nothing that Redis has kept.
func TestOldContents(t *testing.T) {
	b := newBench(t)
	b.Commit(t, storetest.Sale("capped-0", "1"))
	direct := storetest.Subject{Conversions: b.sql} // what the old cache never heard of
	direct.Commit(t, storetest.Sale("capped-1", "1"))
	direct.Commit(t, storetest.Sale("capped-2", "1"))
	anew, cache := cached(t, b.sql, b.redis.Addr(), time.Now)
	defer cache.Close()
	if out := anew.Commit(t, storetest.Sale("capped-3", "1")); out.Verdict != decide.OverCap {
		t.Errorf("the offer is full: %+v", out)
	}
}

func TestForeignValues(t *testing.T) {
	b := newBench(t)
	b.Commit(t, storetest.Sale("free-0", "1"))
	for _, key := range b.redis.Keys() {
		if b.redis.Type(key) == "string" {
			_ = b.redis.Set(key, "rubbish")
		} else {
			_, _ = b.redis.ZAdd(key, 1e6, "rubbish")
		}
	}
	b.costs(storetest.Sale("free-0", "2"), decide.Billable, 1, 2, 2)
	b.costs(storetest.Sale("free-0", "3"), decide.Billable, 0, 0, 2)
	if c := b.cache.Counts(); c.Errors != 3 {
		t.Errorf("a click and, twice read, an offer were rubbish: %+v", c)
	}
}

// More windows than are kept: each counts right, and Redis does not grow.
func TestManyWindows(t *testing.T) {
	b := newBench(t)
	offers := []store.Offer{{OfferID: storetest.CappedOffer, Cap: 1, CapWindowS: 60}}
	if _, err := b.Population.LoadOffers(t.Context(), storetest.Rows(offers, nil)); err != nil {
		t.Fatal(err)
	}
	for round, want := range []decide.Verdict{decide.Billable, decide.OverCap} {
		for minute := range 40 {
			sale := storetest.Sale("capped-0", fmt.Sprint(round, minute))
			sale.ReceivedUnixNs += int64(minute) * 60e9
			if out := b.Commit(t, sale); out.Verdict != want {
				t.Errorf("round %d, minute %d: %s, want %s", round, minute, out.Verdict, want)
			}
		}
	}
	for _, key := range b.redis.Keys() {
		if b.redis.Type(key) == "zset" {
			if members, err := b.redis.ZMembers(key); err != nil || len(members) > 9 {
				t.Errorf("%d windows in Redis: %v", len(members), err)
			}
			if b.redis.TTL(key) <= 0 {
				t.Error("the counters would stay for ever")
			}
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	runtime := parts.Runtime{Dir: b.TempDir()}
	redis, err := parts.StartRedis(b.Context(), runtime)
	redis = installed(b, redis, err)
	maria, err := parts.StartMariaDB(b.Context(), runtime, b.TempDir())
	maria = installed(b, maria, err)
	client, err := redisbuf.NewClient(redis.Socket, 4)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	b.Logf("MariaDB %s, Redis %s", maria.Version, redis.Version)
	for _, name := range []string{"plain", "cached"} {
		b.Run(name, func(b *testing.B) { commitSales(b, maria, client, name) })
	}
}

func commitSales(b *testing.B, maria *parts.MariaDB, client *goredis.Client, name string) {
	s, err := store.OpenMariaDB(b.Context(), store.MariaDBOptions{DSN: newDatabase(b, maria, fmt.Sprint(name, b.N)), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	cache, err := rediscache.New(context.Background(), rediscache.Options{Books: s, Redis: client, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	subject := storetest.Subject{Conversions: s, Population: s}
	if name == "cached" {
		subject.Conversions = cache
	}
	storetest.Populate(b, cache.Population(s), 8)
	before := s.Queries()
	b.ResetTimer()
	for i := range b.N {
		subject.Commit(b, storetest.Sale("free-0", fmt.Sprint(i)))
	}
	q := s.Queries()
	b.ReportMetric(float64(q.Selects+q.Writes+q.Clicks-before.Selects-before.Writes-before.Clicks)/float64(b.N), "queries/op")
}
