package loadgen

import (
	"sync"

	"github.com/postbench/postbench/internal/hist"
)

// Limits of the timeline.
const (
	openSeconds = 32        // seconds whose entries may still come
	maxSeconds  = 24 * 3600 // entries of a timeline
)

// Second is what became of the intents that were due in one second of the
// run. The percentiles are of the response latency in ns and are -1 where the
// rank falls on an attempt without an ack.
type Second struct {
	Second              int
	Intents, Acked      int64
	P50Ns, P99Ns, MaxNs int64
}

// timeline folds the entries of a second into a Second once openSeconds more
// have begun, so that memory does not grow with the rate.
type timeline struct {
	mu     sync.Mutex
	open   [openSeconds]*openSecond
	newest int
	closed []Second
	// late counts entries that came after their second was folded, dropped
	// those beyond maxSeconds.
	late, dropped int64
}

type openSecond struct {
	second    int
	histogram *hist.Histogram
}

func (t *timeline) add(dueNs, ns int64, acked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	second := int(dueNs / 1e9)
	switch {
	case second >= maxSeconds:
		t.dropped++
		return
	case second <= t.newest-openSeconds:
		t.late++
		return
	}
	t.newest = max(t.newest, second)
	slot := &t.open[second%openSeconds]
	if *slot == nil {
		*slot = &openSecond{second: second, histogram: hist.New()}
	}
	if (*slot).second != second {
		t.fold(*slot)
		(*slot).second = second
		(*slot).histogram.Reset()
	}
	if acked {
		(*slot).histogram.Record(ns)
	} else {
		(*slot).histogram.RecordCensored()
	}
}

func (t *timeline) fold(o *openSecond) {
	h := o.histogram
	at := func(p float64) int64 {
		if ns, ok := h.Percentile(p); ok {
			return ns
		}
		return -1
	}
	t.closed = append(t.closed, Second{Second: o.second, Intents: h.Count() + h.Censored(), Acked: h.Count(),
		P50Ns: at(50), P99Ns: at(99), MaxNs: h.MaxNs()})
}

// seconds folds what is still open and returns all entries in order.
func (t *timeline) seconds() []Second {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range openSeconds {
		// Oldest first: the slot after the newest holds the oldest second.
		slot := (t.newest + 1 + i) % openSeconds
		if o := t.open[slot]; o != nil {
			t.fold(o)
			t.open[slot] = nil
		}
	}
	return t.closed
}
