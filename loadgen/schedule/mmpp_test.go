package schedule

import (
	"errors"
	"math"
	"slices"
	"testing"
)

// bursty idles at 100/s and bursts to 2,000/s a tenth of the time.
var bursty = []State{{100, 900_000_000}, {2_000, 100_000_000}}

func TestMMPPMeanRate(t *testing.T) {
	if got := MMPPMeanRatePerS(bursty); math.Abs(got-290) > 1e-9 {
		t.Errorf("mean %v/s, want 290", got)
	}
	if got := MMPPMeanRatePerS(nil); got != 0 {
		t.Errorf("of no state: %v/s, want 0", got)
	}
	// Over many short runs, too: they start anywhere in the cycle, so that the
	// first second is no different from the others.
	const runs = 4_000
	total := 0.0
	for seed := range uint64(runs) {
		s, err := MMPP(bursty, second, seed)
		total += float64(len(drain(t, s, err)))
	}
	// One second of it deviates by about 310: see TestMMPPIsBursty.
	if mean := total / runs; math.Abs(mean-290) > 4*310/math.Sqrt(runs) {
		t.Errorf("mean %v/s over %d runs, want 290", mean, runs)
	}
}

// The variance of the counts in windows of t is that of a Poisson process plus
// what the states add: 2 π0 π1 (r1-r0)² (t/k − (1−e^(−kt))/k²), k the sum of
// both states' rates of leaving (Fischer, Meier-Hellstern 1993, 5.1).
func TestMMPPIsBursty(t *testing.T) {
	const windows = 4_000
	s, err := MMPP(bursty, windows*second, testSeed)
	counts := make([]float64, windows)
	for _, due := range drain(t, s, err) {
		counts[due/second]++
	}
	mean, variance := meanAndVariance(counts)
	k := 1/0.9 + 1/0.1
	want := 290 + 2*0.9*0.1*1_900*1_900*(1/k-(1-math.Exp(-k))/(k*k))
	if math.Abs(mean-290) > 25 || math.Abs(variance/want-1) > 0.15 {
		t.Errorf("mean %.0f, variance %.0f; want 290 and %.0f", mean, variance, want)
	}
}

func TestMMPPCourse(t *testing.T) {
	course, err := MMPPCourse(bursty, 200*second, testSeed)
	if err != nil {
		t.Fatal(err)
	}
	if err := course.Validate(); err != nil || course.endNs() != 200*second {
		t.Errorf("it ends at %d ns, %v", course.endNs(), err)
	}
	s, err := MMPP(bursty, 200*second, testSeed)
	got, want := float64(len(drain(t, s, err))), course.Intents(200*second)
	if math.Abs(got-want) > 4*math.Sqrt(want) {
		t.Errorf("%v arrivals on a course of %.0f", got, want)
	}
	for i := 2; i < len(course); i += 2 {
		if course[i].RatePerS == course[i-1].RatePerS {
			t.Fatalf("point %d: the state follows itself", i)
		}
	}
}

func TestMMPPSeeds(t *testing.T) {
	draw := func(seed uint64) []int64 {
		s, err := MMPP(bursty, 5*second, seed)
		return drain(t, s, err)
	}
	if !slices.Equal(draw(1), draw(1)) {
		t.Error("equal seeds give different schedules")
	}
	if slices.Equal(draw(1), draw(2)) {
		t.Error("different seeds give equal schedules")
	}
	if got, want := draw(testSeed)[:3], []int64{2_735_231, 8_192_361, 16_458_736}; !slices.Equal(got, want) {
		t.Errorf("first arrivals %v, want %v as in earlier releases", got, want)
	}
}

func TestMMPPRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		states     []State
		durationNs int64
		want       error
	}{
		"ordinary":    {bursty, second, nil},
		"an idle one": {[]State{{0, second}, {5, second}}, second, nil},
		"none":        {nil, second, ErrRate},
		"one":         {bursty[:1], second, ErrRate},
		"too many":    {make([]State, MaxStates+1), second, ErrRate},
		"all idle":    {[]State{{0, second}, {0, second}}, second, ErrRate},
		"negative":    {[]State{{-1, second}, {5, second}}, second, ErrRate},
		"too short":   {[]State{{1, MinStayNs - 1}, {5, second}}, second, ErrDuration},
		"no time":     {bursty, 0, ErrDuration},
		"too much":    {[]State{{1, second}, {1e6, second}}, 3 * hour, ErrTooManyIntents},
	} {
		_, courseErr := MMPPCourse(tt.states, tt.durationNs, 1)
		if _, err := MMPP(tt.states, tt.durationNs, 1); !errors.Is(err, tt.want) || !errors.Is(courseErr, tt.want) {
			t.Errorf("%s: got %v and %v, want %v", name, err, courseErr, tt.want)
		}
	}
}
