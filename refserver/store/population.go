package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
)

// loadCheckRows is how often a load looks whether its caller has given up.
const loadCheckRows = 1_024

// table is where a bulk load goes. Loading an id a second time replaces it, so
// that a population can be loaded again; only an offer's cap counters stay
// what they are.
type table struct {
	into    string // the name and the columns
	columns int
}

// LoadClicks stores all clicks or, at the first error of the sequence, none.
// It streams, holding the writer meanwhile, and returns the number of rows.
func (s *SQL) LoadClicks(ctx context.Context, clicks iter.Seq2[Click, error]) (int64, error) {
	if s.clicks != nil {
		return s.clicks.LoadClicks(ctx, clicks)
	}
	into := table{"clicks (click_id, offer_id, clicked_unix_s)", 3}
	return load(ctx, s, "load clicks", into, clicks, func(c Click, args []any) []any {
		return append(args, c.ClickID, c.OfferID, c.ClickedUnixS)
	})
}

// LoadOffers is LoadClicks for offers.
func (s *SQL) LoadOffers(ctx context.Context, offers iter.Seq2[Offer, error]) (int64, error) {
	into := table{"offers (offer_id, cap, payout, currency, attribution_window_s, cap_window_s)", 6}
	return load(ctx, s, "load offers", into, offers, func(o Offer, args []any) []any {
		return append(args, o.OfferID, o.Cap, int64(o.Payout), o.Currency.String(), o.AttributionWindowS, o.CapWindowS)
	})
}

// LoadKeys is LoadClicks for keys.
func (s *SQL) LoadKeys(ctx context.Context, keys iter.Seq2[Key, error]) (int64, error) {
	into := table{"`keys` (kid, secret)", 2}
	return load(ctx, s, "load keys", into, keys, func(k Key, args []any) []any {
		return append(args, k.KID, k.Secret)
	})
}

func load[T any](ctx context.Context, s *SQL, operation string, into table, rows iter.Seq2[T, error], bind func(T, []any) []any) (n int64, err error) {
	err = s.inTx(ctx, func(inTx context.Context, tx *sql.Tx) error {
		stmt, err := tx.PrepareContext(inTx, into.replace(s.dialect.loadRows))
		if err != nil {
			return err
		}
		defer stmt.Close()
		var args []any
		for row, err := range rows {
			if err == nil && n%loadCheckRows == 0 {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			args = bind(row, args)
			n++
			if len(args) < s.dialect.loadRows*into.columns {
				continue
			}
			if _, err := stmt.ExecContext(inTx, args...); err != nil {
				return fmt.Errorf("rows up to %d: %w", n, err)
			}
			args = args[:0]
		}
		if len(args) == 0 {
			return nil
		}
		_, err = tx.ExecContext(inTx, into.replace(len(args)/into.columns), args...)
		return err
	})
	if err != nil {
		return 0, wrap(operation, err)
	}
	if s.dialect.afterLoad != "" {
		_, err = s.writer.ExecContext(ctx, s.dialect.afterLoad)
	}
	return n, wrap(operation, err)
}

// Keys returns all signing keys.
func (s *SQL) Keys(ctx context.Context) ([]Key, error) {
	rows, err := s.readers.QueryContext(ctx, selectKeys)
	if err != nil {
		return nil, wrap("read keys", err)
	}
	defer rows.Close()
	var keys []Key
	for rows.Next() {
		var k Key
		if err := rows.Scan(&k.KID, &k.Secret); err != nil {
			return nil, wrap("read keys", err)
		}
		keys = append(keys, k)
	}
	return keys, wrap("read keys", rows.Err())
}
