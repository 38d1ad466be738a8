package pebbledb

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/postbench/postbench/refserver/store"
)

// ledgerPageRows is how many rows are read at once. Between pages nothing is
// held that would keep old files alive for a slow reader: rows never change.
const ledgerPageRows = 2_048

// EachRow calls visit for every recorded row, conversions in the order of
// their commits, then conflicts. Every row committed before the call is
// visited; rows that are not on the disk yet are not. The Row is visit's to
// keep. It stops at the first error of visit and returns it; store.ErrBusy
// when ctx ends.
func (s *Store) EachRow(ctx context.Context, visit func(store.Row) error) error {
	s.syncedMu.Lock()
	upTo := s.synced
	s.syncedMu.Unlock()
	page := make([]store.Row, 0, min(ledgerPageRows, max(upTo.rows, upTo.conflicts)))
	for _, table := range []struct {
		prefix byte
		rows   uint64
	}{{prefixRow, upTo.rows}, {prefixConflict, upTo.conflicts}} {
		for from := uint64(0); from < table.rows; from += ledgerPageRows {
			var err error
			if page, err = s.readPage(ctx, table.prefix, from, min(from+ledgerPageRows, table.rows), page[:0]); err != nil {
				return fmt.Errorf("read ledger: %w", err)
			}
			for _, row := range page {
				if err := visit(row); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readPage appends the rows with numbers from..to-1, none of which may be missing.
func (s *Store) readPage(ctx context.Context, prefix byte, from, to uint64, page []store.Row) (rows []store.Row, err error) {
	if ctx.Err() != nil {
		return page, busy(ctx)
	}
	leave, err := s.enter()
	if err != nil {
		return page, err
	}
	defer leave()
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: numbered(prefix, from), UpperBound: numbered(prefix, to)})
	if err != nil {
		return page, err
	}
	defer func() {
		if closed := iter.Close(); err == nil {
			err = closed
		}
	}()
	next := from
	for valid := iter.First(); valid; valid = iter.Next() {
		var stored storedRow
		if number, ok := readNumber(iter.Key()[1:]); !ok || number != next {
			return page, fmt.Errorf("%w: key %x where row %d was expected", ErrCorrupt, iter.Key(), next)
		}
		if err := stored.decode(iter.Value()); err != nil {
			return page, fmt.Errorf("row %c%d: %w", prefix, next, err)
		}
		page = append(page, stored.ledger())
		next++
	}
	if err := iter.Error(); err != nil {
		return page, err
	}
	if next != to {
		return page, fmt.Errorf("%w: row %c%d is missing", ErrCorrupt, prefix, next)
	}
	return page, nil
}

// OfferStatus returns cap and counter of an offer in the cap window of now, as
// they are on the disk; found is false for one that was never loaded.
func (s *Store) OfferStatus(_ context.Context, offerID string) (status store.OfferStatus, found bool, err error) {
	leave, err := s.enter()
	if err != nil {
		return store.OfferStatus{}, false, fmt.Errorf("read offer: %w", err)
	}
	defer leave()
	nowNs := s.options.Now().UnixNano()
	s.population.RLock()
	defer s.population.RUnlock()
	o := s.offers[offerID]
	if o == nil || !o.loaded {
		return store.OfferStatus{}, false, nil
	}
	windowS := o.definition.CapWindowS
	billable, err := s.syncedCount(o, windowS, store.CapWindow(nowNs, windowS))
	if err != nil {
		return store.OfferStatus{}, false, fmt.Errorf("read offer: %w", err)
	}
	state := o.state(billable)
	return store.OfferStatus{OfferID: offerID, Cap: state.Cap, Billable: state.Billable, Closed: state.Closed(),
		CapWindow: store.CapWindowName(nowNs, windowS)}, true, nil
}

// Committed is the number of conversions ever committed, duplicates included,
// that are on the disk. It survives a kill like the rows do.
func (s *Store) Committed() int64 {
	s.syncedMu.Lock()
	defer s.syncedMu.Unlock()
	return int64(s.synced.committed)
}

// Value returns the state last committed under key, nil if there is none. It
// may be one whose sync is under way.
func (s *Store) Value(key string) ([]byte, error) {
	leave, err := s.enter()
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	defer leave()
	value, err := s.get(appendText(nil, prefixState, key))
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	return value, nil
}
