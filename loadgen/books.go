package loadgen

import (
	"sync"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/audit"
)

// cellLocks is how many locks share the cells: attempts of one intent may be
// under way at once (a retry and a deliberate duplicate).
const cellLocks = 256

// books writes the cells.
type books struct {
	cells []audit.Cell
	locks [cellLocks]sync.Mutex
}

func (b *books) lock(index uint64) *sync.Mutex {
	l := &b.locks[index%cellLocks]
	l.Lock()
	return l
}

func (b *books) released(index uint64, dueNs int64) {
	defer b.lock(index).Unlock()
	b.cells[index].DueNs = dueNs
	b.cells[index].Flags |= audit.Released
}

func (b *books) dispatched(index uint64, atNs int64) {
	defer b.lock(index).Unlock()
	b.cells[index].Dispatched(atNs)
}

// ended notes the end of an attempt and what the partner's policy makes of it.
func (b *books) ended(t *ticket, atNs int64, outcome intent.Outcome, status int, policy *intent.RetryPolicy) (again bool, delayNs int64) {
	defer b.lock(t.index).Unlock()
	cell := &b.cells[t.index]
	cell.Ended(atNs, outcome, status)
	if t.duplicate || outcome == intent.Acked {
		return false, 0
	}
	delayNs, again, reason := policy.Next(int(t.attempt), outcome, status)
	if !again {
		cell.GaveUp(reason)
	}
	return again, delayNs
}

// gaveUp notes that an attempt was never sent. Deliberate duplicates decide
// nothing: the intent's own attempts do.
func (b *books) gaveUp(t *ticket, reason intent.Reason) {
	if t.duplicate {
		return
	}
	defer b.lock(t.index).Unlock()
	b.cells[t.index].GaveUp(reason)
}
