package pebbledb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// initialBatchBytes and retainedBatchBytes are for Pebble's pool of batches:
// some hundred conversions find room without growing.
const (
	initialBatchBytes  = 128 << 10
	retainedBatchBytes = 4 << 20
)

// round is one batch on its way through the store, with all its buffers. What
// depends on the conversions alone, it does before it has the writer.
type round struct {
	batch []store.Conversion

	keys []byte  // identity keys, one after the other
	ends []int   // of each in keys
	sort []int32 // indices in the order of their keys; equal ones in the order of the batch

	existing []decide.Existing // in the database, before this batch
	first    []int32           // the first conversion of the batch with this identity
	outcomes []store.Outcome
	offers   []*offer // of the click; nil if there is none
	rows     []uint64 // numbers of the rows, where there is one

	seen   map[string]struct{} // conflict keys of this batch
	key    []byte              // scratch
	moved  []movement
	totals totals // after this batch
	writes *pebble.Batch
}

// movement is a cap counter that the batch has moved.
type movement struct {
	offer    *offer
	counter  *counter
	billable int64 // before the batch, and once that is applied, after it
}

// prepare checks the conversions, builds their keys and sorts them. Sorted
// keys are cheaper to look up and to insert, and bring equal ones together.
func (r *round) prepare(batch []store.Conversion) error {
	r.batch, r.keys, r.ends, r.sort = batch, r.keys[:0], r.ends[:0], r.sort[:0]
	for i := range batch {
		if err := check(&batch[i]); err != nil {
			return fmt.Errorf("conversion %d: %w", i+1, err)
		}
		r.keys = appendIdentity(r.keys, &batch[i])
		r.ends = append(r.ends, len(r.keys))
		r.sort = append(r.sort, int32(i))
	}
	slices.SortFunc(r.sort, func(a, b int32) int {
		if order := bytes.Compare(r.identity(a), r.identity(b)); order != 0 {
			return order
		}
		return int(a - b)
	})
	n := len(batch)
	r.existing = slices.Grow(r.existing[:0], n)[:n]
	r.first = slices.Grow(r.first[:0], n)[:n]
	r.outcomes = slices.Grow(r.outcomes[:0], n)[:n]
	r.offers = slices.Grow(r.offers[:0], n)[:n]
	clear(r.existing)
	clear(r.seen)
	r.moved = r.moved[:0]
	return nil
}

// release drops what must not be kept alive by the pool.
func (r *round) release() {
	r.batch, r.writes = nil, nil
	clear(r.offers)
	clear(r.moved[:cap(r.moved)])
}

func (r *round) identity(i int32) []byte {
	start := 0
	if i > 0 {
		start = r.ends[i-1]
	}
	return r.keys[start:r.ends[i]]
}

// lookUp finds what the database holds under each identity, once for all
// conversions that share it.
func (r *round) lookUp(db *pebble.DB) (err error) {
	options := within(prefixIdentity)
	// Without its filters the lowest level, where most keys are, would cost a
	// block for every new identity.
	options.UseL6Filters = true
	iter, err := db.NewIter(options)
	if err != nil {
		return err
	}
	defer func() {
		if closed := iter.Close(); err == nil {
			err = closed
		}
	}()
	for at := 0; at < len(r.sort); {
		key := r.identity(r.sort[at])
		end := at + 1
		for end < len(r.sort) && bytes.Equal(r.identity(r.sort[end]), key) {
			end++
		}
		for _, i := range r.sort[at:end] {
			r.first[i] = r.sort[at]
		}
		if iter.SeekPrefixGE(key) {
			if err := r.compareStored(db, iter.Value(), r.sort[at:end]); err != nil {
				return err
			}
		}
		at = end
	}
	return iter.Error()
}

// compareStored compares conversions with the row whose number a dedup key holds.
func (r *round) compareStored(db *pebble.DB, value []byte, same []int32) error {
	if len(value) != numberBytes {
		return fmt.Errorf("%w: a dedup key with a value of %d bytes", ErrCorrupt, len(value))
	}
	number := binary.LittleEndian.Uint64(value)
	row, closer, err := db.Get(numbered(prefixRow, number))
	if isNotFound(err) {
		return fmt.Errorf("%w: a dedup key without its row %d", ErrCorrupt, number)
	}
	if err != nil {
		return err
	}
	var stored storedRow
	if err := stored.decode(row); err != nil {
		return errors.Join(fmt.Errorf("row %d: %w", number, err), closer.Close())
	}
	for _, i := range same {
		r.existing[i] = stored.compare(&r.batch[i])
	}
	return closer.Close()
}

// existingOf is what decide is told: what the database holds, else what the
// batch itself has recorded before. The first of an identity always gets a row.
func (r *round) existingOf(i int) decide.Existing {
	if first := r.first[i]; r.existing[i] == decide.None && int(first) != i {
		return comparePayloads(&r.batch[first], &r.batch[i])
	}
	return r.existing[i]
}

// offerID is the offer that a conversion counts for: its click's, whatever it claims.
func (r *round) offerID(i int) string {
	if o := r.offers[i]; o != nil {
		return o.id
	}
	return r.batch[i].ClaimedOfferID
}

func (r *round) putRow(prefix byte, number uint64, i int, capWindowS, nowNs int64) error {
	c, offerID := &r.batch[i], r.offerID(i)
	op := r.writes.SetDeferred(1+numberBytes, rowBytes(c, offerID))
	putNumbered(op.Key, prefix, number)
	putRow(op.Value, c, offerID, capWindowS, r.outcomes[i].Verdict, nowNs)
	return op.Finish()
}

func (r *round) putNumberAt(key []byte, number uint64) error {
	op := r.writes.SetDeferred(len(key), numberBytes)
	copy(op.Key, key)
	binary.LittleEndian.PutUint64(op.Value, number)
	return op.Finish()
}

// keepConflict writes a conflict unless its payload has been kept before.
func (r *round) keepConflict(db *pebble.DB, i int, nowNs int64) error {
	r.key = appendConflictSeen(r.key[:0], r.identity(int32(i)), &r.batch[i])
	_, known := r.seen[string(r.key)]
	if !known {
		_, closer, err := db.Get(r.key)
		switch {
		case err == nil:
			known = true
			err = closer.Close()
		case isNotFound(err):
			err = nil
		}
		if err != nil {
			return err
		}
	}
	r.outcomes[i].Repeated = known
	if known {
		return nil
	}
	if r.seen == nil {
		r.seen = map[string]struct{}{}
	}
	r.seen[string(r.key)] = struct{}{}
	if err := r.putNumberAt(r.key, r.totals.conflicts); err != nil {
		return err
	}
	r.totals.conflicts++
	return r.putRow(prefixConflict, r.totals.conflicts-1, i, 0, nowNs)
}
