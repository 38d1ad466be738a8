package reports

import (
	"errors"
	"fmt"

	"github.com/postbench/postbench/internal/hist"
)

// ErrNoHistogram means that a latency block has entries but no histogram, so
// that it cannot be merged with another.
var ErrNoHistogram = errors.New("the block has entries but no hdr histogram")

// Latencies are the latency blocks of a run, each measured from the same
// intents. A block without entries was not measured.
type Latencies struct {
	Response       Latency `json:"response"` // the headline: due to end of the first attempt
	Service        Latency `json:"service"`  // dispatched to end, acked attempts
	ServiceRefused Latency `json:"service_refused"`
	Delivery       Latency `json:"delivery"` // due to end of the acked attempt, retries included
	Recorded       Latency `json:"recorded"` // due to the entry into commit; empty where the clocks cannot be compared
	LagGenerator   Latency `json:"lag_generator"`
	LagQueue       Latency `json:"lag_queue"`
}

// Phases splits the service latency of acked attempts. Its blocks carry no
// histogram once MergeRuns has merged them.
type Phases struct {
	DNS     Latency `json:"dns"`
	Connect Latency `json:"connect"`
	TLS     Latency `json:"tls"`
	Wait    Latency `json:"wait"`
	Body    Latency `json:"body"`
}

// Latency is one distribution. Percentiles are over Count + Censored entries,
// where a censored one is slower than every other; nil when the rank falls on
// a censored entry ("unacked") or there are no entries. Min, mean, max and hdr
// hold the uncensored only.
type Latency struct {
	Count    int64    `json:"count"`    // uncensored entries
	Censored int64    `json:"censored"` // entries known only to be slower
	MinUs    *float64 `json:"min_us"`
	MeanUs   *float64 `json:"mean_us"`
	P50Us    *float64 `json:"p50_us"`
	P90Us    *float64 `json:"p90_us"`
	P95Us    *float64 `json:"p95_us"`
	P99Us    *float64 `json:"p99_us"`
	P999Us   *float64 `json:"p999_us"`
	MaxUs    *float64 `json:"max_us"`
	Hdr      string   `json:"hdr,omitempty"` // HdrHistogram V2 compressed, base64, nanoseconds; empty without uncensored entries
}

// NewLatency returns the block of the histogram's entries.
func NewLatency(h *hist.Histogram) Latency {
	l := Latency{
		Count:    h.Count(),
		Censored: h.Censored(),
		P50Us:    percentileUs(h, 50),
		P90Us:    percentileUs(h, 90),
		P95Us:    percentileUs(h, 95),
		P99Us:    percentileUs(h, 99),
		P999Us:   percentileUs(h, 99.9),
	}
	if l.Count == 0 {
		return l
	}
	l.MinUs = usOf(float64(h.MinNs()))
	l.MeanUs = usOf(float64(h.MeanNs()))
	l.MaxUs = usOf(float64(h.MaxNs()))
	l.Hdr = encode(h)
	return l
}

// Empty reports whether there are no entries at all, censored or not.
func (l Latency) Empty() bool { return l.Count == 0 && l.Censored == 0 }

// histogram returns the block's entries, censored ones included.
func (l Latency) histogram() (*hist.Histogram, error) {
	if l.Count > 0 && l.Hdr == "" {
		return nil, ErrNoHistogram
	}
	text := l.Hdr
	if text == "" {
		text = encode(hist.New())
	}
	h, err := hist.DecodeV2(text, l.Censored)
	if err != nil {
		return nil, err
	}
	if h.Count() != l.Count {
		return nil, fmt.Errorf("%w: hdr holds %d entries, the block says %d", hist.ErrEncoding, h.Count(), l.Count)
	}
	return h, nil
}

// MergeLatency returns the block of all entries of the given blocks: the
// histograms are merged, no percentile is ever averaged. Minimum and maximum
// stay exact. The error is ErrNoHistogram or wraps hist.ErrEncoding.
func MergeLatency(blocks ...Latency) (Latency, error) {
	sum := hist.New()
	var minUs, maxUs *float64
	for _, l := range blocks {
		h, err := l.histogram()
		if err != nil {
			return Latency{}, err
		}
		sum.Merge(h)
		minUs = smaller(minUs, l.MinUs)
		maxUs = larger(maxUs, l.MaxUs)
	}
	merged := NewLatency(sum)
	// A decoded histogram knows its extremes only to 0.1 %; the blocks know them
	// exactly, and no percentile may lie beyond.
	merged.MinUs, merged.MaxUs = minUs, maxUs
	for _, p := range []**float64{&merged.P50Us, &merged.P90Us, &merged.P95Us, &merged.P99Us, &merged.P999Us} {
		if *p != nil {
			*p = smaller(*p, maxUs)
		}
	}
	return merged, nil
}

// smaller and larger ignore what is not known.
func smaller[T int64 | float64](a, b *T) *T {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

func larger[T int64 | float64](a, b *T) *T {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// encode returns the histogram as text.
func encode(h *hist.Histogram) string {
	text, err := h.EncodeV2()
	if err != nil {
		// It encodes counts that it holds itself into memory.
		panic("BUG: reports: " + err.Error())
	}
	return text
}

func percentileUs(h *hist.Histogram, p float64) *float64 {
	ns, ok := h.Percentile(p)
	if !ok {
		return nil
	}
	return usOf(float64(ns))
}

func usOf(ns float64) *float64 {
	us := ns / 1e3
	return &us
}
