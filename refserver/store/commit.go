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

	// selectOffer takes the second of receipt, see CapWindow, and the offer.
	selectOffer = `SELECT o.cap, coalesce(n.billable, 0), o.attribution_window_s, o.cap_window_s
		FROM offers o LEFT JOIN cap_counters n ON n.offer_id = o.offer_id AND n.cap_window_s = o.cap_window_s
			AND n.cap_window = CASE o.cap_window_s WHEN 0 THEN 0 ELSE ? / o.cap_window_s END
		WHERE o.offer_id = ?`

	bumpCounter = `INSERT INTO cap_counters (offer_id, cap_window_s, cap_window, billable) VALUES (?, ?, ?, 1)
		ON CONFLICT DO UPDATE SET billable = billable + 1`

	insertConversion = `INSERT INTO conversions
		(click_id, txid, event, verdict, offer_id, claimed_offer_id, payout, currency, received_unix_ns, recorded_unix_ns, cap_window_s)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (click_id, txid, event) DO NOTHING`

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
	decided, err := s.readerChecks.decide(ctx, onPool, c)
	if err != nil {
		return out, wrap("check cap", err)
	}
	checked := s.options.Now()
	out.CapNs = checked.Sub(start).Nanoseconds()
	s.afterCheck()
	if decided.verdict == decide.Duplicate { // readers see only what is synced already
		return Outcome{Verdict: decided.verdict, Repeated: true, CapNs: out.CapNs}, nil
	}
	err = s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		out.Verdict, out.Repeated, err = s.record(ctx, tx, c, decided, s.options.Now().UnixNano())
		return err
	})
	out.InsertNs = s.options.Now().Sub(checked).Nanoseconds()
	return out, wrap("insert conversion", err)
}

func (s *SQL) commitAtomic(ctx context.Context, c *Conversion) (out Outcome, err error) {
	start := s.options.Now()
	err = s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		entered := s.options.Now()
		decided, err := s.writerChecks.decide(ctx, tx.StmtContext, c)
		if err != nil {
			return err
		}
		out.CapNs = s.options.Now().Sub(entered).Nanoseconds()
		s.afterCheck()
		if decided.verdict == decide.Duplicate {
			out.Verdict, out.Repeated = decided.verdict, true
			return nil
		}
		out.Verdict, out.Repeated, err = s.record(ctx, tx, c, decided, entered.UnixNano())
		return err
	})
	out.InsertNs = s.options.Now().Sub(start).Nanoseconds() - out.CapNs
	return out, wrap("commit conversion", err)
}

// using binds a prepared statement to the pool or to a transaction.
type using func(context.Context, *sql.Stmt) *sql.Stmt

func onPool(_ context.Context, stmt *sql.Stmt) *sql.Stmt { return stmt }

// decision is a verdict and the length of the cap window that it was made for.
type decision struct {
	verdict    decide.Verdict
	capWindowS int64
}

// decide reads what the decision needs and makes it.
func (k *checks) decide(ctx context.Context, use using, c *Conversion) (decision, error) {
	in := decide.Input{
		Event: c.Event, Payout: c.Payout, ReceivedUnixNs: c.ReceivedUnixNs,
		Click: decide.Click{Found: c.Attribution.Found, ClickedUnixS: c.Attribution.ClickedUnixS},
	}
	var err error
	if in.Existing, err = existing(ctx, use(ctx, k.existing), c); err != nil {
		return decision{}, err
	}
	var offer offerState
	if in.Existing == decide.None && c.Attribution.Found {
		offer, err = readOffer(ctx, use(ctx, k.offer), c.Attribution.OfferID, c.ReceivedUnixNs)
		if err != nil && !errors.Is(err, sql.ErrNoRows) { // an offer nobody loaded has no cap
			return decision{}, err
		}
	}
	in.Offer = offer.Offer
	return decision{decide.Decide(in), offer.capWindowS}, nil
}

// offerState is an offer with its counter in one cap window.
type offerState struct {
	decide.Offer
	capWindowS int64
}

// readOffer reads the offer for a conversion received then.
func readOffer(ctx context.Context, stmt *sql.Stmt, offerID string, receivedUnixNs int64) (o offerState, err error) {
	err = stmt.QueryRowContext(ctx, receivedUnixNs/1e9, offerID).Scan(&o.Cap, &o.Billable, &o.AttributionWindowS, &o.capWindowS)
	return o, err
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

// record writes the row as decided. If another request has taken
// the identity since the check, the unique key says so, and the verdict
// becomes duplicate or conflict.
func (s *SQL) record(ctx context.Context, tx *sql.Tx, c *Conversion, d decision, nowNs int64) (decide.Verdict, bool, error) {
	if d.verdict != decide.Conflict {
		written, err := exec(ctx, tx, s.insert, c.ClickID, c.TxID, c.Event.String(), string(d.verdict), c.offerID(),
			c.ClaimedOfferID, int64(c.Payout), c.Currency.String(), c.ReceivedUnixNs, nowNs, d.capWindowS)
		if err != nil {
			return "", false, err
		}
		if written {
			if d.verdict == decide.Billable {
				_, err = exec(ctx, tx, s.bump, c.offerID(), d.capWindowS, CapWindow(c.ReceivedUnixNs, d.capWindowS))
			}
			return d.verdict, false, err
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
