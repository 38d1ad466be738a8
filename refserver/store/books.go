package store

import (
	"context"
	"database/sql"
	"errors"
)

// EachRow calls visit for every recorded row, conversions in the order of
// their ids (SQLite: of their commits), then conflicts. Every row committed before the call is
// visited; later ones may be. The Row is visit's to keep. It stops at the
// first error of visit and returns it.
func (s *SQL) EachRow(ctx context.Context, visit func(Row) error) error {
	for _, table := range []*sql.Stmt{s.pageConversions, s.pageConflicts} {
		page := make([]Row, 0, ledgerPageRows)
		for lastID := int64(0); ; {
			var err error
			if page, lastID, err = readPage(ctx, table, lastID, page[:0]); err != nil {
				return wrap("read ledger", err)
			}
			for _, row := range page {
				if err := visit(row); err != nil {
					return err
				}
			}
			if len(page) < ledgerPageRows {
				break
			}
		}
	}
	return nil
}

func readPage(ctx context.Context, table *sql.Stmt, lastID int64, page []Row) ([]Row, int64, error) {
	rows, err := table.QueryContext(ctx, lastID, ledgerPageRows)
	if err != nil {
		return page, lastID, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Row
		var capWindowS int64
		if err := rows.Scan(&lastID, &r.ClickID, &r.TxID, &r.Event, &r.Verdict, &r.OfferID, &r.Payout, &r.Currency,
			&r.RecordedUnixNs, &r.ReceivedUnixNs, &capWindowS); err != nil {
			return page, lastID, err
		}
		r.CapWindow = CapWindowName(r.ReceivedUnixNs, capWindowS)
		page = append(page, r)
	}
	return page, lastID, rows.Err()
}

// OfferStatus returns cap and counter of an offer, in the cap window of now;
// found is false for one that was never loaded.
func (s *SQL) OfferStatus(ctx context.Context, offerID string) (status OfferStatus, found bool, err error) {
	nowNs := s.now().UnixNano()
	offer, err := readOffer(ctx, s.readerChecks.offer, offerID, nowNs)
	if errors.Is(err, sql.ErrNoRows) {
		return OfferStatus{}, false, nil
	}
	if err != nil {
		return OfferStatus{}, false, wrap("read offer", err)
	}
	return OfferStatus{OfferID: offerID, Cap: offer.Cap, Billable: offer.Billable, Closed: offer.Closed(),
		CapWindow: CapWindowName(nowNs, offer.capWindowS)}, true, nil
}
