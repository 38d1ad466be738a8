package schedule

import (
	"math"
	"slices"
	"testing"
)

const testSeed = 42

// gapsNs are the times between arrivals, the first counted from 0.
func gapsNs(dues []int64) []float64 {
	gaps := make([]float64, len(dues))
	var last int64
	for i, due := range dues {
		gaps[i] = float64(due - last)
		last = due
	}
	return gaps
}

func meanAndVariance(values []float64) (mean, variance float64) {
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	for _, v := range values {
		variance += (v - mean) * (v - mean) / (n - 1)
	}
	return mean, variance
}

// An exponential distribution has variance = mean². The standard errors over n
// gaps are 1/√n and √(8/n) of them; four of each are allowed.
func TestPoissonMeanAndVariance(t *testing.T) {
	for _, ratePerS := range []float64{3.7, 1_000, 100_000} {
		const n = 200_000
		s, err := Poisson(ratePerS, int64(n/ratePerS*nsPerS), testSeed)
		dues := drain(t, s, err)
		if d := math.Abs(float64(len(dues)) - n); d > 4*math.Sqrt(n) {
			t.Errorf("%v/s: %d arrivals, want about %d", ratePerS, len(dues), n)
		}
		want := nsPerS / ratePerS
		mean, variance := meanAndVariance(gapsNs(dues))
		if math.Abs(mean/want-1) > 4/math.Sqrt(n) {
			t.Errorf("%v/s: mean gap %.0f ns, want %.0f", ratePerS, mean, want)
		}
		if math.Abs(variance/(want*want)-1) > 4*math.Sqrt(8.0/n) {
			t.Errorf("%v/s: variance %.4g, want %.4g", ratePerS, variance, want*want)
		}
	}
}

// The Kolmogorov-Smirnov distance to 1 − exp(−x/mean) stays below its 1 %
// critical value, 1.628/√n.
func TestPoissonGapsAreExponential(t *testing.T) {
	const ratePerS = 1_000
	s, err := Poisson(ratePerS, 100*second, testSeed)
	gaps := gapsNs(drain(t, s, err))
	slices.Sort(gaps)
	n := float64(len(gaps))
	var distance float64
	for i, g := range gaps {
		cdf := -math.Expm1(-g * ratePerS / nsPerS)
		distance = max(distance, cdf-float64(i)/n, float64(i+1)/n-cdf)
	}
	if limit := 1.628 / math.Sqrt(n); distance > limit {
		t.Errorf("distance %.5f, limit %.5f", distance, limit)
	}
}

// Counts in equal windows of a Poisson process have variance = mean; evenly
// spaced or clumped arrivals have not, though their gaps might pass.
func TestPoissonCountsAreDispersed(t *testing.T) {
	const windows, perWindow = 10_000, 20
	s, err := Poisson(1_000, windows*perWindow*second/1_000, testSeed)
	counts := make([]float64, windows)
	for _, due := range drain(t, s, err) {
		counts[due/(perWindow*second/1_000)]++
	}
	mean, variance := meanAndVariance(counts)
	if ratio := variance / mean; math.Abs(ratio-1) > 4*math.Sqrt(2.0/windows) {
		t.Errorf("variance/mean = %.3f, want 1", ratio)
	}
}

func TestPoissonSeeds(t *testing.T) {
	draw := func(seed uint64) []int64 {
		s, err := Poisson(500, 20*second, seed)
		return drain(t, s, err)
	}
	if !slices.Equal(draw(1), draw(1)) {
		t.Error("equal seeds give different schedules")
	}
	if slices.Equal(draw(1), draw(2)) {
		t.Error("different seeds give equal schedules")
	}
}

// Neighbouring seeds must be as independent as far ones: their first arrivals
// are exponential too.
func TestPoissonNeighbouringSeeds(t *testing.T) {
	const seeds = 10_000
	first := make([]float64, seeds)
	for seed := range first {
		s, err := Poisson(1, 1_000*second, uint64(seed))
		if err != nil {
			t.Fatal(err)
		}
		due, _ := s.Next()
		first[seed] = float64(due) / nsPerS
	}
	mean, variance := meanAndVariance(first)
	if math.Abs(mean-1) > 4/math.Sqrt(seeds) || math.Abs(variance-1) > 4*math.Sqrt(8.0/seeds) {
		t.Errorf("mean %.3f s, variance %.3f s², want 1 and 1", mean, variance)
	}
}

// A recording of a run must stay repeatable over releases.
func TestPoissonIsStable(t *testing.T) {
	s, err := Poisson(1_000, second, testSeed)
	want := []int64{68_578, 1_116_125, 1_768_146, 2_651_620}
	if got := drain(t, s, err)[:4]; !slices.Equal(got, want) {
		t.Errorf("first arrivals %v, want %v", got, want)
	}
}

func TestPoissonAtExtremes(t *testing.T) {
	tests := []struct {
		name       string
		ratePerS   float64
		durationNs int64
	}{
		{"denormal rate", math.SmallestNonzeroFloat64, math.MaxInt64},
		{"one nanosecond", MaxRatePerS, 1},
	}
	for _, tt := range tests {
		for seed := range uint64(100) {
			s, err := Poisson(tt.ratePerS, tt.durationNs, seed)
			if dues := drain(t, s, err); len(dues) > 1 || len(dues) == 1 && dues[0] >= tt.durationNs {
				t.Errorf("%s, seed %d: %v", tt.name, seed, dues)
			}
		}
	}
}
