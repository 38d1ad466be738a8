// Package hist records latencies in nanoseconds and answers percentiles that
// stay true when some of the answers never came.
//
// It wraps an HDR histogram (G. Tene, hdrhistogram.org) and adds what a
// balance sheet of postbacks needs: censored entries, exact minimum and
// maximum, and a count of the values that did not fit.
package hist

import (
	"fmt"
	"math"
	"math/bits"

	hdrhistogram "github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// HighestNs bounds what is recorded: 0 to 1 h.
	HighestNs = 3_600_000_000_000

	// SignificantDigits holds over the whole range: a percentile is never below
	// the true value and less than 0.1 % above it.
	SignificantDigits = 3

	// MaxCount bounds the entries that a decoded histogram may claim, so that
	// sums of many of them stay far away from overflow.
	MaxCount = 1 << 40

	// unitNs is the width of the finest bucket, so that values up to 2 µs, 0
	// included, are kept exactly. With 1 µs here instead, buckets would be 512 ns wide up to 1 ms, which is an error of 0.5 % at
	// 100 µs and of half the value at 1 µs. One nanosecond keeps three digits
	// everywhere, for 264 KiB a histogram instead of 192 KiB.
	unitNs = 1

	// percentScale turns a percentile into an integer: steps of 1e-9 percent.
	percentScale = 1_000_000_000
)

// Histogram counts latencies in nanoseconds. Make one with New or DecodeV2.
// It is not goroutine-safe: give each worker its own and Merge them later.
type Histogram struct {
	hdr          *hdrhistogram.Histogram
	minNs, maxNs int64 // 0 while nothing is recorded
	censored     int64
	clamped      int64
	clampedLow   int64
}

// New returns an empty histogram. It takes 264 KiB.
func New() *Histogram {
	return &Histogram{hdr: hdrhistogram.New(unitNs, HighestNs, SignificantDigits)}
}

// Record adds one latency in nanoseconds. 0 is a latency like any other: that
// of a wait that did not happen. A negative value counts as 0 and in
// ClampedLow, one above HighestNs as HighestNs and in Clamped. Record does not
// allocate.
func (h *Histogram) Record(ns int64) {
	switch {
	case ns < 0:
		ns = 0
		h.clampedLow++
	case ns > HighestNs:
		ns = HighestNs
		h.clamped++
	}
	h.widen(ns, ns)
	if err := h.hdr.RecordValue(ns); err != nil {
		panic("BUG: hist: record: " + err.Error())
	}
}

// RecordCensored adds an entry that never ended: it is slower than every
// recorded value, by an unknown amount.
func (h *Histogram) RecordCensored() { h.censored++ }

// Merge adds everything in o to h and leaves o as it was. The result equals one
// histogram that recorded both inputs.
func (h *Histogram) Merge(o *Histogram) {
	if o.Count() > 0 {
		h.widen(o.minNs, o.maxNs)
	}
	if dropped := h.hdr.Merge(o.hdr); dropped != 0 {
		panic(fmt.Sprintf("BUG: hist: merge dropped %d entries", dropped))
	}
	h.censored += o.censored
	h.clamped += o.clamped
	h.clampedLow += o.clampedLow
}

// widen stretches the exact minimum and maximum over a range about to be
// recorded.
func (h *Histogram) widen(minNs, maxNs int64) {
	if h.Count() == 0 || minNs < h.minNs {
		h.minNs = minNs
	}
	h.maxNs = max(h.maxNs, maxNs)
}

// Count is the number of uncensored entries.
func (h *Histogram) Count() int64 { return h.hdr.TotalCount() }

// Censored is the number of entries that never ended.
func (h *Histogram) Censored() int64 { return h.censored }

// Clamped is the number of entries above HighestNs. A run with any is invalid:
// its upper percentiles are too low. It is not part of the encoding.
func (h *Histogram) Clamped() int64 { return h.clamped }

// ClampedLow is the number of entries below 0, which came from a clock that
// went back or from two clocks. It is not part of the encoding.
func (h *Histogram) ClampedLow() int64 { return h.clampedLow }

// MinNs is the exact smallest recorded value, 0 if there is none. After
// DecodeV2 it is the lower edge of the lowest bucket, within 0.1 %.
func (h *Histogram) MinNs() int64 { return h.minNs }

// MaxNs is the exact largest recorded value, 0 if there is none. After DecodeV2
// it is the upper edge of the highest bucket, within 0.1 %.
func (h *Histogram) MaxNs() int64 { return h.maxNs }

// MeanNs is the arithmetic mean of the uncensored entries, within 0.1 %; 0 if
// there is none.
func (h *Histogram) MeanNs() int64 {
	if h.Count() == 0 {
		return 0
	}
	return min(max(int64(math.Round(h.hdr.Mean())), h.minNs), h.maxNs)
}

// Above is how many entries are slower than ns: values above it, to the
// histogram's precision, and the censored ones, which are slower than all.
func (h *Histogram) Above(ns int64) int64 {
	n := h.censored
	for _, bar := range h.hdr.Distribution() {
		if bar.From > ns {
			n += bar.Count
		}
	}
	return n
}

// Percentile returns the value at percentile p of all entries, the censored
// ones ranking above every recorded one. ok is false if the rank falls on a
// censored entry (print "unacked", treat as +∞) or the histogram is empty.
// The value is at most 0.1 % too high, never too low, and never above MaxNs.
//
// The rank is the nearest-rank definition, ceil(p/100 × n), at least 1
// (Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996,
// definition 1). p must lie in 0..100; steps are 1e-9.
func (h *Histogram) Percentile(p float64) (ns int64, ok bool) {
	rank := nearestRank(p, h.Count()+h.censored)
	if rank == 0 || rank > h.Count() {
		return 0, false
	}
	// The library rounds p/100 × count to the nearest integer, so a p made from
	// the rank leads back to this very rank, half a step away from its
	// neighbours.
	ns = h.hdr.ValueAtPercentile(100 * float64(rank) / float64(h.Count()))
	return min(ns, h.maxNs), true
}

// nearestRank is ceil(p/100 × n), at least 1; 0 if n is 0. It computes with
// integers: in floating point, p99.9 of 1,000 may come out as rank 1,000.
func nearestRank(p float64, n int64) int64 {
	if !(p >= 0 && p <= 100) {
		panic(fmt.Sprintf("BUG: hist: percentile %v is outside 0..100", p))
	}
	const whole = 100 * percentScale
	hi, lo := bits.Mul64(uint64(math.Round(p*percentScale)), uint64(n))
	lo, carry := bits.Add64(lo, whole-1, 0)
	rank, _ := bits.Div64(hi+carry, lo, whole)
	return min(max(int64(rank), 1), n)
}

// Reset empties the histogram for another use.
func (h *Histogram) Reset() {
	h.hdr.Reset()
	*h = Histogram{hdr: h.hdr}
}
