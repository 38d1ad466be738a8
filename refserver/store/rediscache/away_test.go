package rediscache_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/redisbuf"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/rediscache"
	"github.com/postbench/postbench/refserver/store/storetest"
)

// While Redis is away everything costs what it costs without, and is right; when
// it is back with what it had, no counter lacks what was billed meanwhile.
func TestRedisAway(t *testing.T) {
	b := newBench(t)
	b.costs(storetest.Sale("capped-0", "1"), decide.Billable, 1, 2, 2)
	b.redis.Close()
	b.costs(storetest.Sale("capped-0", "1"), decide.Duplicate, 1, 1, 0)
	b.costs(storetest.Sale("capped-0", "2"), decide.Billable, 1, 2, 2)
	if c := b.cache.Counts(); c.Errors != 1 || c.Bypassed != 3 {
		t.Errorf("one question finds out that it is away, the others are spared: %+v", c)
	}
	b.now = b.now.Add(time.Minute)
	b.costs(storetest.Sale("capped-0", "3"), decide.Billable, 1, 2, 2)
	if c := b.cache.Counts(); c.Errors != 2 {
		t.Errorf("after a while it is asked again: %+v", c)
	}
	if err := b.redis.Restart(); err != nil {
		t.Fatal(err)
	}
	b.costs(storetest.Sale("capped-0", "4"), decide.OverCap, 1, 2, 1) // still left alone
	b.now = b.now.Add(time.Minute)
	b.costs(storetest.Sale("capped-0", "5"), decide.OverCap, 1, 2, 1)
	b.costs(storetest.Sale("capped-0", "6"), decide.OverCap, 0, 0, 1)
}

// The embedded Redis knows every command that is used.
func TestEmbeddedRedis(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- redisbuf.ServeEmbedded(ctx, socket, 1, func(string) { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	b := newBench(t)
	embedded, cache := cached(t, b.sql, socket, time.Now)
	b.Conversions = embedded.Conversions
	b.costs(storetest.Sale("capped-0", "1"), decide.Billable, 1, 2, 2)
	b.costs(storetest.Sale("capped-0", "2"), decide.Billable, 0, 0, 2)
	b.costs(storetest.Sale("capped-0", "3"), decide.Billable, 0, 0, 2)
	b.costs(storetest.Sale("capped-0", "4"), decide.OverCap, 0, 0, 1)
	b.costs(storetest.Sale("capped-0", "4"), decide.Duplicate, 0, 0, 0)
	if c := cache.Counts(); c.Errors != 0 {
		t.Errorf("%+v", c)
	}
	cancel()
	if err := errors.Join(<-ended, cache.Close()); err != nil {
		t.Error(err)
	}
}

// A Redis that refuses to write is no reason to count wrong, either.
func TestRedisRefuses(t *testing.T) {
	b := newBench(t)
	b.costs(storetest.Sale("capped-0", "1"), decide.Billable, 1, 2, 2)
	b.redis.SetError("OOM command not allowed when used memory > 'maxmemory'.")
	b.costs(storetest.Sale("capped-0", "2"), decide.Billable, 1, 2, 2)
	b.costs(storetest.Sale("capped-0", "3"), decide.Billable, 1, 2, 2)
	b.redis.SetError("")
	b.costs(storetest.Sale("capped-0", "4"), decide.OverCap, 1, 2, 1)
	b.costs(storetest.Sale("capped-0", "5"), decide.OverCap, 0, 0, 1)
	if c := b.cache.Counts(); c.Errors == 0 || c.Bypassed != 0 {
		t.Errorf("it answers, so it is asked: %+v", c)
	}
}

// Keys vanish one by one (evicted, or at their end), or all at once.
func TestEvictions(t *testing.T) {
	b := newBench(t)
	b.Commit(t, storetest.Sale("capped-0", "first"))
	for i, key := range b.redis.Keys() {
		b.redis.Del(key)
		b.Commit(t, storetest.Sale("free-0", fmt.Sprint(i)))
		if out := b.Commit(t, storetest.Sale("capped-0", "first")); out.Verdict != decide.Duplicate {
			t.Errorf("without %s: %+v", key, out)
		}
	}
	b.redis.FastForward(24 * time.Hour)
	if keys := b.redis.Keys(); len(keys) != 0 {
		t.Errorf("these stay for ever: %v", keys)
	}
	b.Commit(t, storetest.Sale("capped-0", "second"))
	b.redis.FlushAll()
	b.Commit(t, storetest.Sale("capped-0", "third"))
	for i := range 2 {
		if out := b.Commit(t, storetest.Sale("capped-0", fmt.Sprint("more ", i))); out.Verdict != decide.OverCap {
			t.Errorf("more than the cap: %+v", out)
		}
	}
}

// Whatever is forgotten while conversions race: whenever they rest, the cache
// counts what the database counts, or nothing.
func TestCountersUnderRaces(t *testing.T) {
	b := newBench(t)
	const rounds, workers, each = 20, 8, 10
	offers := []store.Offer{{OfferID: storetest.CappedOffer, Cap: 1_000_000}}
	if _, err := b.Population.LoadOffers(t.Context(), storetest.Rows(offers, nil)); err != nil {
		t.Fatal(err)
	}
	known := 0
	for round := range rounds {
		var wait sync.WaitGroup
		for worker := range workers {
			wait.Go(func() {
				for i := range each {
					switch {
					case i == 3 && worker == 1:
						b.cache.Invalidate()
					case i == 6 && worker == 2:
						b.redis.FlushAll()
					}
					if _, err := b.TryCommit(t.Context(), storetest.Sale("capped-0", fmt.Sprint(round, worker, i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		sale := storetest.Sale("capped-0", "another")
		sale.Attribution = store.Attribution{Found: true, OfferID: storetest.CappedOffer}
		inRedis, found, err := b.cache.Cached(t.Context(), &sale)
		inBooks, errBooks := b.sql.ReadFacts(t.Context(), &sale)
		if err != nil || errBooks != nil || found && inRedis != inBooks {
			t.Errorf("round %d: in Redis %+v, %v; in the books %+v, %v", round, inRedis, err, inBooks, errBooks)
		}
		if found {
			known++
		}
	}
	if known == 0 {
		t.Error("the cache never knew anything")
	}
	if got := b.Status(t, storetest.CappedOffer).Billable; got != rounds*workers*each {
		t.Errorf("%d billed, want %d", got, rounds*workers*each)
	}
}

// gatedBooks are books whose Insert waits, and fails as it is told.
type gatedBooks struct {
	*store.SQL
	insert chan error
}

func (g gatedBooks) Insert(ctx context.Context, c *store.Conversion, f store.Facts) (store.Outcome, error) {
	select {
	case err := <-g.insert:
		out, errInsert := g.SQL.Insert(ctx, c, f)
		if err != nil { // it was written all the same
			return store.Outcome{}, err
		}
		return out, errInsert
	case <-ctx.Done():
		return store.Outcome{}, store.ErrBusy
	}
}

// Of an Insert that failed half-way nobody knows whether it has billed: the
// database is asked again.
func TestUnknownOutcome(t *testing.T) {
	b := newBench(t)
	books := gatedBooks{SQL: b.sql, insert: make(chan error, 10)}
	cache, err := rediscache.New(t.Context(), rediscache.Options{Books: books, Socket: b.redis.Addr(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	b.Conversions = cache
	books.insert <- nil
	b.costs(storetest.Sale("capped-0", "1"), decide.Billable, 1, 2, 2)
	books.insert <- errors.New("the connection broke")
	if _, err := b.TryCommit(t.Context(), storetest.Sale("capped-0", "2")); err == nil {
		t.Error("the error got lost")
	}
	books.insert <- nil
	b.costs(storetest.Sale("capped-0", "3"), decide.Billable, 0, 2, 2)
	books.insert <- nil
	b.costs(storetest.Sale("capped-0", "4"), decide.OverCap, 0, 0, 1)
}

// An offer is not read while a sale of it is being written: the counter would
// lack that sale, or have it twice.
func TestFillWaitsForInserts(t *testing.T) {
	b := newBench(t)
	books := gatedBooks{SQL: b.sql, insert: make(chan error)}
	cache, err := rediscache.New(t.Context(), rediscache.Options{Books: books, Socket: b.redis.Addr(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	b.Conversions = cache
	first, second := make(chan error), make(chan error)
	commit := func(ctx context.Context, txID string, done chan error) {
		_, err := b.TryCommit(ctx, storetest.Sale("capped-0", txID))
		done <- err
	}
	go commit(t.Context(), "1", first)
	for b.sql.Queries().Selects < 2 { // it has its facts
		time.Sleep(time.Millisecond) // polls: the work is in real databases
	}
	cache.Invalidate()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	go commit(ctx, "2", second)
	if err := <-second; !errors.Is(err, store.ErrBusy) {
		t.Errorf("the deadline passes while the first is written: %v", err)
	}
	if q := b.sql.Queries(); q.Selects != 2 {
		t.Errorf("the offer was read meanwhile: %+v", q)
	}
	go commit(t.Context(), "3", second)
	books.insert <- nil
	books.insert <- nil
	if err := errors.Join(<-first, <-second); err != nil {
		t.Error(err)
	}
	go func() { books.insert <- nil; books.insert <- nil }()
	b.costs(storetest.Sale("capped-0", "4"), decide.Billable, 0, 0, 2)
	b.costs(storetest.Sale("capped-0", "5"), decide.OverCap, 0, 0, 1)
}
