package pebbledb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// KV is a state that a caller wants remembered together with its conversions.
type KV struct {
	Key   string
	Value []byte
}

// CommitBatch attributes every conversion of batch by its ClickID (whatever
// its Attribution says), decides on them in their order, and writes rows, dedup
// keys, conflicts, cap counters and states in one atomic write. When it returns
// nil, all of it is synced to the disk, the originals of duplicates included,
// and outcomes, if not nil, has one entry for each conversion; it must have the
// length of batch. On an error nothing was recorded and the same call may be
// made again, except after ErrFailed. The slices are the caller's again.
//
// An outcome's CapNs is the time that deciding on the whole batch took, and
// InsertNs all the rest: each conversion has waited for both.
//
// ErrTooLarge is for a batch above MaxBatchRecords or a value above its limit,
// store.ErrBusy for a call while MaxInFlight are in work. It is safe for
// concurrent use: callers decide one after the other and share syncs.
func (s *Store) CommitBatch(batch []store.Conversion, states []KV, outcomes []store.Outcome) error {
	if outcomes != nil && len(outcomes) != len(batch) {
		return fmt.Errorf("commit batch: %d outcomes for %d conversions: %w", len(outcomes), len(batch), ErrInvalid)
	}
	if err := s.commit(context.Background(), batch, states, outcomes); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	return nil
}

// Commit is CommitBatch for one conversion. It returns store.ErrBusy when ctx
// ends before the writer is free; a commit that has begun is never cut off.
// Commits that run at the same time share syncs.
func (s *Store) Commit(ctx context.Context, c *store.Conversion) (store.Outcome, error) {
	var outcome [1]store.Outcome
	if err := s.commit(ctx, []store.Conversion{*c}, nil, outcome[:]); err != nil {
		return store.Outcome{}, fmt.Errorf("commit conversion: %w", err)
	}
	return outcome[0], nil
}

func (s *Store) commit(ctx context.Context, batch []store.Conversion, states []KV, outcomes []store.Outcome) error {
	if len(batch) == 0 && len(states) == 0 {
		return nil
	}
	if len(batch) > MaxBatchRecords {
		return fmt.Errorf("%d conversions, at most %d: %w", len(batch), MaxBatchRecords, ErrTooLarge)
	}
	if err := checkStates(states); err != nil {
		return err
	}
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	select {
	case s.inFlight <- struct{}{}:
		defer func() { <-s.inFlight }()
	default:
		s.refused.Add(1)
		return fmt.Errorf("%w: %d commits in work", store.ErrBusy, MaxInFlight)
	}
	r := s.rounds.Get().(*round)
	defer func() {
		r.release()
		s.rounds.Put(r)
	}()
	start := s.options.Now()
	if err := r.prepare(batch); err != nil {
		return err
	}
	capNs, err := s.apply(ctx, r, states)
	if err != nil {
		return err
	}
	if err := errors.Join(r.writes.SyncWait(), r.writes.Close()); err != nil {
		return s.fail(err)
	}
	s.publish(r)
	restNs := s.options.Now().Sub(start).Nanoseconds() - capNs
	for i := range outcomes {
		outcomes[i] = r.outcomes[i]
		outcomes[i].CapNs, outcomes[i].InsertNs = capNs, restNs
	}
	return nil
}

func checkStates(states []KV) error {
	if len(states) > MaxBatchStates {
		return fmt.Errorf("%d states, at most %d: %w", len(states), MaxBatchStates, ErrTooLarge)
	}
	bytes := 0
	for _, state := range states {
		bytes += len(state.Key) + len(state.Value)
	}
	if bytes > MaxStateBytes {
		return fmt.Errorf("states of %d bytes, at most %d: %w", bytes, MaxStateBytes, ErrTooLarge)
	}
	return nil
}

// apply decides and makes the result visible to the next decision, with its
// sync under way. It returns how long the decision took.
func (s *Store) apply(ctx context.Context, r *round, states []KV) (capNs int64, err error) {
	if err := s.writer.takeWithin(ctx); err != nil {
		return 0, err
	}
	defer s.writer.give()
	if failed := s.failed.Load(); failed != nil {
		return 0, *failed
	}
	entered := s.options.Now()
	r.writes = s.db.NewBatch(pebble.WithInitialSizeBytes(initialBatchBytes), pebble.WithMaxRetainedSizeBytes(retainedBatchBytes))
	if err := s.decide(r, states, entered.UnixNano()); err != nil {
		for _, m := range r.moved {
			m.counter.moved = false
			m.counter.billable = m.billable
		}
		return 0, errors.Join(err, r.writes.Close())
	}
	capNs = s.options.Now().Sub(entered).Nanoseconds()
	if err := s.db.ApplyNoSyncWait(r.writes, pebble.Sync); err != nil {
		return 0, s.fail(err)
	}
	s.totals = r.totals
	for i := range r.moved {
		m := &r.moved[i]
		m.counter.moved = false
		m.billable = m.counter.billable
	}
	return capNs, nil
}

// decide fills in the outcomes and the writes of the round. It moves counters
// in memory; until the write is applied, r.moved says where they stood.
func (s *Store) decide(r *round, states []KV, nowNs int64) error {
	if err := r.lookUp(s.db); err != nil {
		return err
	}
	s.population.RLock()
	defer s.population.RUnlock()
	r.totals = s.totals
	for i := range r.batch {
		if err := s.decideOne(r, i, nowNs); err != nil {
			return err
		}
	}
	r.totals.committed += uint64(len(r.batch))
	if err := r.putIdentities(s.totals.rows); err != nil {
		return err
	}
	return r.putRest(states)
}

func (s *Store) decideOne(r *round, i int, nowNs int64) error {
	c := &r.batch[i]
	clicked, found := s.clicks[c.ClickID]
	o := clicked.offer
	r.offers[i] = o
	in := decide.Input{
		Event: c.Event, Payout: c.Payout, ReceivedUnixNs: c.ReceivedUnixNs, Existing: r.existingOf(i),
		Click: decide.Click{Found: found, ClickedUnixS: clicked.clickedUnixS},
	}
	var count *counter
	var capWindowS int64
	if found && in.Existing == decide.None {
		var err error
		if count, err = s.counterAt(o, c.ReceivedUnixNs); err != nil {
			return err
		}
		capWindowS = count.windowS
		in.Offer = o.state(count.billable)
	}
	verdict := decide.Decide(in)
	r.outcomes[i] = store.Outcome{Verdict: verdict, Repeated: verdict == decide.Duplicate}
	switch verdict {
	case decide.Duplicate:
		return nil
	case decide.Conflict:
		return r.keepConflict(s.db, i, nowNs)
	case decide.Billable:
		if !count.moved {
			count.moved = true
			r.moved = append(r.moved, movement{o, count, count.billable})
		}
		count.billable++
	}
	r.totals.rows++
	return r.putRow(prefixRow, r.totals.rows-1, i, capWindowS, nowNs)
}

// state is the offer as decide sees it. An offer that nobody loaded has no cap.
func (o *offer) state(billable int64) decide.Offer {
	return decide.Offer{Cap: o.definition.Cap, Billable: billable, AttributionWindowS: o.definition.AttributionWindowS}
}

// putIdentities writes the dedup keys of the new rows, whose numbers begin at
// firstRow, in the order of the keys.
func (r *round) putIdentities(firstRow uint64) error {
	number := firstRow
	r.rows = r.rows[:0]
	for i := range r.batch {
		r.rows = append(r.rows, number)
		if r.hasRow(i) {
			number++
		}
	}
	for _, i := range r.sort {
		if !r.hasRow(int(i)) {
			continue
		}
		if err := r.putNumberAt(r.identity(i), r.rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// hasRow tells whether the conversion is recorded under its identity.
func (r *round) hasRow(i int) bool {
	return r.existing[i] == decide.None && int(r.first[i]) == i
}

// putRest writes counters, states and totals.
func (r *round) putRest(states []KV) error {
	for _, m := range r.moved {
		r.key = appendCounter(r.key[:0], m.offer.id, m.counter.windowS, m.counter.window)
		op := r.writes.SetDeferred(len(r.key), counterBytes)
		copy(op.Key, r.key)
		binary.LittleEndian.PutUint64(op.Value, uint64(m.counter.billable))
		if err := op.Finish(); err != nil {
			return err
		}
	}
	for _, state := range states {
		r.key = appendText(r.key[:0], prefixState, state.Key)
		if err := r.writes.Set(r.key, state.Value, nil); err != nil {
			return err
		}
	}
	op := r.writes.SetDeferred(len(keyTotals), totalsBytes)
	copy(op.Key, keyTotals)
	r.totals.put(op.Value)
	return op.Finish()
}

// publish makes the round visible to readers: it is on the disk now, and with
// it all rounds before it, since the log is written in order.
func (s *Store) publish(r *round) {
	s.syncedMu.Lock()
	if r.totals.committed > s.synced.committed {
		s.synced = r.totals
	}
	s.syncedMu.Unlock()
	for _, m := range r.moved {
		for {
			known := m.counter.synced.Load()
			if known >= m.billable || m.counter.synced.CompareAndSwap(known, m.billable) {
				break
			}
		}
	}
}

// fail remembers that memory and disk may differ from now on.
func (s *Store) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	s.failed.CompareAndSwap(nil, &err)
	return err
}

func isNotFound(err error) bool { return errors.Is(err, pebble.ErrNotFound) }
