package dist_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/postbench/postbench/internal/dist"
)

const ms = 1_000_000

func TestDrawsHaveThePercentilesGiven(t *testing.T) {
	for name, points := range map[string][]dist.Point{
		"two":   {{50, 5 * ms}, {95, 8 * ms}},
		"three": {{50, 5 * ms}, {95, 8 * ms}, {99.9, 300 * ms}},
		"flat":  {{10, 3 * ms}, {50, 3 * ms}, {90, 9 * ms}},
	} {
		d, err := dist.New(points)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 2))
		draws := make([]int64, 400_000)
		for i := range draws {
			draws[i] = d.At(random.Float64())
		}
		slices.Sort(draws)
		for _, p := range points {
			got := draws[int(p.Percentile/100*float64(len(draws)))]
			if math.Abs(float64(got)/float64(p.Ns)-1) > 0.1 {
				t.Errorf("%s: p%v of the draws is %d ns, want %d", name, p.Percentile, got, p.Ns)
			}
		}
	}
}

func TestAtIsMonotoneAndBounded(t *testing.T) {
	d, err := dist.New([]dist.Point{{50, 5 * ms}, {95, 8 * ms}})
	if err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for i := range 1001 {
		now := d.At(float64(i) / 1000)
		if now < last || now <= 0 {
			t.Fatalf("at %d/1000: %d after %d", i, now, last)
		}
		last = now
	}
	if last > 20*ms { // four deviations of ln(8/5)/1.645
		t.Errorf("the upper tail is not cut: %d", last)
	}
}

func TestConstants(t *testing.T) {
	one, err := dist.New([]dist.Point{{50, 7 * ms}})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []float64{0, 0.5, 0.999} {
		if got := one.At(u); got != 7*ms {
			t.Errorf("one point at %v: %d", u, got)
		}
		if got := dist.Constant(3 * ms).At(u); got != 3*ms {
			t.Errorf("constant at %v: %d", u, got)
		}
		if got := (dist.Dist{}).At(u); got != 0 {
			t.Errorf("zero at %v: %d", u, got)
		}
	}
	if !dist.Constant(0).Zero() || dist.Constant(1).Zero() {
		t.Error("Zero is wrong")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, points := range map[string][]dist.Point{
		"none":       {},
		"too many":   make([]dist.Point, dist.MaxPoints+1),
		"0":          {{0, 1}},
		"100":        {{100, 1}},
		"not number": {{math.NaN(), 1}},
		"no time":    {{50, 0}},
		"falling":    {{50, 2}, {90, 1}},
		"order":      {{90, 1}, {50, 1}},
	} {
		if _, err := dist.New(points); !errors.Is(err, dist.ErrPoints) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
