package schedule

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestFollowEvenly(t *testing.T) {
	ramp := Curve{{0, 0}, {2 * second, 4}} // intents until x s: x²
	for name, tt := range map[string]struct {
		curve Curve
		want  []int64
	}{
		"constant":       {Curve{{0, 4}, {second, 4}}, []int64{0, 250_000_000, 500_000_000, 750_000_000}},
		"ramp":           {ramp, []int64{0, second, 1_414_213_562, 1_732_050_808}},
		"ramp down":      {Curve{{0, 4}, {2 * second, 0}}, []int64{0, 267_949_192, 585_786_438, second}},
		"an idle start":  {Curve{{0, 0}, {second, 0}, {second, 2}, {2 * second, 2}}, []int64{second, 1_500_000_000}},
		"an idle middle": {Curve{{0, 1}, {second, 1}, {second, 0}, {5 * second, 0}, {5 * second, 1}, {6 * second, 1}}, []int64{0, 5 * second}},
		"a jump":         {Curve{{0, 1}, {second, 1}, {second, 4}, {2 * second, 4}}, []int64{0, second, 1_250_000_000, 1_500_000_000, 1_750_000_000}},
		"too little":     {Curve{{0, 0.4}, {second, 0.4}}, nil},
		"rounded up":     {Curve{{0, 0.6}, {second, 0.6}}, []int64{0}},
	} {
		s, err := Follow(tt.curve, false, 1)
		if got := drain(t, s, err); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// A flat curve must be what Constant is, to the nanosecond.
func TestFollowEvenlyIsConstant(t *testing.T) {
	for _, rate := range []float64{7.3, 333.333, 5_000} {
		flat, err := Follow(Curve{{0, rate}, {100 * second, rate}}, false, 0)
		got := drain(t, flat, err)
		c, err := Constant(rate, 100*second)
		want := drain(t, c, err)
		if len(got) != len(want) {
			t.Fatalf("%v/s: %d entries, want %d", rate, len(got), len(want))
		}
		for i := range got {
			if d := got[i] - want[i]; d < -1 || d > 1 {
				t.Fatalf("%v/s: entry %d is due at %d, want %d", rate, i, got[i], want[i])
			}
		}
	}
}

// Mapped through the expected number of intents, the arrivals of an
// inhomogeneous Poisson process become those of a plain one with rate 1: the
// Kolmogorov-Smirnov distance of its gaps stays below the 1 % critical value.
func TestFollowAtRandom(t *testing.T) {
	day, err := Diurnal(500, 10, minute, 5*minute)
	if err != nil {
		t.Fatal(err)
	}
	for name, curve := range map[string]Curve{"hill": hill.Times(10), "diurnal": day} {
		s, err := Follow(curve, true, testSeed)
		dues := drain(t, s, err)
		want := curve.Intents(curve.endNs())
		if d := math.Abs(float64(len(dues)) - want); d > 4*math.Sqrt(want) {
			t.Errorf("%s: %d arrivals, want about %.0f", name, len(dues), want)
		}
		gaps, before := make([]float64, len(dues)), 0.0
		for i, due := range dues {
			now := curve.Intents(due)
			gaps[i], before = now-before, now
		}
		slices.Sort(gaps)
		n, distance := float64(len(gaps)), 0.0
		for i, g := range gaps {
			cdf := -math.Expm1(-g)
			distance = max(distance, cdf-float64(i)/n, float64(i+1)/n-cdf)
		}
		if limit := 1.628 / math.Sqrt(n); distance > limit {
			t.Errorf("%s: distance %.5f, limit %.5f", name, distance, limit)
		}
	}
}

func TestFollowSeeds(t *testing.T) {
	draw := func(seed uint64) []int64 {
		s, err := Follow(hill, true, seed)
		return drain(t, s, err)
	}
	if !slices.Equal(draw(1), draw(1)) {
		t.Error("equal seeds give different schedules")
	}
	if slices.Equal(draw(1), draw(2)) {
		t.Error("different seeds give equal schedules")
	}
}

// A recording of a run must stay repeatable over releases.
func TestFollowIsStable(t *testing.T) {
	s, err := Follow(hill, true, testSeed)
	want := []int64{161_657_074, 180_205_208, 181_517_537, 181_566_471}
	if got := drain(t, s, err)[:4]; !slices.Equal(got, want) {
		t.Errorf("first arrivals %v, want %v", got, want)
	}
}

// Whatever the curve, due times stay in order and inside it.
func TestFollowOddCurves(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		curve := Curve{{0, random.Float64() * 100}}
		for range 2 + random.IntN(6) {
			step := random.Int64N(3) * random.Int64N(second)
			rate := float64(random.IntN(3)) * math.Exp(10*random.Float64()-5)
			curve = append(curve, Point{curve.endNs() + step, rate})
		}
		if curve.Validate() != nil {
			continue
		}
		for _, atRandom := range []bool{true, false} {
			s, err := Follow(curve, atRandom, random.Uint64())
			dues := drain(t, s, err)
			if n := len(dues); n > 0 && dues[n-1] >= curve.endNs() {
				t.Fatalf("%v: due at %d, not before the end", curve, dues[n-1])
			}
			if want := int(math.Round(curve.Intents(curve.endNs()))); !atRandom && len(dues) != want {
				t.Fatalf("%v: %d arrivals, want %d", curve, len(dues), want)
			}
		}
	}
}
