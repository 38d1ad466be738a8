package pebbledb

import (
	"slices"
	"sync/atomic"

	"github.com/postbench/postbench/refserver/store"
)

// maxCounters bounds the cap counters that an offer keeps in memory, those of
// the batch in work aside (MaxBatchRecords). The others are read when they are
// needed: conversions come nearly in the order of their receipt.
const maxCounters = 4

// counter is one cap counter of an offer: that of a cap window, or the only one
// of a cap that counts the whole life, whose windowS and window are 0.
type counter struct {
	windowS, window int64

	billable int64        // applied; the writer's
	moved    bool         // in the round that is being decided; the writer's
	synced   atomic.Int64 // of billable, what is on the disk
}

// newCounter is a counter as it is in the database.
func newCounter(windowS, window, billable int64) *counter {
	c := &counter{windowS: windowS, window: window, billable: billable}
	c.synced.Store(billable)
	return c
}

func (c *counter) is(windowS, window int64) bool { return c.windowS == windowS && c.window == window }

// counterAt is the counter in which a conversion counts that was received
// then. It needs the writer, who alone changes o.counters.
func (s *Store) counterAt(o *offer, receivedUnixNs int64) (*counter, error) {
	windowS := o.definition.CapWindowS
	window := store.CapWindow(receivedUnixNs, windowS)
	for _, c := range o.counters {
		if c.is(windowS, window) {
			return c, nil
		}
	}
	s.counters.Lock()
	defer s.counters.Unlock()
	billable, err := s.storedCount(o, windowS, window)
	if err != nil {
		return nil, err
	}
	c := newCounter(windowS, window, billable)
	o.dropCounters()
	o.counters = append(o.counters, c)
	return c, nil
}

// dropCounters makes room for one more: those go first that came first. What a
// dropped one has counted can be read again as soon as it is applied, so the
// next decision misses nothing.
func (o *offer) dropCounters() {
	excess := len(o.counters) - maxCounters + 1
	if excess <= 0 {
		return
	}
	o.counters = slices.DeleteFunc(o.counters, func(c *counter) bool {
		if excess == 0 || c.moved {
			return false
		}
		excess--
		return true
	})
}

// syncedCount is what a window has billed, as it is on the disk. The lock keeps
// a window that nobody has asked for from being opened and applied between the
// two looks.
func (s *Store) syncedCount(o *offer, windowS, window int64) (int64, error) {
	s.counters.Lock()
	defer s.counters.Unlock()
	for _, c := range o.counters {
		if c.is(windowS, window) {
			return c.synced.Load(), nil
		}
	}
	return s.storedCount(o, windowS, window)
}

// storedCount reads a counter from the database, 0 if there is none.
func (s *Store) storedCount(o *offer, windowS, window int64) (int64, error) {
	value, err := s.get(appendCounter(nil, o.id, windowS, window))
	if err != nil || value == nil {
		return 0, err
	}
	return readCounter(value)
}
