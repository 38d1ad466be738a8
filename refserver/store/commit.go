package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
)

// Attribute looks up the click. Unknown clicks are no error. ErrBusy when ctx
// ends first.
func (s *SQL) Attribute(ctx context.Context, clickID string) (Attribution, error) {
	if s.clicks != nil {
		return s.clicks.Attribute(ctx, clickID)
	}
	s.counts.clicks.Add(1)
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
	if s.atomicCaps {
		return s.commitAtomic(ctx, c)
	}
	start := s.now()
	facts, err := s.ReadFacts(ctx, c)
	if err != nil {
		return Outcome{}, err
	}
	capNs := s.now().Sub(start).Nanoseconds()
	s.afterCheck()
	out, err := s.Insert(ctx, c, facts)
	out.CapNs = capNs
	return out, err
}

// ReadFacts reads what the decision on c needs, outside of any transaction.
// What it says to exist is synced to the disk. ErrBusy when ctx ends first.
func (s *SQL) ReadFacts(ctx context.Context, c *Conversion) (Facts, error) {
	facts, unsynced, err := s.readerChecks.read(ctx, s, onPool, c)
	if err == nil && unsynced {
		err = s.sync(ctx)
	}
	return facts, wrap("check cap", err)
}

// Insert decides on f and records c in one transaction, with Commit's promise.
// Facts that others have overtaken cost nothing but an exceeded cap: if the
// identity is taken by now, the unique key says so, and the verdict becomes
// duplicate or conflict. A duplicate by f is answered without any statement.
// The caps are checked against f, also by a store with AtomicCaps.
func (s *SQL) Insert(ctx context.Context, c *Conversion, f Facts) (out Outcome, err error) {
	start := s.now()
	verdict := f.decide(c)
	if verdict == decide.Duplicate {
		return Outcome{Verdict: verdict, Repeated: true}, nil
	}
	err = s.transact(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		out.Verdict, out.Repeated, err = s.record(ctx, tx, c, verdict, f.CapWindowS, s.now().UnixNano())
		return err
	})
	if err == nil && out.Repeated {
		err = s.sync(ctx)
	}
	out.InsertNs = s.now().Sub(start).Nanoseconds()
	return out, wrap("insert conversion", err)
}

func (s *SQL) commitAtomic(ctx context.Context, c *Conversion) (out Outcome, err error) {
	start := s.now()
	unsynced := false
	err = s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		entered := s.now()
		facts, young, err := s.writerChecks.read(ctx, s, tx.StmtContext, c)
		if err != nil {
			return err
		}
		out.CapNs = s.now().Sub(entered).Nanoseconds()
		s.afterCheck()
		verdict := facts.decide(c)
		if verdict == decide.Duplicate {
			out.Verdict, out.Repeated, unsynced = verdict, true, young
			return nil
		}
		out.Verdict, out.Repeated, err = s.record(ctx, tx, c, verdict, facts.CapWindowS, entered.UnixNano())
		unsynced = out.Repeated
		return err
	})
	if err == nil && unsynced {
		err = s.sync(ctx)
	}
	out.InsertNs = s.now().Sub(start).Nanoseconds() - out.CapNs
	return out, wrap("commit conversion", err)
}

// decide makes the decision on c.
func (f Facts) decide(c *Conversion) decide.Verdict {
	return decide.Decide(decide.Input{
		Event: c.Event, Payout: c.Payout, ReceivedUnixNs: c.ReceivedUnixNs,
		Existing: f.Existing, Offer: f.Offer,
		Click: decide.Click{Found: c.Attribution.Found, ClickedUnixS: c.Attribution.ClickedUnixS},
	})
}

// using binds a prepared statement to the pool or to a transaction.
type using func(context.Context, *sql.Stmt) *sql.Stmt

func onPool(_ context.Context, stmt *sql.Stmt) *sql.Stmt { return stmt }

// checks are the two reads that a decision needs.
type checks struct{ existing, offer *sql.Stmt }

// read reads the facts. unsynced means that the same conversion exists, but
// perhaps not on the disk yet.
func (k *checks) read(ctx context.Context, s *SQL, use using, c *Conversion) (f Facts, unsynced bool, err error) {
	f.Existing, unsynced, err = s.existing(ctx, use(ctx, k.existing), c)
	if err != nil || f.Existing != decide.None || !c.Attribution.Found {
		return f, unsynced, err
	}
	s.counts.selects.Add(1)
	offer, err := readOffer(ctx, use(ctx, k.offer), c.Attribution.OfferID, c.ReceivedUnixNs)
	if errors.Is(err, sql.ErrNoRows) { // an offer nobody loaded has no cap
		return f, false, nil
	}
	f.Offer, f.CapWindowS = offer.Offer, offer.capWindowS
	return f, false, err
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

// existing looks for c's identity; see read for unsynced.
func (s *SQL) existing(ctx context.Context, stmt *sql.Stmt, c *Conversion) (e decide.Existing, unsynced bool, err error) {
	var offerID, currency string
	var payout postback.Money
	var recordedUnixNs int64
	s.counts.selects.Add(1)
	err = stmt.QueryRowContext(ctx, c.ClickID, c.TxID, c.Event.String()).Scan(&offerID, &payout, &currency, &recordedUnixNs)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return decide.None, false, nil
	case err != nil:
		return decide.None, false, err
	case offerID == c.ClaimedOfferID && payout == c.Payout && currency == c.Currency.String():
		return decide.SamePayload, s.now().UnixNano()-recordedUnixNs < syncDoubt.Nanoseconds(), nil
	}
	return decide.OtherPayload, false, nil
}

// record writes the row as decided. If another request has taken
// the identity since the check, the unique key says so, and the verdict
// becomes duplicate or conflict.
func (s *SQL) record(ctx context.Context, tx *sql.Tx, c *Conversion, verdict decide.Verdict, capWindowS, nowNs int64) (decide.Verdict, bool, error) {
	if verdict != decide.Conflict {
		written, err := s.write(ctx, tx, s.insert, c.ClickID, c.TxID, c.Event.String(), string(verdict), c.offerID(),
			c.ClaimedOfferID, int64(c.Payout), c.Currency.String(), c.ReceivedUnixNs, nowNs, capWindowS)
		if err != nil {
			return "", false, err
		}
		if written {
			if verdict == decide.Billable {
				_, err = s.write(ctx, tx, s.bump, c.offerID(), capWindowS, CapWindow(c.ReceivedUnixNs, capWindowS))
			}
			return verdict, false, err
		}
		found, _, err := s.existing(ctx, tx.StmtContext(ctx, s.writerChecks.existing), c)
		if err != nil || found == decide.SamePayload {
			return decide.Duplicate, true, err
		}
	}
	written, err := s.write(ctx, tx, s.keepConflict, c.ClickID, c.TxID, c.Event.String(), c.offerID(),
		c.ClaimedOfferID, int64(c.Payout), c.Currency.String(), c.ReceivedUnixNs, nowNs)
	return decide.Conflict, !written, err
}

// write executes a statement and reports whether it changed a row.
func (s *SQL) write(ctx context.Context, tx *sql.Tx, stmt *sql.Stmt, args ...any) (bool, error) {
	s.counts.writes.Add(1)
	result, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// sync brings to the disk what other transactions have committed. It is for
// databases that show a commit to others before it is there.
func (s *SQL) sync(ctx context.Context) error {
	if s.touch == nil {
		return nil
	}
	s.counts.writes.Add(1)
	_, err := s.touch.ExecContext(ctx, s.counts.touches.Add(1)%syncRows)
	return err
}
