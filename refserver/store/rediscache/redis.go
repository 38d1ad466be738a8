package rediscache

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// What Redis holds, under the prefix of boot and generation:
//
//	c:CLICK_ID                     "CLICKED_UNIX_S OFFER_ID"
//	i:LENGTH:CLICK_ID:LENGTH:TXID:EVENT   "PAYOUT CURRENCY OFFER_ID" as first recorded; lengths in bytes
//	o:OFFER_ID                     "CAP ATTRIBUTION_WINDOW_S CAP_WINDOW_S"
//	n:OFFER_ID                     a sorted set: "CAP_WINDOW_S/WINDOW" → billable conversions
//
// The counters are a sorted set because that is the one kind that Redis can add
// to only if it is still there: a key that was evicted or flushed must be read
// from the books again, not begin at 1. A score is exact up to 2⁵³.

// keys makes the keys of one generation.
type keys string

func (c *Cache) keys() keys {
	return keys("pb:" + c.boot + ":" + strconv.FormatUint(c.generation.Load(), 36) + ":")
}

func (k keys) click(clickID string) string    { return string(k) + "c:" + clickID }
func (k keys) offer(offerID string) string    { return string(k) + "o:" + offerID }
func (k keys) counters(offerID string) string { return string(k) + "n:" + offerID }

// identity tells all identities apart, whatever bytes their parts have.
func (k keys) identity(v *store.Conversion) string {
	return fmt.Sprintf("%si:%d:%s:%d:%s:%s", string(k), len(v.ClickID), v.ClickID, len(v.TxID), v.TxID, v.Event)
}

// payload is equal for two conversions of an identity exactly if the books hold
// the second for a duplicate of the first.
func payload(v *store.Conversion) string {
	return fmt.Sprintf("%d %s %s", int64(v.Payout), v.Currency, v.ClaimedOfferID)
}

func window(v *store.Conversion, capWindowS int64) string {
	return fmt.Sprintf("%d/%d", capWindowS, store.CapWindow(v.ReceivedUnixNs, capWindowS))
}

// down reports whether Redis is left alone.
func (c *Cache) down() bool { return c.options.Now().UnixNano() < c.downUntil.Load() }

// failed counts a command's failure. After one that Redis did not answer, it is
// left alone for a while: a partner must not wait for it again and again. A
// caller who gave up says nothing about Redis.
func (c *Cache) failed(ctx context.Context, err error) {
	c.errors.Add(1)
	var answer redis.Error
	if ctx.Err() != nil || errors.As(err, &answer) {
		return
	}
	c.downUntil.Store(c.options.Now().Add(retryAfter).UnixNano())
}

// answered takes a command's error: nil and "there is no such key" are none.
func (c *Cache) answered(ctx context.Context, err error) (found bool, failure error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, redis.Nil):
		return false, nil
	}
	c.failed(ctx, err)
	return false, err
}

// readClick finds nothing if Redis does not have it.
func (c *Cache) readClick(ctx context.Context, k keys, clickID string) (a store.Attribution, err error) {
	value, err := c.redis.Get(ctx, k.click(clickID)).Result()
	if found, err := c.answered(ctx, err); !found {
		return a, err
	}
	clicked, offerID, ok := strings.Cut(value, " ")
	clickedUnixS, err := strconv.ParseInt(clicked, 10, 64)
	if !ok || err != nil {
		c.errors.Add(1)
		return a, nil // not a value of ours: it will be replaced
	}
	return store.Attribution{Found: true, OfferID: offerID, ClickedUnixS: clickedUnixS}, nil
}

func (c *Cache) writeClick(ctx context.Context, k keys, clickID string, a store.Attribution) {
	value := fmt.Sprintf("%d %s", a.ClickedUnixS, a.OfferID)
	_, _ = c.answered(ctx, c.redis.Set(ctx, k.click(clickID), value, ClickTTL).Err()) // counted; it stays a miss
}

// readFacts asks for everything in one round trip. known means that the books
// need not be asked: an identity that Redis does not have counts as new.
func (c *Cache) readFacts(ctx context.Context, k keys, v *store.Conversion) (f store.Facts, known bool, err error) {
	pipe := c.redis.Pipeline()
	identity := pipe.Get(ctx, k.identity(v))
	var offer *redis.StringCmd
	var counters *redis.ZSliceCmd
	if v.Attribution.Found {
		offer = pipe.Get(ctx, k.offer(v.Attribution.OfferID))
		counters = pipe.ZRangeWithScores(ctx, k.counters(v.Attribution.OfferID), 0, -1)
	}
	_, _ = pipe.Exec(ctx) // every command has its own error
	recorded, err := c.answered(ctx, identity.Err())
	switch {
	case err != nil:
		return f, false, err
	case recorded && identity.Val() == payload(v):
		return store.Facts{Existing: decide.SamePayload}, true, nil
	case recorded:
		return store.Facts{Existing: decide.OtherPayload}, true, nil
	case offer == nil: // unattributed: nothing else matters
		return f, true, nil
	}
	if known, err = c.answered(ctx, offer.Err()); !known {
		return f, false, err
	}
	if _, err := c.answered(ctx, counters.Err()); err != nil {
		return f, false, err
	}
	if _, err := fmt.Sscanf(offer.Val(), "%d %d %d", &f.Offer.Cap, &f.Offer.AttributionWindowS, &f.CapWindowS); err != nil {
		c.errors.Add(1)
		return store.Facts{}, false, nil // not a value of ours: it will be replaced
	}
	for _, counter := range counters.Val() {
		if counter.Member == window(v, f.CapWindowS) {
			f.Offer.Billable = int64(counter.Score)
			return f, true, nil
		}
	}
	return store.Facts{}, false, nil
}

// writeOffer keeps an offer with the counter of v's window. The caller is alone
// at the offer's gate.
func (c *Cache) writeOffer(ctx context.Context, k keys, v *store.Conversion, f store.Facts) {
	offer, counters := k.offer(v.Attribution.OfferID), k.counters(v.Attribution.OfferID)
	pipe := c.redis.Pipeline()
	size := pipe.ZCard(ctx, counters)
	pipe.Set(ctx, offer, fmt.Sprintf("%d %d %d", f.Offer.Cap, f.Offer.AttributionWindowS, f.CapWindowS), OfferTTL)
	pipe.ZAdd(ctx, counters, redis.Z{Member: window(v, f.CapWindowS), Score: float64(f.Offer.Billable)})
	pipe.Expire(ctx, counters, OfferTTL)
	switch {
	case !c.all(ctx, pipe):
		c.Invalidate() // Redis may still do it, and put an old count over newer ones
	case size.Val() >= maxCachedWindows:
		_, _ = c.answered(ctx, c.redis.Del(ctx, counters).Err()) // the windows in use come back
	}
}

// learn tells Redis what became of v. The caller shares the offer's gate, so the
// counter is not being read anew. A conversion that may have been billed and that
// Redis cannot be told of costs all that is cached: no counter may lack it.
func (c *Cache) learn(ctx context.Context, v *store.Conversion, f store.Facts, out store.Outcome, err error) {
	if errors.Is(err, store.ErrBusy) { // nothing was written
		return
	}
	unknown := err != nil && v.Attribution.Found
	billed := err == nil && out.Verdict == decide.Billable
	// The generation is the one of now: if there is a counter, v belongs in it.
	k, pipe := c.keys(), c.redis.Pipeline()
	// Recorded is recorded, even if the caller has given up; the client's own
	// timeouts limit this.
	ctx = context.WithoutCancel(ctx)
	switch {
	case unknown:
		pipe.Del(ctx, k.counters(v.Attribution.OfferID))
	case billed:
		pipe.ZAddArgsIncr(ctx, k.counters(v.Attribution.OfferID),
			redis.ZAddArgs{XX: true, Members: []redis.Z{{Member: window(v, f.CapWindowS), Score: 1}}})
	}
	if err == nil && out.Verdict != decide.Conflict { // of a conflict, what the first one says is not known here
		pipe.Set(ctx, k.identity(v), payload(v), IdentityTTL)
	}
	told := pipe.Len() == 0 || !c.down() && c.all(ctx, pipe)
	if (unknown || billed) && !told {
		c.Invalidate()
	}
}

// all carries out a pipeline and reports whether all of it succeeded.
func (c *Cache) all(ctx context.Context, pipe redis.Pipeliner) bool {
	commands, _ := pipe.Exec(ctx) // every command has its own error
	for _, command := range commands {
		if _, err := c.answered(ctx, command.Err()); err != nil {
			return false
		}
	}
	return true
}
