package scenarios

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
)

// The arrival processes.
const (
	ProcessConstant = "constant" // evenly spaced at RatePerS
	ProcessPoisson  = "poisson"  // at random at RatePerS
	ProcessRamp     = "ramp"     // along Points
	ProcessDiurnal  = "diurnal"  // day and night: a sinusoid around RatePerS
	ProcessMMPP     = "mmpp"     // bursts: Poisson at the rate of a state that changes at random
	ProcessTrace    = "trace"    // along the points of File
)

// maxTraceBytes is the longest trace file.
const maxTraceBytes = 4 << 20

// Arrivals says when intents are due.
type Arrivals struct {
	Process string
	// RatePerS is the rate of all partners together; of ProcessDiurnal the mean
	// over a period. The other processes carry their own rates.
	RatePerS float64 `yaml:"rate_per_s"`
	// Points of ProcessRamp, the first one at 0. The rate is linear between
	// them and stays as it is after the last.
	Points []RatePoint
	// PeakToTrough and Period shape ProcessDiurnal, which begins in the trough.
	PeakToTrough float64 `yaml:"peak_to_trough"`
	Period       strictyaml.Duration
	// States of ProcessMMPP follow each other in this order, over and over.
	States []RateState
	// File of ProcessTrace is CSV with the header at_s,rate_per_s. In a document
	// its path counts from the document's own folder.
	File string
	// Even spaces ramp, diurnal and trace by their rate; else they are Poisson.
	Even bool
	// Surges are times in which the rate of ramp, diurnal or trace is a multiple
	// of what it would be: campaigns, sales, Black Friday.
	Surges []Surge

	trace schedule.Curve // what File holds
}

// RatePoint is a rate at a time of ProcessRamp.
type RatePoint struct {
	At       strictyaml.Duration
	RatePerS float64 `yaml:"rate_per_s"`
}

// RateState is a rate of ProcessMMPP and how long it lasts on average.
type RateState struct {
	RatePerS float64 `yaml:"rate_per_s"`
	Mean     strictyaml.Duration
}

// Surge multiplies the rate by Times from At on, for For.
type Surge struct {
	At, For strictyaml.Duration
	Times   float64
}

// Processes lists the arrival processes.
func Processes() []string {
	return []string{ProcessConstant, ProcessPoisson, ProcessRamp, ProcessDiurnal, ProcessMMPP, ProcessTrace}
}

// Schedule returns the due times of a run. Equal arguments give equal times.
// Errors are those of package schedule.
func (a Arrivals) Schedule(duration time.Duration, seed uint64) (schedule.Schedule, error) {
	switch a.Process {
	case ProcessConstant:
		return schedule.Constant(a.RatePerS, int64(duration))
	case ProcessPoisson:
		return schedule.Poisson(a.RatePerS, int64(duration), seed)
	case ProcessMMPP:
		return schedule.MMPP(a.states(), int64(duration), seed)
	}
	curve, err := a.curve(duration)
	if err != nil {
		return nil, err
	}
	return schedule.Follow(curve, !a.Even, seed)
}

// MeanRatePerS is the expected mean rate over a run of that length, 0 where
// Schedule would fail.
func (a Arrivals) MeanRatePerS(duration time.Duration) float64 {
	switch a.Process {
	case ProcessConstant, ProcessPoisson:
		return a.RatePerS
	case ProcessMMPP:
		return schedule.MMPPMeanRatePerS(a.states())
	}
	curve, err := a.curve(duration)
	if err != nil {
		return 0
	}
	return curve.MeanRatePerS()
}

// RateAt is the expected rate at a time of a run of that length, in
// intents/s: of ProcessMMPP, whose course only a seed decides, the mean. It is
// 0 where Schedule would fail.
func (a Arrivals) RateAt(at, duration time.Duration) float64 {
	switch a.Process {
	case ProcessConstant, ProcessPoisson, ProcessMMPP:
		return a.MeanRatePerS(duration)
	}
	curve, err := a.curve(duration)
	if err != nil {
		return 0
	}
	return curve.RateAt(int64(at))
}

// WithMeanRate returns the same arrivals with every rate multiplied such that
// their mean over a run of that length is ratePerS. Arrivals without a mean
// rate, which are invalid, come back unchanged.
func (a Arrivals) WithMeanRate(ratePerS float64, duration time.Duration) Arrivals {
	if a.Process == ProcessConstant || a.Process == ProcessPoisson || a.Process == ProcessDiurnal && a.RatePerS == 0 {
		a.RatePerS = ratePerS
		return a
	}
	mean := a.MeanRatePerS(duration)
	if !(mean > 0) {
		return a
	}
	factor := ratePerS / mean
	a.RatePerS *= factor
	a.Points, a.States = slices.Clone(a.Points), slices.Clone(a.States)
	for i := range a.Points {
		a.Points[i].RatePerS *= factor
	}
	for i := range a.States {
		a.States[i].RatePerS *= factor
	}
	a.trace = a.trace.Times(factor)
	return a
}

// curve is the rate over a run of the processes that have one.
func (a Arrivals) curve(duration time.Duration) (schedule.Curve, error) {
	curve, err := a.quietCurve(duration)
	if err != nil {
		return nil, err
	}
	for _, s := range a.Surges {
		curve = curve.Surge(int64(s.At), int64(s.At+s.For), s.Times)
	}
	return curve, nil
}

// quietCurve is the rate without surges.
func (a Arrivals) quietCurve(duration time.Duration) (schedule.Curve, error) {
	if a.Process == ProcessDiurnal {
		return schedule.Diurnal(a.RatePerS, a.PeakToTrough, int64(a.Period), int64(duration))
	}
	curve := a.trace
	if a.Process == ProcessRamp {
		curve = nil
		for _, p := range a.Points {
			curve = append(curve, schedule.Point{AtNs: int64(p.At), RatePerS: p.RatePerS})
		}
	}
	if err := curve.Validate(); err != nil {
		return nil, err
	}
	if duration <= 0 {
		return nil, fmt.Errorf("%w: %v", schedule.ErrDuration, duration)
	}
	return curve.Until(int64(duration)), nil
}

func (a Arrivals) states() []schedule.State {
	states := make([]schedule.State, len(a.States))
	for i, s := range a.States {
		states[i] = schedule.State{RatePerS: s.RatePerS, MeanNs: int64(s.Mean)}
	}
	return states
}

// loadTrace reads a trace file. What is wrong inside it is a *strictyaml.Error.
func loadTrace(path string) (schedule.Curve, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	defer f.Close()
	limited := &io.LimitedReader{R: f, N: maxTraceBytes + 1}
	curve, err := schedule.ParseTrace(path, limited)
	var inside *schedule.ParseError
	switch {
	case limited.N == 0:
		return nil, &strictyaml.Error{File: path, Line: 1, Column: 1, Msg: fmt.Sprintf("trace longer than %d bytes", maxTraceBytes)}
	case errors.As(err, &inside):
		return nil, &strictyaml.Error{File: path, Line: max(1, inside.Line), Column: 1, Msg: inside.Err.Error()}
	}
	return curve, err
}
