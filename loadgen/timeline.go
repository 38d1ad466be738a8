package loadgen

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/postbench/postbench/internal/hist"
)

// Limits of the timeline.
const (
	maxOpenSeconds = 64        // seconds that keep a histogram, 264 KiB each: the heap of a long run stays small
	maxSeconds     = 24 * 3600 // entries of a timeline; the last one takes all that is due later
)

// Second is what became of the intents that were due in one second of the
// run. The counts are exact. P50Ns and P99Ns are of the response latency in ns
// and are -1 where the rank falls on an attempt without an ack, or is not known
// because an entry came after the histogram of its second was given up. MaxNs
// is of the acked.
type Second struct {
	Second              int
	Intents, Acked      int64
	P50Ns, P99Ns, MaxNs int64
}

// timeline folds the histogram of a second into a Second once len(open) more
// have begun, so that memory does not grow with the rate.
type timeline struct {
	mu     sync.Mutex
	open   []openSecond
	newest int
	closed map[int]Second
}

// openSecond is unused while its histogram is nil.
type openSecond struct {
	second    int
	histogram *hist.Histogram
}

// newTimeline keeps seconds open for as long as a first attempt can last, as
// far as maxOpenSeconds allows.
func newTimeline(partners []Partner) *timeline {
	longestS := 0.0
	for i := range partners {
		longestS = max(longestS, partners[i].patienceS())
	}
	// One second is under way and one is room for what this program delays.
	open := int(min(math.Ceil(longestS)+2, maxOpenSeconds))
	return &timeline{open: make([]openSecond, open), closed: map[int]Second{}}
}

// patienceS bounds, in seconds, the time from due to end of a first attempt: a
// full queue in front of it, every attempt of which times out, and its own
// timeout. A partner that opens connections as it needs them has no queue to
// speak of.
func (p *Partner) patienceS() float64 {
	if p.Connections == 0 {
		return p.Timeout.Seconds()
	}
	rounds := 1 + math.Ceil(float64(p.Queue)/float64(p.connectionLimit()))
	return rounds * p.Timeout.Seconds()
}

// add books a first attempt that ended ns after it was due.
func (t *timeline) add(dueNs, ns int64, acked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	second := int(min(dueNs/1e9, maxSeconds-1))
	slot := &t.open[second%len(t.open)]
	switch {
	case slot.histogram != nil && slot.second == second:
	case second <= t.newest-len(t.open):
		t.addClosed(second, ns, acked)
		return
	case slot.histogram == nil:
		slot.histogram = hist.New()
	default:
		t.fold(slot)
		slot.histogram.Reset()
	}
	t.newest = max(t.newest, second)
	slot.second = second
	if acked {
		slot.histogram.Record(ns)
	} else {
		slot.histogram.RecordCensored()
	}
}

// addClosed books an entry whose second has no histogram any more.
func (t *timeline) addClosed(second int, ns int64, acked bool) {
	s := t.closed[second]
	s.Second, s.P50Ns, s.P99Ns = second, -1, -1
	s.Intents++
	if acked {
		s.Acked++
		s.MaxNs = max(s.MaxNs, ns)
	}
	t.closed[second] = s
}

func (t *timeline) fold(o *openSecond) {
	h := o.histogram
	at := func(p float64) int64 {
		if ns, ok := h.Percentile(p); ok {
			return ns
		}
		return -1
	}
	t.closed[o.second] = Second{Second: o.second, Intents: h.Count() + h.Censored(), Acked: h.Count(),
		P50Ns: at(50), P99Ns: at(99), MaxNs: h.MaxNs()}
}

// seconds folds what is still open and returns all entries in order.
func (t *timeline) seconds() []Second {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.open {
		if o := &t.open[i]; o.histogram != nil {
			t.fold(o)
			o.histogram = nil
		}
	}
	return slices.SortedFunc(maps.Values(t.closed), func(a, b Second) int { return cmp.Compare(a.Second, b.Second) })
}
