package rediscache

import (
	"context"
	"iter"

	"github.com/postbench/postbench/refserver/store"
)

// Loader takes clicks and offers into the books; see admin.Population.
type Loader interface {
	LoadClicks(ctx context.Context, clicks iter.Seq2[store.Click, error]) (int64, error)
	LoadOffers(ctx context.Context, offers iter.Seq2[store.Offer, error]) (int64, error)
}

// Population loads into the books and makes the cache forget what was there.
type Population struct {
	books Loader
	cache *Cache
}

// Population is the way into the books for clicks and offers.
func (c *Cache) Population(books Loader) Population { return Population{books, c} }

// LoadClicks is the books'.
func (p Population) LoadClicks(ctx context.Context, clicks iter.Seq2[store.Click, error]) (int64, error) {
	defer p.cache.Invalidate() // also after an error: what it left behind is unknown
	return p.books.LoadClicks(ctx, clicks)
}

// LoadOffers is the books'.
func (p Population) LoadOffers(ctx context.Context, offers iter.Seq2[store.Offer, error]) (int64, error) {
	defer p.cache.Invalidate()
	return p.books.LoadOffers(ctx, offers)
}
