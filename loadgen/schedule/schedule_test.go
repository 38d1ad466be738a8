package schedule

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
)

// drain returns all due times and checks what every Schedule promises.
func drain(t *testing.T, s Schedule, err error) []int64 {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var dues []int64
	for {
		due, ok := s.Next()
		if !ok {
			break
		}
		dues = append(dues, due)
	}
	if !slices.IsSorted(dues) || len(dues) > 0 && dues[0] < 0 {
		t.Error("due times run backwards")
	}
	if due, ok := s.Next(); ok {
		t.Errorf("a due time %d after the last", due)
	}
	return dues
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name       string
		ratePerS   float64
		durationNs int64
		want       error
		text       string
	}{
		{"ordinary", 1_000, 10 * second, nil, ""},
		{"slow", 0.001, hour, nil, ""},
		{"fastest", MaxRatePerS, hour, nil, ""},
		{"denormal", math.SmallestNonzeroFloat64, math.MaxInt64, nil, ""},
		{"zero", 0, second, ErrRate, "impossible rate: 0 requests/s; it must be above 0 and at most 1000000/s"},
		{"negative", -5, second, ErrRate, "impossible rate: -5 requests/s; it must be above 0 and at most 1000000/s"},
		{"not a number", math.NaN(), second, ErrRate, "impossible rate: NaN requests/s; it must be above 0 and at most 1000000/s"},
		{"infinite", math.Inf(1), second, ErrRate, "impossible rate: +Inf requests/s; it must be above 0 and at most 1000000/s"},
		{"too fast", 1_000_001, second, ErrRate, "impossible rate: 1.000001e+06 requests/s; it must be above 0 and at most 1000000/s"},
		{"no time", 10, 0, ErrDuration, "impossible duration: 0s; it must be above 0"},
		{"negative time", 10, -second, ErrDuration, "impossible duration: -1s; it must be above 0"},
		{"too many", MaxRatePerS, 2 * hour, ErrTooManyIntents,
			"too many requests: 1e+06/s for 2h0m0s makes 7.2e+09, about 4.295e+09 are possible; lower the rate or the duration"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, constantErr := Constant(tt.ratePerS, tt.durationNs)
			_, poissonErr := Poisson(tt.ratePerS, tt.durationNs, 1)
			for _, err := range []error{Validate(tt.ratePerS, tt.durationNs), constantErr, poissonErr} {
				if !errors.Is(err, tt.want) || err != nil && err.Error() != tt.text {
					t.Errorf("got %q, want %q", err, tt.text)
				}
			}
		})
	}
}

func TestConstantTable(t *testing.T) {
	tests := []struct {
		ratePerS   float64
		durationNs int64
		want       []int64
	}{
		{4, second, []int64{0, 250_000_000, 500_000_000, 750_000_000}},
		{3, second, []int64{0, 333_333_333, 666_666_667}},
		{0.1, 20 * second, []int64{0, 10 * second}},
		{0.1, 5 * second, []int64{0}},
		{0.1, 4 * second, nil},
		{MaxRatePerS, 3_000, []int64{0, 1_000, 2_000}},
		{math.SmallestNonzeroFloat64, math.MaxInt64, nil},
	}
	for _, tt := range tests {
		s, err := Constant(tt.ratePerS, tt.durationNs)
		if got := drain(t, s, err); !slices.Equal(got, tt.want) {
			t.Errorf("%v/s for %v: %v, want %v", tt.ratePerS, time.Duration(tt.durationNs), got, tt.want)
		}
	}
}

func TestConstantAtOddRates(t *testing.T) {
	tests := []struct {
		ratePerS   float64
		durationNs int64
		want       int
	}{
		{7.3, 100 * second, 730},
		{333.333, 61 * second, 20_333},
		{4_999.7, 10 * second, 49_997},
		{1.0 / 3, hour, 1_200},
	}
	for _, tt := range tests {
		s, err := Constant(tt.ratePerS, tt.durationNs)
		dues := drain(t, s, err)
		if len(dues) != tt.want {
			t.Errorf("%v/s: %d entries, want %d", tt.ratePerS, len(dues), tt.want)
		}
		rate := new(big.Rat).SetFloat64(tt.ratePerS)
		for i, due := range dues {
			exact := new(big.Rat).Quo(big.NewRat(int64(i)*second, 1), rate)
			off, _ := exact.Sub(exact, big.NewRat(due, 1)).Float64()
			if math.Abs(off) > 0.51 {
				t.Fatalf("%v/s: entry %d is due at %d, %v ns off", tt.ratePerS, i, due, off)
			}
		}
		if last := dues[len(dues)-1]; last >= tt.durationNs {
			t.Errorf("%v/s: the last is due at %d, after the end", tt.ratePerS, last)
		}
	}
}

func TestConstantDoesNotDrift(t *testing.T) {
	s, err := Constant(5_000, 10*minute)
	if err != nil {
		t.Fatal(err)
	}
	for i := int64(0); ; i++ {
		due, ok := s.Next()
		if !ok {
			if i != 3_000_000 {
				t.Errorf("%d entries, want 3000000", i)
			}
			return
		}
		if due != i*200_000 {
			t.Fatalf("entry %d is due at %d, want %d", i, due, i*200_000)
		}
	}
}

func TestCount(t *testing.T) {
	s, err := Constant(50, 2*second)
	if err != nil {
		t.Fatal(err)
	}
	s.Next()
	if n := Count(s); n != 99 {
		t.Errorf("%d left, want 99", n)
	}
	if n := Count(s); n != 0 {
		t.Errorf("%d left after counting, want 0", n)
	}
}
