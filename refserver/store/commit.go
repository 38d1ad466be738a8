package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
)

const (
	selectExisting = `SELECT claimed_offer_id, payout, currency FROM conversions WHERE click_id = ? AND txid = ? AND event = ?`

	selectOffer = `SELECT cap, billable, attribution_window_s FROM offers WHERE offer_id = ?`

	insertConversion = `INSERT INTO conversions
		(click_id, txid, event, verdict, offer_id, claimed_offer_id, payout, currency, received_unix_ns, recorded_unix_ns)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (click_id, txid, event) DO NOTHING`

	insertConflict = `INSERT INTO conflicts
		(click_id, txid, event, offer_id, claimed_offer_id, payout, currency, received_unix_ns, recorded_unix_ns)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
)

// Attribute looks up the click. Unknown clicks are no error. ErrBusy when ctx
// ends first.
func (s *SQL) Attribute(ctx context.Context, clickID string) (Attribution, error) {
	found := Attribution{Found: true}
	err := s.findClick.QueryRowContext(ctx, clickID).Scan(&found.OfferID, &found.ClickedUnixS)
	if errors.Is(err, sql.ErrNoRows) {
		return Attribution{}, nil
	}
	return found, wrap("attribute click", err)
}

// Commit decides on c and records it; when it returns without an error, the
// row (for a repetition: the original) is synced to the disk. An identity is
// recorded once, whatever runs at the same time. ErrBusy when ctx ends before
// the writer is free; nothing was written then.
//
// The two ways differ in one thing only, which is what they are compared for:
// whether identity and cap counter are read before or inside the transaction
// that inserts.
func (s *SQL) Commit(ctx context.Context, c *Conversion) (Outcome, error) {
	if s.options.AtomicCaps {
		return s.commitAtomic(ctx, c)
	}
	return s.checkThenInsert(ctx, c)
}

func (s *SQL) checkThenInsert(ctx context.Context, c *Conversion) (out Outcome, err error) {
	start := s.options.Now()
	verdict, err := s.readerChecks.decide(ctx, onPool, c)
	if err != nil {
		return out, wrap("check cap", err)
	}
	checked := s.options.Now()
	out.CapNs = checked.Sub(start).Nanoseconds()
	s.afterCheck()
	if verdict == decide.Duplicate { // readers see only what is synced already
		return Outcome{Verdict: verdict, Repeated: true, CapNs: out.CapNs}, nil
	}
	err = s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		out.Verdict, out.Repeated, err = s.record(ctx, tx, c, verdict, s.options.Now().UnixNano())
		return err
	})
	out.InsertNs = s.options.Now().Sub(checked).Nanoseconds()
	return out, wrap("insert conversion", err)
}

func (s *SQL) commitAtomic(ctx context.Context, c *Conversion) (out Outcome, err error) {
	start := s.options.Now()
	err = s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		entered := s.options.Now()
		verdict, err := s.writerChecks.decide(ctx, tx.StmtContext, c)
		if err != nil {
			return err
		}
		out.CapNs = s.options.Now().Sub(entered).Nanoseconds()
		s.afterCheck()
		if verdict == decide.Duplicate {
			out.Verdict, out.Repeated = verdict, true
			return nil
		}
		out.Verdict, out.Repeated, err = s.record(ctx, tx, c, verdict, entered.UnixNano())
		return err
	})
	out.InsertNs = s.options.Now().Sub(start).Nanoseconds() - out.CapNs
	return out, wrap("commit conversion", err)
}

// using binds a prepared statement to the pool or to a transaction.
type using func(context.Context, *sql.Stmt) *sql.Stmt

func onPool(_ context.Context, stmt *sql.Stmt) *sql.Stmt { return stmt }

// decide reads what the decision needs and makes it.
func (k *checks) decide(ctx context.Context, use using, c *Conversion) (decide.Verdict, error) {
	in := decide.Input{
		Event: c.Event, Payout: c.Payout, ReceivedUnixNs: c.ReceivedUnixNs,
		Click: decide.Click{Found: c.Attribution.Found, ClickedUnixS: c.Attribution.ClickedUnixS},
	}
	var err error
	if in.Existing, err = existing(ctx, use(ctx, k.existing), c); err != nil {
		return "", err
	}
	if in.Existing == decide.None && c.Attribution.Found {
		err = use(ctx, k.offer).QueryRowContext(ctx, c.Attribution.OfferID).
			Scan(&in.Offer.Cap, &in.Offer.Billable, &in.Offer.AttributionWindowS)
		if err != nil && !errors.Is(err, sql.ErrNoRows) { // an offer nobody loaded has no cap
			return "", err
		}
	}
	return decide.Decide(in), nil
}

func existing(ctx context.Context, stmt *sql.Stmt, c *Conversion) (decide.Existing, error) {
	var offerID, currency string
	var payout postback.Money
	err := stmt.QueryRowContext(ctx, c.ClickID, c.TxID, c.Event.String()).Scan(&offerID, &payout, &currency)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return decide.None, nil
	case err != nil:
		return decide.None, err
	case offerID == c.ClaimedOfferID && payout == c.Payout && currency == c.Currency.String():
		return decide.SamePayload, nil
	}
	return decide.OtherPayload, nil
}

// record writes the row with the verdict given. If another request has taken
// the identity since the check, the unique key says so, and the verdict
// becomes duplicate or conflict.
func (s *SQL) record(ctx context.Context, tx *sql.Tx, c *Conversion, verdict decide.Verdict, nowNs int64) (decide.Verdict, bool, error) {
	if verdict != decide.Conflict {
		written, err := exec(ctx, tx, s.insert, c.ClickID, c.TxID, c.Event.String(), string(verdict), c.offerID(),
			c.ClaimedOfferID, int64(c.Payout), c.Currency.String(), c.ReceivedUnixNs, nowNs)
		if err != nil {
			return "", false, err
		}
		if written {
			if verdict == decide.Billable {
				_, err = exec(ctx, tx, s.bump, c.offerID())
			}
			return verdict, false, err
		}
		found, err := existing(ctx, tx.StmtContext(ctx, s.writerChecks.existing), c)
		if err != nil || found == decide.SamePayload {
			return decide.Duplicate, true, err
		}
	}
	written, err := exec(ctx, tx, s.keepConflict, c.ClickID, c.TxID, c.Event.String(), c.offerID(),
		c.ClaimedOfferID, int64(c.Payout), c.Currency.String(), c.ReceivedUnixNs, nowNs)
	return decide.Conflict, !written, err
}

// exec reports whether the statement changed a row.
func exec(ctx context.Context, tx *sql.Tx, stmt *sql.Stmt, args ...any) (bool, error) {
	result, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}
