package rediscache

import (
	"context"

	"github.com/postbench/postbench/refserver/store"
)

// Cached is what Redis knows for the decision on v.
func (c *Cache) Cached(ctx context.Context, v *store.Conversion) (f store.Facts, known bool, err error) {
	return c.readFacts(ctx, c.keys(), v)
}
