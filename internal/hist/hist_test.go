package hist

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// percentiles are in thousandths of a percent, so that the oracle can rank them
// without floating point.
var percentiles = []int64{0, 1, 100, 1_000, 25_000, 50_000, 90_000, 95_000, 99_000, 99_900, 99_990, 99_999, 100_000}

func oracleRank(milli, n int64) int64 {
	return max((milli*n+99_999)/100_000, 1)
}

func samples(name string, n int) []int64 {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	out := make([]int64, n)
	for i := range out {
		switch name {
		case "low end":
			out[i] = rng.Int64N(4_000)
		case "around 100 µs":
			out[i] = 90_000 + rng.Int64N(20_000)
		case "lognormal":
			out[i] = min(int64(1e6*math.Exp(2*rng.NormFloat64())), HighestNs)
		case "whole range":
			out[i] = rng.Int64N(HighestNs + 1)
		case "one value":
			out[i] = 123_456_789
		}
	}
	return out
}

func record(values []int64) *Histogram {
	h := New()
	for _, v := range values {
		h.Record(v)
	}
	return h
}

func TestPercentileAgainstSortedSlice(t *testing.T) {
	for _, name := range []string{"low end", "around 100 µs", "lognormal", "whole range", "one value"} {
		for _, n := range []int{1, 2, 10, 999, 1_000, 100_000} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				values := samples(name, n)
				h := record(values)
				slices.Sort(values)
				for _, milli := range percentiles {
					want := values[oracleRank(milli, int64(n))-1]
					got, ok := h.Percentile(float64(milli) / 1_000)
					if !ok || got < want || float64(got-want) > 0.001*float64(want) {
						t.Errorf("p%v = %d, %v; want %d up to 0.1 %% more", float64(milli)/1_000, got, ok, want)
					}
				}
				if h.MinNs() != values[0] || h.MaxNs() != values[n-1] {
					t.Errorf("min, max = %d, %d; want exactly %d, %d", h.MinNs(), h.MaxNs(), values[0], values[n-1])
				}
				if p100, _ := h.Percentile(100); p100 != h.MaxNs() {
					t.Errorf("p100 = %d, max = %d", p100, h.MaxNs())
				}
				if want := mean(values); math.Abs(float64(h.MeanNs())-want) > 0.001*want {
					t.Errorf("mean = %d, want %.0f", h.MeanNs(), want)
				}
			})
		}
	}
}

func mean(values []int64) float64 {
	var sum float64
	for _, v := range values {
		sum += float64(v)
	}
	return sum / float64(len(values))
}

// Neighbouring values lie 2 % apart, so a rank that is off by one shows.
func TestPercentileHitsTheExactRank(t *testing.T) {
	for _, n := range []int64{1, 3, 7, 100, 999, 1_000, 1_001} {
		values := make([]int64, n)
		for i := range values {
			values[i] = int64(1_000 * math.Pow(1.02, float64(i)))
		}
		h := record(values)
		for milli := int64(0); milli <= 100_000; milli += 25 {
			want := values[oracleRank(milli, n)-1]
			if got, _ := h.Percentile(float64(milli) / 1_000); got < want || float64(got) > 1.001*float64(want) {
				t.Fatalf("n=%d p%v = %d, want %d", n, float64(milli)/1_000, got, want)
			}
		}
	}
}

func TestNearestRankOfLargeCounts(t *testing.T) {
	tests := []struct {
		p    float64
		n    int64
		want int64
	}{
		{99.9, 1_000, 999},
		{99.9, 1_001, 1_000},
		{99.99, 10_000, 9_999},
		{29, 100, 29},
		{0, 5, 1},
		{100, 5, 5},
		{50, 0, 0},
		{1e-9, 1 << 41, 22},
		{100, 1 << 41, 1 << 41},
		{99.9, 1e12, 999e9},
	}
	for _, tt := range tests {
		if got := nearestRank(tt.p, tt.n); got != tt.want {
			t.Errorf("nearestRank(%v, %d) = %d, want %d", tt.p, tt.n, got, tt.want)
		}
	}
}

func TestPercentileRefusesNonsense(t *testing.T) {
	for _, p := range []float64{-1, 100.1, math.NaN(), math.Inf(1)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Percentile(%v) did not panic", p)
				}
			}()
			New().Percentile(p)
		}()
	}
}

func TestCensored(t *testing.T) {
	tests := []struct {
		name               string
		recorded, censored int
		p                  float64
		wantNs             int64
		wantOK             bool
	}{
		{"empty", 0, 0, 50, 0, false},
		{"only censored", 0, 1, 0, 0, false},
		{"rank on the last ack", 99, 1, 99, 99_000, true},
		{"rank just above it", 99, 1, 99.01, 0, false},
		{"half", 50, 50, 50, 50_000, true},
		{"beyond half", 50, 50, 51, 0, false},
		{"p99.9 of one in a thousand", 999, 1, 99.9, 999_000, true},
		{"p99.9 of two in a thousand", 998, 2, 99.9, 0, false},
		{"p100 without any", 100, 0, 100, 100_000, true},
		{"p100 with one", 100, 1, 100, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New()
			for i := range tt.recorded {
				h.Record(int64(i+1) * 1_000)
			}
			for range tt.censored {
				h.RecordCensored()
			}
			ns, ok := h.Percentile(tt.p)
			if ok != tt.wantOK || ns < tt.wantNs || float64(ns) > 1.001*float64(tt.wantNs) {
				t.Errorf("p%v = %d, %v; want %d, %v", tt.p, ns, ok, tt.wantNs, tt.wantOK)
			}
			if h.Count() != int64(tt.recorded) || h.Censored() != int64(tt.censored) {
				t.Errorf("count, censored = %d, %d", h.Count(), h.Censored())
			}
			if want := int64(tt.recorded) * 1_000; h.MaxNs() != want {
				t.Errorf("max = %d, want %d: censored entries must not count", h.MaxNs(), want)
			}
		})
	}
}

func TestClamping(t *testing.T) {
	tests := []struct{ ns, wantNs, wantLow, wantClamped int64 }{
		{math.MinInt64, 0, 1, 0},
		{-1, 0, 1, 0},
		{0, 0, 0, 0},
		{1, 1, 0, 0},
		{999, 999, 0, 0},
		{HighestNs, HighestNs, 0, 0},
		{HighestNs + 1, HighestNs, 0, 1},
		{math.MaxInt64, HighestNs, 0, 1},
	}
	for _, tt := range tests {
		h := record([]int64{tt.ns})
		p50, ok := h.Percentile(50)
		if h.MinNs() != tt.wantNs || h.MaxNs() != tt.wantNs || h.MeanNs() != tt.wantNs || p50 != tt.wantNs || !ok {
			t.Errorf("Record(%d): min %d max %d mean %d p50 %d, want %d", tt.ns, h.MinNs(), h.MaxNs(), h.MeanNs(), p50, tt.wantNs)
		}
		if h.Count() != 1 || h.Clamped() != tt.wantClamped || h.ClampedLow() != tt.wantLow {
			t.Errorf("Record(%d): count %d, clamped %d and %d low, want 1, %d, %d", tt.ns, h.Count(), h.Clamped(), h.ClampedLow(),
				tt.wantClamped, tt.wantLow)
		}
	}
}

func TestMergeOfShardsEqualsOneHistogram(t *testing.T) {
	const shardCount = 5
	whole, merged := New(), New()
	shards := make([]*Histogram, shardCount)
	for i := range shards {
		shards[i] = New()
	}
	for i, v := range append(samples("lognormal", 20_000), HighestNs+1, 2*HighestNs, 0, -1) {
		for _, h := range []*Histogram{whole, shards[i%(shardCount-1)]} { // the last shard stays empty
			h.Record(v)
			if i%100 == 0 {
				h.RecordCensored()
			}
		}
	}
	for _, s := range shards {
		merged.Merge(s)
	}
	requireEqual(t, merged, whole)
	if merged.Clamped() != 2 || merged.ClampedLow() != 1 || merged.MinNs() != 0 || merged.Censored() != 201 {
		t.Errorf("clamped %d and %d low, censored %d, min %d; want 2, 1, 201, 0",
			merged.Clamped(), merged.ClampedLow(), merged.Censored(), merged.MinNs())
	}

	merged.Reset()
	requireEqual(t, merged, New())
}

// requireEqual compares everything that a histogram tells.
func requireEqual(t *testing.T, got, want *Histogram) {
	t.Helper()
	type figures struct{ count, censored, clamped, clampedLow, min, mean, max int64 }
	of := func(h *Histogram) figures {
		return figures{h.Count(), h.Censored(), h.Clamped(), h.ClampedLow(), h.MinNs(), h.MeanNs(), h.MaxNs()}
	}
	if of(got) != of(want) {
		t.Errorf("got %+v, want %+v", of(got), of(want))
	}
	if !got.hdr.Equals(want.hdr) {
		t.Error("the buckets differ")
	}
}

// A minimum of 0 is a minimum, not the lack of one.
func TestZeroStaysTheMinimum(t *testing.T) {
	zero, late := record([]int64{0, 5_000}), record([]int64{7_000})
	late.Merge(zero)
	late.Record(6_000)
	for name, h := range map[string]*Histogram{"recorded": zero, "merged": late} {
		if p1, ok := h.Percentile(1); h.MinNs() != 0 || p1 != 0 || !ok {
			t.Errorf("%s: min %d, p1 %d, want 0", name, h.MinNs(), p1)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	h := New()
	for i := range b.N {
		h.Record(int64(i) * 1_000)
	}
}

func TestAbove(t *testing.T) {
	h := New()
	for ms := range int64(100) {
		h.Record((ms + 1) * 1_000_000)
	}
	h.RecordCensored()
	for ns, want := range map[int64]int64{0: 101, 50_000_000: 51, 99_500_000: 2, 200_000_000: 1} {
		if got := h.Above(ns); got != want {
			t.Errorf("above %d: %d, want %d", ns, got, want)
		}
	}
}
