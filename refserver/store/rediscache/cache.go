// Package rediscache puts a Redis in front of the books: clicks, identities,
// offers and their cap counters are read from there, so that a postback of a
// known offer costs the database its two writes and no read. What Redis does not
// have, or when it is away, comes from the books as before.
//
// The cache decides nothing for good. An identity that it does not know is left
// to the unique key; one that it knows was committed before. A cap counter in it
// is what the database has, but for what is being written at that moment, so a
// cap is passed by as much as without the cache: by conversions that raced.
package rediscache

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/redisbuf"
	"github.com/postbench/postbench/refserver/store"
)

// How long Redis keeps what nobody replaces.
const (
	// ClickTTL and IdentityTTL bound what the cache fills up with.
	ClickTTL    = time.Hour
	IdentityTTL = time.Hour
	// OfferTTL is how often an offer and its counter are read anew at least.
	OfferTTL = 10 * time.Minute
)

const (
	// maxConns bounds the commands on their way at once.
	maxConns = 64
	// retryAfter is how long a Redis that failed is left alone.
	retryAfter = time.Second
	// maxCachedWindows bounds the cap windows of an offer in Redis. Two are in
	// use when a conversion takes its time over a window's end.
	maxCachedWindows = 8
)

// Clicks attributes, as store.SQL does.
type Clicks interface {
	// Attribute looks up the click. Unknown clicks are no error.
	Attribute(ctx context.Context, clickID string) (store.Attribution, error)
}

// Ledger reads and writes what is in the database, as store.SQL does.
type Ledger interface {
	// ReadFacts reads what the decision on c rests on.
	ReadFacts(ctx context.Context, c *store.Conversion) (store.Facts, error)
	// Insert decides on c by f and records it. When it returns nil, that is
	// committed; after store.ErrBusy, nothing was. An identity is recorded once,
	// whatever f says.
	Insert(ctx context.Context, c *store.Conversion, f store.Facts) (store.Outcome, error)
}

// Books are what is cached.
type Books interface {
	Clicks
	Ledger
}

// Options says what is cached where. Books, Now and one of Redis and Socket are
// required.
type Options struct {
	// Books are written through this Cache only: what others bill in the same
	// database, the counters here learn after OfferTTL.
	Books Books
	// Redis is the caller's to close; its retries must be off, since counting
	// twice is wrong. See redisbuf.NewClient.
	Redis *redis.Client
	// Socket is the address of a Redis, instead: "/path" or "host:port".
	Socket string
	// Now times the stages, and how long a Redis that failed is left alone.
	Now func() time.Time
}

// Counts is what a Cache did since its start. Every attribution and every commit
// is in one of Hits, Misses and Bypassed.
type Counts struct {
	Hits          int64 `json:"hits"`          // Redis knew all that was asked for
	Misses        int64 `json:"misses"`        // Redis did not have it, or failed
	Bypassed      int64 `json:"bypassed"`      // Redis was not asked: it had just failed
	Errors        int64 `json:"errors"`        // commands that failed
	Duplicates    int64 `json:"duplicates"`    // hits that were answered without the books
	Invalidations int64 `json:"invalidations"` // the whole cache was forgotten: loads, and sales that Redis could not be told of
}

// Cache is the books behind a Redis. It is safe for concurrent use.
type Cache struct {
	options Options
	own     *redis.Client // nil if the client is the caller's
	redis   *redis.Client
	gates   *gates

	// Keys begin with boot and generation: what another process wrote, or this
	// one before an Invalidate, is never read.
	boot       string
	generation atomic.Uint64
	downUntil  atomic.Int64 // unix ns of Now

	hits, misses, bypassed, errors, duplicates atomic.Int64
}

// New prepares a Cache, which is empty whatever Redis holds. It does not
// connect: the cache may start before its Redis, and outlive it.
func New(_ context.Context, options Options) (*Cache, error) {
	c := &Cache{options: options, redis: options.Redis, gates: newGates(), boot: rand.Text()}
	if c.redis == nil {
		client, err := redisbuf.NewClient(options.Socket, maxConns)
		if err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
		c.own, c.redis = client, client
	}
	return c, nil
}

// Close ends the connections that New made. The books stay open.
func (c *Cache) Close() error {
	if c.own == nil {
		return nil
	}
	if err := c.own.Close(); err != nil {
		return fmt.Errorf("close cache: %w", err)
	}
	return nil
}

// Invalidate forgets everything: what was asked for before it is read from the
// books again. It does not need Redis. Call it when clicks or offers were loaded.
func (c *Cache) Invalidate() { c.generation.Add(1) }

// Counts reads the counters; they are not one instant's.
func (c *Cache) Counts() Counts {
	return Counts{
		Hits: c.hits.Load(), Misses: c.misses.Load(), Bypassed: c.bypassed.Load(), Errors: c.errors.Load(),
		Duplicates: c.duplicates.Load(), Invalidations: int64(c.generation.Load()),
	}
}

// Attribute looks up the click. Unknown clicks are no error, and are not kept:
// they may be loaded any time. store.ErrBusy when ctx ends first.
func (c *Cache) Attribute(ctx context.Context, clickID string) (store.Attribution, error) {
	if c.down() {
		c.bypassed.Add(1)
		return c.options.Books.Attribute(ctx, clickID)
	}
	k := c.keys() // of now: what a load replaces meanwhile must not be kept
	found, away := c.readClick(ctx, k, clickID)
	if found.Found {
		c.hits.Add(1)
		return found, nil
	}
	c.misses.Add(1)
	found, err := c.options.Books.Attribute(ctx, clickID)
	if err == nil && away == nil && found.Found {
		c.writeClick(ctx, k, clickID, found)
	}
	return found, err
}

// Commit decides on v and records it, with the promises of the books' Insert. A
// duplicate of what is known to be recorded does not reach the books.
func (c *Cache) Commit(ctx context.Context, v *store.Conversion) (store.Outcome, error) {
	start := c.options.Now()
	facts, cached, err := c.facts(ctx, v)
	if err != nil {
		return store.Outcome{}, err
	}
	checked := c.options.Now()
	capNs := checked.Sub(start).Nanoseconds()
	if cached && facts.Existing == decide.SamePayload {
		c.duplicates.Add(1)
		return store.Outcome{Verdict: decide.Duplicate, Repeated: true, CapNs: capNs}, nil
	}
	out, err := c.insert(ctx, v, facts)
	out.CapNs, out.InsertNs = capNs, c.options.Now().Sub(checked).Nanoseconds()
	return out, err
}

// facts are Redis's, or else the books'.
func (c *Cache) facts(ctx context.Context, v *store.Conversion) (f store.Facts, cached bool, err error) {
	if c.down() {
		c.bypassed.Add(1)
		f, err = c.options.Books.ReadFacts(ctx, v)
		return f, false, err
	}
	f, known, err := c.readFacts(ctx, c.keys(), v)
	switch {
	case err != nil: // the books know
		c.misses.Add(1)
		f, err = c.options.Books.ReadFacts(ctx, v)
		return f, false, err
	case known:
		c.hits.Add(1)
		return f, true, nil
	}
	return c.fill(ctx, v)
}

// fill reads an offer from the books into Redis while nothing is being billed to
// it. So the counter in Redis begins with what is committed; every later
// conversion finds it there and adds itself.
func (c *Cache) fill(ctx context.Context, v *store.Conversion) (f store.Facts, cached bool, err error) {
	leave, err := c.gates.of(v.Attribution.OfferID).alone(ctx)
	if err != nil {
		return f, false, err
	}
	defer leave()
	k := c.keys()
	// Who waited here together finds it done by the first.
	f, known, away := c.readFacts(ctx, k, v)
	if known {
		c.hits.Add(1)
		return f, true, nil
	}
	c.misses.Add(1)
	f, err = c.options.Books.ReadFacts(ctx, v)
	if err == nil && away == nil && f.Existing == decide.None { // else the offer was not read
		c.writeOffer(ctx, k, v, f)
	}
	return f, false, err
}

// insert records v and tells Redis what came of it.
func (c *Cache) insert(ctx context.Context, v *store.Conversion, f store.Facts) (store.Outcome, error) {
	if v.Attribution.Found {
		leave, err := c.gates.of(v.Attribution.OfferID).share(ctx)
		if err != nil {
			return store.Outcome{}, err
		}
		defer leave()
	}
	out, err := c.options.Books.Insert(ctx, v, f)
	c.learn(ctx, v, f, out, err)
	return out, err
}
