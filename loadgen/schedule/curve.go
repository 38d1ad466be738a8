package schedule

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
)

const (
	// MaxCurvePoints is the highest number of points of a curve: a month in
	// steps of half a minute.
	MaxCurvePoints = 100_000
	// diurnalPointsPerPeriod is how finely Diurnal follows the sinusoid: chords
	// 1/96 of a period long stay within 0.06 % of its amplitude.
	diurnalPointsPerPeriod = 96
)

// ErrCurve says that points make no curve.
var ErrCurve = errors.New("impossible rate curve")

// Point is a rate at a time.
type Point struct {
	AtNs     int64 // since the run's start
	RatePerS float64
}

// Curve is a rate over time, linear between its points. The first point is at
// 0, the last one ends it; two points at the same time are a jump.
type Curve []Point

// Validate tells whether Follow accepts the curve. The error wraps ErrCurve,
// ErrRate, ErrDuration or ErrTooManyIntents.
func (c Curve) Validate() error {
	if len(c) < 2 || len(c) > MaxCurvePoints {
		return fmt.Errorf("%w: %d points; it needs 2 to %d", ErrCurve, len(c), MaxCurvePoints)
	}
	if c[0].AtNs != 0 {
		return fmt.Errorf("%w: it begins at %v; it must begin at 0s", ErrCurve, time.Duration(c[0].AtNs))
	}
	highest := 0.0
	for i, p := range c {
		if !(p.RatePerS >= 0 && p.RatePerS <= MaxRatePerS) {
			return fmt.Errorf("%w: %v requests/s at %v; it must be 0 to %d/s", ErrRate, p.RatePerS, time.Duration(p.AtNs), int64(MaxRatePerS))
		}
		if i > 0 && p.AtNs < c[i-1].AtNs {
			return fmt.Errorf("%w: %v comes after %v; points must be in order of time", ErrCurve, time.Duration(p.AtNs), time.Duration(c[i-1].AtNs))
		}
		highest = max(highest, p.RatePerS)
	}
	if highest == 0 {
		return fmt.Errorf("%w: it is 0 all the time; a rate must be above 0 somewhere", ErrRate)
	}
	if c.endNs() == 0 {
		return fmt.Errorf("%w: the curve ends where it begins", ErrDuration)
	}
	return checkIntents(c.MeanRatePerS(), c.endNs())
}

func (c Curve) endNs() int64 { return c[len(c)-1].AtNs }

// RateAt is the rate at a time, in requests/s: that of the nearer end outside
// the curve, the later one at a jump. The curve must be valid.
func (c Curve) RateAt(atNs int64) float64 {
	next := sort.Search(len(c), func(i int) bool { return c[i].AtNs > atNs })
	switch next {
	case 0:
		return c[0].RatePerS
	case len(c):
		return c[len(c)-1].RatePerS
	}
	return c.segment(next - 1).rateAt(atNs)
}

// Intents is the expected number of requests from the start until untilNs, at
// the rates of RateAt. The curve must be valid.
func (c Curve) Intents(untilNs int64) float64 {
	total := 0.0
	for i := range len(c) - 1 {
		if c[i].AtNs >= untilNs {
			return total
		}
		s := c.segment(i)
		if end := s.startNs + s.lengthNs; end > untilNs {
			s.to, s.lengthNs = s.rateAt(untilNs), untilNs-s.startNs
		}
		total += s.intents()
	}
	return total + intents(c[len(c)-1].RatePerS, max(0, untilNs-c.endNs()))
}

// MeanRatePerS is the mean from the curve's start to its end.
func (c Curve) MeanRatePerS() float64 {
	return c.Intents(c.endNs()) / (float64(c.endNs()) / nsPerS)
}

// Until returns the curve cut at endNs, or with its last rate held until
// there. endNs must be above 0 and the curve valid.
func (c Curve) Until(endNs int64) Curve {
	keep := 0
	for keep < len(c) && c[keep].AtNs < endNs {
		keep++
	}
	// Of a jump right at the end only what leads to it belongs to the curve.
	last := c[len(c)-1].RatePerS
	if keep < len(c) {
		last = c.segment(keep - 1).rateAt(endNs)
	}
	return append(slices.Clone(c[:keep]), Point{endNs, last})
}

// Times returns the curve with every rate multiplied by factor.
func (c Curve) Times(factor float64) Curve {
	scaled := slices.Clone(c)
	for i := range scaled {
		scaled[i].RatePerS *= factor
	}
	return scaled
}

func (c Curve) segment(i int) segment {
	return segment{startNs: c[i].AtNs, lengthNs: c[i+1].AtNs - c[i].AtNs, from: c[i].RatePerS, to: c[i+1].RatePerS}
}

// Diurnal is a day after the other: a sinusoid of the given mean that starts
// in the trough (at night), peaks half a period later and is peakToTrough
// times as high there, at least 1. It ends at durationNs. Errors wrap ErrRate,
// ErrDuration, ErrCurve or ErrTooManyIntents.
func Diurnal(meanRatePerS, peakToTrough float64, periodNs, durationNs int64) (Curve, error) {
	if err := Validate(meanRatePerS, durationNs); err != nil {
		return nil, err
	}
	if !(peakToTrough >= 1 && peakToTrough <= MaxRatePerS) {
		return nil, fmt.Errorf("%w: the peak is %v times the trough; it must be 1 to %d times", ErrRate, peakToTrough, int64(MaxRatePerS))
	}
	stepNs := periodNs / diurnalPointsPerPeriod
	if stepNs <= 0 {
		return nil, fmt.Errorf("%w: a period of %v; it must be at least %v", ErrDuration, time.Duration(periodNs), time.Duration(diurnalPointsPerPeriod))
	}
	if steps := durationNs / stepNs; steps >= MaxCurvePoints-2 {
		return nil, fmt.Errorf("%w: %v in periods of %v; at most %d periods are possible", ErrCurve,
			time.Duration(durationNs), time.Duration(periodNs), (MaxCurvePoints-2)/diurnalPointsPerPeriod)
	}
	amplitude := (peakToTrough - 1) / (peakToTrough + 1)
	var curve Curve
	for i := 0; ; i++ {
		// From the index, so that no error accumulates over many periods.
		phase := float64(i%diurnalPointsPerPeriod) / diurnalPointsPerPeriod
		atNs := int64(i/diurnalPointsPerPeriod)*periodNs + int64(phase*float64(periodNs))
		curve = append(curve, Point{atNs, meanRatePerS * (1 - amplitude*math.Cos(2*math.Pi*phase))})
		if atNs >= durationNs {
			break
		}
	}
	curve = curve.Until(durationNs)
	return curve, curve.Validate()
}

// Surge returns the curve with the rates from fromNs until untilNs multiplied
// by factor, with a jump at either end. 0 <= fromNs < untilNs; what lies beyond
// the curve's end is left out. The curve must be valid.
func (c Curve) Surge(fromNs, untilNs int64, factor float64) Curve {
	untilNs = min(untilNs, c.endNs())
	if fromNs >= untilNs {
		return slices.Clone(c)
	}
	var out Curve
	for _, p := range c {
		if p.AtNs < fromNs {
			out = append(out, p)
		}
	}
	at := c.RateAt(fromNs)
	out = append(out, Point{fromNs, at}, Point{fromNs, factor * at})
	for _, p := range c {
		if p.AtNs > fromNs && p.AtNs < untilNs {
			out = append(out, Point{p.AtNs, factor * p.RatePerS})
		}
	}
	at = c.RateAt(untilNs)
	out = append(out, Point{untilNs, factor * at}, Point{untilNs, at})
	for _, p := range c {
		if p.AtNs > untilNs {
			out = append(out, p)
		}
	}
	if fromNs == 0 {
		return out[1:]
	}
	return out
}
