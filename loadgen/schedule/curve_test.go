package schedule

import (
	"errors"
	"math"
	"testing"
)

// hill rises for 10 s, jumps down and stays.
var hill = Curve{{0, 0}, {10 * second, 1_000}, {10 * second, 200}, {20 * second, 200}}

func TestCurveRateAt(t *testing.T) {
	for _, tt := range []struct {
		atNs int64
		want float64
	}{
		{-second, 0}, {0, 0}, {second, 100}, {5 * second, 500}, {10*second - 1, 1_000 - 1e-7},
		{10 * second, 200}, {15 * second, 200}, {20 * second, 200}, {math.MaxInt64, 200},
	} {
		if got := hill.RateAt(tt.atNs); math.Abs(got-tt.want) > 1e-6 {
			t.Errorf("at %d ns: %v/s, want %v/s", tt.atNs, got, tt.want)
		}
	}
}

func TestCurveIntents(t *testing.T) {
	for _, tt := range []struct {
		untilNs int64
		want    float64
	}{
		{0, 0}, {second, 50}, {10 * second, 5_000}, {15 * second, 6_000}, {20 * second, 7_000}, {30 * second, 9_000},
	} {
		if got := hill.Intents(tt.untilNs); math.Abs(got-tt.want) > 1e-6 {
			t.Errorf("until %d ns: %v, want %v", tt.untilNs, got, tt.want)
		}
		if tt.untilNs == 0 {
			continue
		}
		cut := hill.Until(tt.untilNs)
		if err := cut.Validate(); err != nil {
			t.Errorf("cut at %d ns: %v", tt.untilNs, err)
		}
		if got := cut.MeanRatePerS() * float64(tt.untilNs) / nsPerS; math.Abs(got-tt.want) > 1e-6 {
			t.Errorf("cut at %d ns: %v, want %v", tt.untilNs, got, tt.want)
		}
	}
	if got := hill.Times(0.5).MeanRatePerS(); got != 175 {
		t.Errorf("half of it: %v/s, want 175", got)
	}
}

func TestCurveValidate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		curve Curve
		want  error
		text  string
	}{
		{"ordinary", hill, nil, ""},
		{"idle at first", Curve{{0, 0}, {second, 0}, {2 * second, 5}}, nil, ""},
		{"empty", nil, ErrCurve, "impossible rate curve: 0 points; it needs 2 to 100000"},
		{"one point", Curve{{0, 5}}, ErrCurve, "impossible rate curve: 1 points; it needs 2 to 100000"},
		{"too many", make(Curve, MaxCurvePoints+1), ErrCurve, "impossible rate curve: 100001 points; it needs 2 to 100000"},
		{"late start", Curve{{second, 5}, {2 * second, 5}}, ErrCurve, "impossible rate curve: it begins at 1s; it must begin at 0s"},
		{"backwards", Curve{{0, 5}, {2 * second, 5}, {second, 5}}, ErrCurve, "impossible rate curve: 1s comes after 2s; points must be in order of time"},
		{"no length", Curve{{0, 5}, {0, 7}}, ErrDuration, "impossible duration: the curve ends where it begins"},
		{"negative", Curve{{0, 5}, {second, -1}}, ErrRate, "impossible rate: -1 requests/s at 1s; it must be 0 to 1000000/s"},
		{"not a number", Curve{{0, math.NaN()}, {second, 1}}, ErrRate, "impossible rate: NaN requests/s at 0s; it must be 0 to 1000000/s"},
		{"nothing", Curve{{0, 0}, {second, 0}}, ErrRate, "impossible rate: it is 0 all the time; a rate must be above 0 somewhere"},
		{"too much", Curve{{0, 1e6}, {3 * hour, 1e6}}, ErrTooManyIntents,
			"too many requests: 1e+06/s for 3h0m0s makes 1.08e+10, about 4.295e+09 are possible; lower the rate or the duration"},
	} {
		_, followErr := Follow(tt.curve, true, 1)
		for _, err := range []error{tt.curve.Validate(), followErr} {
			if !errors.Is(err, tt.want) || err != nil && err.Error() != tt.text {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.text)
			}
		}
	}
}

func TestDiurnal(t *testing.T) {
	const day = 24 * hour
	curve, err := Diurnal(100, 4, day, 10*day)
	if err != nil {
		t.Fatal(err)
	}
	if mean := curve.MeanRatePerS(); math.Abs(mean-100) > 1e-6 {
		t.Errorf("mean %v/s, want 100", mean)
	}
	for i := range int64(10) {
		trough, peak := curve.RateAt(i*day), curve.RateAt(i*day+day/2)
		if math.Abs(trough-40) > 1e-6 || math.Abs(peak-160) > 1e-6 {
			t.Errorf("day %d: trough %v/s, peak %v/s; want 40 and 160", i, trough, peak)
		}
	}
	if cut, err := Diurnal(100, 4, day, day/2); err != nil || math.Abs(cut.MeanRatePerS()-100) > 1e-6 || cut.RateAt(day/2) != 160 {
		t.Errorf("half a day: mean %v/s, %v", cut.MeanRatePerS(), err)
	}
	if flat, err := Diurnal(100, 1, second, minute); err != nil || flat.RateAt(second/2) != 100 {
		t.Errorf("a flat day: %v", err)
	}
}

func TestDiurnalRefuses(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		rate, ratio          float64
		periodNs, durationNs int64
		want                 error
	}{
		{"no rate", 0, 4, hour, hour, ErrRate},
		{"inverted", 100, 0.5, hour, hour, ErrRate},
		{"not a number", 100, math.NaN(), hour, hour, ErrRate},
		{"no period", 100, 4, 0, hour, ErrDuration},
		{"no duration", 100, 4, hour, 0, ErrDuration},
		{"too many periods", 100, 4, second, hour, ErrCurve},
		{"peak too high", 600_000, 1_000, hour, hour, ErrRate},
	} {
		if _, err := Diurnal(tt.rate, tt.ratio, tt.periodNs, tt.durationNs); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestSurge(t *testing.T) {
	flat := Curve{{0, 100}, {10e9, 100}}
	for _, test := range []struct {
		from, until int64
		intents     float64
	}{
		{2e9, 5e9, 1000 + 3*100},
		{0, 1e9, 1000 + 100},
		{9e9, 20e9, 1000 + 100}, // cut at the end
		{10e9, 20e9, 1000},
	} {
		surged := flat.Surge(test.from, test.until, 2)
		if err := surged.Validate(); err != nil {
			t.Error(err)
		}
		if got := surged.Intents(10e9); math.Abs(got-test.intents) > 1e-6 {
			t.Errorf("from %d until %d: %v intents, want %v", test.from, test.until, got, test.intents)
		}
	}
	slope := Curve{{0, 0}, {5e9, 100}, {10e9, 0}}
	surged := slope.Surge(4e9, 6e9, 3)
	for at, want := range map[int64]float64{3e9: 60, 4e9: 240, 5e9: 300, 55e8: 270, 6e9: 80, 8e9: 40} {
		if got := surged.RateAt(at); math.Abs(got-want) > 1e-6 {
			t.Errorf("rate at %d: %v, want %v", at, got, want)
		}
	}
}
