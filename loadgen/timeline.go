package loadgen

import (
	"slices"
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
	// missed counts entries that came after their second was folded or lie
	// beyond maxSeconds.
	missed int64
}

type openSecond struct {
	second    int
	histogram *hist.Histogram
}

func (t *timeline) add(dueNs, ns int64, acked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	second := int(dueNs / 1e9)
	if second >= maxSeconds || second <= t.newest-openSeconds {
		t.missed++
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
	for i, o := range t.open {
		if o != nil {
			t.fold(o)
			t.open[i] = nil
		}
	}
	// A slot is folded when another second needs it, which after a gap may be
	// later than its neighbours.
	slices.SortFunc(t.closed, func(a, b Second) int { return a.Second - b.Second })
	return t.closed
}
