package pebbledb

import (
	"context"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
)

// loadCheckRows is how often a load looks whether its caller has given up.
const loadCheckRows = 1_024

// Attribute looks up the click. Unknown clicks are no error. store.ErrBusy
// when ctx has ended. Commits look it up again and do not need it.
func (s *Store) Attribute(ctx context.Context, clickID string) (store.Attribution, error) {
	if ctx.Err() != nil {
		return store.Attribution{}, fmt.Errorf("attribute click: %w", busy(ctx))
	}
	s.population.RLock()
	defer s.population.RUnlock()
	c, found := s.clicks[clickID]
	if !found {
		return store.Attribution{}, nil
	}
	return store.Attribution{Found: true, OfferID: c.offer.id, ClickedUnixS: c.clickedUnixS}, nil
}

// LoadOffers stores all offers or, at the first error of the sequence, none;
// it returns the number of rows. An offer that is loaded again is replaced and
// keeps its counters. Conversions being decided meanwhile see the old offers.
func (s *Store) LoadOffers(ctx context.Context, offers iter.Seq2[store.Offer, error]) (int64, error) {
	staged := map[string]store.Offer{}
	n, err := s.load(ctx, func(writes *pebble.Batch) (int64, error) {
		var key, value []byte
		return each(ctx, offers, func(o store.Offer) error {
			if err := checkOffer(&o); err != nil {
				return err
			}
			if staged[o.OfferID] = o; len(staged) > MaxOffers {
				return fmt.Errorf("more than %d offers: %w", MaxOffers, ErrTooLarge)
			}
			key, value = appendText(key[:0], prefixOffer, o.OfferID), appendOffer(value[:0], &o)
			return writes.Set(key, value, nil)
		})
	}, func() {
		for id, definition := range staged {
			o := s.intern(id)
			o.loaded, o.definition = true, definition
		}
	})
	if err != nil {
		return 0, fmt.Errorf("load offers: %w", err)
	}
	return n, nil
}

func checkOffer(o *store.Offer) error {
	if err := checkID("offer_id", o.OfferID, postback.MaxOfferIDBytes); err != nil {
		return err
	}
	if o.CapWindowS < 0 || o.CapWindowS > store.MaxCapWindowS {
		return fmt.Errorf("a cap window of %d s, 0 to %d: %w", o.CapWindowS, store.MaxCapWindowS, ErrInvalid)
	}
	return checkCurrency(o.Currency)
}

// LoadKeys is LoadOffers for keys.
func (s *Store) LoadKeys(ctx context.Context, keys iter.Seq2[store.Key, error]) (int64, error) {
	n, err := s.load(ctx, func(writes *pebble.Batch) (int64, error) {
		return each(ctx, keys, func(k store.Key) error {
			switch {
			case len(k.Secret) > maxSecretBytes:
				return fmt.Errorf("a secret of %d bytes, at most %d: %w", len(k.Secret), maxSecretBytes, ErrTooLarge)
			case writes.Count() >= MaxKeys:
				return fmt.Errorf("more than %d keys: %w", MaxKeys, ErrTooLarge)
			}
			if err := checkID("kid", k.KID, postback.MaxKIDBytes); err != nil {
				return err
			}
			return writes.Set(appendText(nil, prefixKey, k.KID), k.Secret, nil)
		})
	}, func() {})
	if err != nil {
		return 0, fmt.Errorf("load keys: %w", err)
	}
	return n, nil
}

// load collects one write with fill, syncs it, and shows it to the readers.
func (s *Store) load(ctx context.Context, fill func(*pebble.Batch) (int64, error), show func()) (n int64, err error) {
	leave, err := s.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	if err := s.loads.takeWithin(ctx); err != nil {
		return 0, err
	}
	defer s.loads.give()
	writes := s.db.NewBatch()
	defer func() {
		if closed := writes.Close(); err == nil {
			err = closed
		}
	}()
	if n, err = fill(writes); err != nil {
		return 0, err
	}
	if err := s.db.Apply(writes, pebble.Sync); err != nil {
		return 0, s.fail(err)
	}
	s.population.Lock()
	defer s.population.Unlock()
	show()
	return n, nil
}

// each calls take for every row until the first error, or until ctx ends.
func each[T any](ctx context.Context, rows iter.Seq2[T, error], take func(T) error) (n int64, err error) {
	for row, err := range rows {
		if err != nil {
			return n, err
		}
		if n%loadCheckRows == 0 && ctx.Err() != nil {
			return n, busy(ctx)
		}
		n++
		if err := take(row); err != nil {
			return n, fmt.Errorf("row %d: %w", n, err)
		}
	}
	return n, nil
}

// intern is the offer of that id, made if it is new. It needs population, for writing.
func (s *Store) intern(id string) *offer {
	o := s.offers[id]
	if o == nil {
		o = &offer{id: id}
		s.offers[id] = o
	}
	return o
}

// Keys returns all signing keys, sorted by key id.
func (s *Store) Keys(ctx context.Context) (keys []store.Key, err error) {
	leave, err := s.enter()
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer leave()
	err = s.scan(ctx, prefixKey, func(kid, secret []byte) error {
		keys = append(keys, store.Key{KID: string(kid), Secret: append([]byte(nil), secret...)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return keys, nil
}

// scan visits everything under a prefix, whose letter the keys come without.
func (s *Store) scan(ctx context.Context, prefix byte, visit func(key, value []byte) error) (err error) {
	iter, err := s.db.NewIter(within(prefix))
	if err != nil {
		return err
	}
	defer func() {
		if closed := iter.Close(); err == nil {
			err = closed
		}
	}()
	n := 0
	for valid := iter.First(); valid; valid = iter.Next() {
		if n%loadCheckRows == 0 && ctx.Err() != nil {
			return busy(ctx)
		}
		n++
		if err := visit(iter.Key()[1:], iter.Value()); err != nil {
			return fmt.Errorf("key %.40q: %w", iter.Key(), err)
		}
	}
	return iter.Error()
}

// readPopulation brings offers, clicks and the counters of whole lives into
// memory. Those of cap windows are read when they are needed.
func (s *Store) readPopulation(ctx context.Context) error {
	err := s.scan(ctx, prefixOffer, func(key, value []byte) (err error) {
		o := s.intern(string(key))
		o.loaded = true
		o.definition, err = readOffer(o.id, value)
		return err
	})
	if err != nil {
		return err
	}
	err = s.scan(ctx, prefixCounter, func(key, value []byte) error {
		billable, err := readCounter(value)
		if err == nil {
			o := s.intern(string(key))
			o.counters = append(o.counters, newCounter(0, 0, billable))
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.scan(ctx, prefixClick, func(key, value []byte) error {
		offerID, clickedUnixS, err := readClick(value)
		if err != nil {
			return err
		}
		o := s.offers[string(offerID)] // finds it without making a string
		if o == nil {
			o = s.intern(string(offerID))
		}
		s.clicks[string(key)] = click{o, clickedUnixS}
		return nil
	})
}
