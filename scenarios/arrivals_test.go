package scenarios

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
)

// withArrivals is a document of 20 s with these arrivals, in line 2.
func withArrivals(arrivals string) string {
	return "name: own\narrivals: {" + arrivals + "}\nduration: 20s\npartners:\n  - {name: partner, profile: plain, share: 1}\n" +
		"offers:\n  - {id: offer, share: 1, payout: 1, currency: USD}\n"
}

const (
	rampText    = "process: ramp, points: [{at: 0s, rate_per_s: 100}, {at: 10s, rate_per_s: 300}]"
	diurnalText = "process: diurnal, rate_per_s: 200, peak_to_trough: 3, period: 20s"
	mmppText    = "process: mmpp, states: [{rate_per_s: 100, mean: 900ms}, {rate_per_s: 2000, mean: 100ms}]"
	traceText   = "process: trace, file: rate.csv"
)

func TestArrivals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "rate.csv"), []byte("at_s,rate_per_s\n0,50\n10,50\n10,150\n20,150\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		text               string
		mean, at5s, spread float64 // spread: deviations of the number in 20 s
	}{
		"constant": {"process: constant, rate_per_s: 100", 100, 100, 0},
		"poisson":  {"process: poisson, rate_per_s: 100", 100, 100, 4},
		"ramp":     {rampText, 250, 200, 4},
		"even":     {rampText + ", even: true", 250, 200, 0},
		"diurnal":  {diurnalText, 200, 200, 4},
		"mmpp":     {mmppText, 290, 290, 4 * 20}, // far more than Poisson: see package schedule
		"trace":    {traceText, 100, 50, 4},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse(path, []byte(withArrivals(tt.text)))
			if err != nil {
				t.Fatal(err)
			}
			duration := time.Duration(s.Duration)
			for factor, a := range map[float64]Arrivals{1: s.Arrivals, 3: s.Arrivals.WithMeanRate(3*tt.mean, duration)} {
				if got := a.MeanRatePerS(duration); math.Abs(got-factor*tt.mean) > 1e-6 {
					t.Errorf("mean %v/s, want %v", got, factor*tt.mean)
				}
				if got := a.RateAt(5*time.Second, duration); math.Abs(got-factor*tt.at5s) > 1e-6 {
					t.Errorf("%v/s after 5 s, want %v", got, factor*tt.at5s)
				}
				due, err := a.Schedule(duration, 7)
				if err != nil {
					t.Fatal(err)
				}
				want := factor * tt.mean * 20
				if n := float64(schedule.Count(due)); math.Abs(n-want) > tt.spread*math.Sqrt(want) {
					t.Errorf("%v due times, want about %v", n, want)
				}
			}
			golden(t, "arrivals-"+name, strings.ReplaceAll(s.Describe(), filepath.Dir(path), "DIR"))
		})
	}
}

// What was changed by flags and does not fit must be an error, no panic.
func TestArrivalsOfNoRun(t *testing.T) {
	for _, a := range []Arrivals{{}, {Process: "none"}, {Process: ProcessRamp}, {Process: ProcessMMPP}, {Process: ProcessTrace}, {Process: ProcessDiurnal}} {
		if _, err := a.Schedule(time.Second, 1); err == nil {
			t.Errorf("%+v makes a schedule", a)
		}
		if a.MeanRatePerS(time.Second) != 0 || a.RateAt(0, time.Second) != 0 {
			t.Errorf("%+v has a rate", a)
		}
		a.WithMeanRate(5, time.Second)
	}
	ramp := Arrivals{Process: ProcessRamp, Points: []RatePoint{{0, 1}, {strictyaml.Duration(time.Second), 1}}}
	if _, err := ramp.Schedule(0, 1); !errors.Is(err, schedule.ErrDuration) {
		t.Errorf("no time: %v", err)
	}
}

func TestParseBrokenArrivals(t *testing.T) {
	for _, tt := range []struct{ document, old, new, want string }{
		{rampText, "[{at: 0s, rate_per_s: 100}, ", "[", "2:35: arrivals.points: want 2 to 1000 points such as {at: 10s, rate_per_s: 500}, got 1"},
		{rampText, "0s", "1s", "2:41: arrivals.points[0].at: want 0s for the first point, got 1s"},
		{rampText, "at: 10s", "at: 0s", "2:35: arrivals.points: all points are at 0s"},
		{rampText, "}]", "}, {at: 9s, rate_per_s: 1}]", "2:96: arrivals.points[2].at: 9s comes after 10s: put the points in order of time"},
		{rampText, "300", "-1", "2:85: arrivals.points[1].rate_per_s: want 0 to 1000000, got -1"},
		{rampText, "100}, {at: 10s, rate_per_s: 300", "0}, {at: 10s, rate_per_s: 0", "2:35: arrivals.points: the rate is 0 all the time"},
		{rampText, "ramp,", "ramp, rate_per_s: 5,", "2:39: arrivals.rate_per_s: process ramp has no rate_per_s: remove it"},
		{diurnalText, "3,", "0.5,", "2:63: arrivals.peak_to_trough: want 1 to 1000, how many times the trough's rate the peak has, got 0.5"},
		{diurnalText, "20s", "10ms", "2:74: arrivals.period: want 100ms to 24h, got 10ms"},
		{diurnalText, "diurnal", "poisson", "2:63: arrivals.peak_to_trough: process poisson has no peak_to_trough: remove it\n2:74: arrivals.period: process poisson has no period: remove it"},
		{diurnalText, "200", "1e6", "2:11: arrivals: impossible rate: 1.0327015646150716e+06 requests/s at 5.208333333s; it must be 0 to 1000000/s"},
		{mmppText, "{rate_per_s: 100, mean: 900ms}, ", "", "2:35: arrivals.states: want 2 to 16 states such as {rate_per_s: 500, mean: 10s}, got 1"},
		{mmppText, "900ms", "1us", "2:60: arrivals.states[0].mean: want 1ms to 24h, got 1µs"},
		{mmppText, "2000", "2e6", "2:81: arrivals.states[1].rate_per_s: want 0 to 1000000, got 2e+06"},
		{mmppText, "mmpp", "trace", "2:11: arrivals.file: want a CSV file with the header at_s,rate_per_s\n2:36: arrivals.states: process trace has no states: remove it"},
		{traceText, ", file: rate.csv", "", "2:11: arrivals.file: want a CSV file with the header at_s,rate_per_s"},
		{traceText, "rate.csv", "none.csv", "2:34: arrivals.file: read trace: open ./none.csv: no such file or directory"},
	} {
		requireBroken(t, withArrivals(tt.document), tt.old, tt.new, tt.want)
	}
}

func TestBrokenTraceFile(t *testing.T) {
	dir := t.TempDir()
	trace := filepath.Join(dir, "rate.csv")
	for text, want := range map[string]string{
		"at_s,rate_per_s\n0,1\n1,x\n":                                `:3:1: want seconds and requests/s such as 1.5,200, got "1,x"`,
		"at_s,rate_per_s\n0,1\n":                                     ":1:1: impossible rate curve: 1 points; it needs 2 to 100000",
		"at_s,rate_per_s\n" + strings.Repeat("#\n", maxTraceBytes/2): ":1:1: trace longer than 4194304 bytes",
	} {
		if err := os.WriteFile(trace, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Parse(filepath.Join(dir, "own.yaml"), []byte(withArrivals(traceText)))
		var positioned *strictyaml.Error
		if !errors.As(err, &positioned) || err.Error() != trace+want {
			t.Errorf("got  %v\nwant %s", err, trace+want)
		}
	}
}
