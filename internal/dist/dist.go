// Package dist makes a probability distribution of the few percentiles that
// people know of a duration: "p50 5 ms, p95 8 ms". It is pure: randomness comes
// in as a uniform number.
package dist

import (
	"errors"
	"fmt"
	"math"
)

// Limits of a distribution.
const (
	// MaxPoints is how many percentiles one may be given by.
	MaxPoints = 16
	// maxDeviations cuts both tails of what is drawn, in standard deviations
	// of the normal distribution behind it: 1 draw in 30,000 lies beyond.
	maxDeviations = 4.0
)

// ErrPoints is wrapped by every error of New.
var ErrPoints = errors.New("not a distribution")

// Point says that a share of all values, Percentile of 100, is at most Ns.
type Point struct {
	Percentile float64 `json:"percentile"` // above 0, below 100
	Ns         int64   `json:"ns"`         // above 0
}

// Dist is a distribution of durations in ns. The zero value is always 0. It is
// immutable and safe for concurrent use.
//
// Through two points it is the log-normal distribution that has these two
// percentiles, the usual shape of service times. Through more it is log-normal
// between each two neighbours: log(value) is linear in the normal quantile.
// Beyond the outer points the slope of the outer pair goes on.
type Dist struct {
	z, logNs []float64 // ascending; one point is a constant
}

// Constant is the distribution that is always ns; of 0 or less, the zero Dist.
func Constant(ns int64) Dist {
	if ns <= 0 {
		return Dist{}
	}
	d, err := New([]Point{{50, ns}})
	if err != nil {
		panic("BUG: dist: " + err.Error())
	}
	return d
}

// New makes the distribution through points, in ascending order of percentile
// with values that never fall. One point is a constant. Errors wrap ErrPoints.
func New(points []Point) (Dist, error) {
	if len(points) == 0 || len(points) > MaxPoints {
		return Dist{}, fmt.Errorf("%w: %d percentiles, want 1 to %d", ErrPoints, len(points), MaxPoints)
	}
	var d Dist
	for i, p := range points {
		switch {
		case !(p.Percentile > 0 && p.Percentile < 100):
			return Dist{}, fmt.Errorf("%w: percentile %v, want more than 0 and less than 100", ErrPoints, p.Percentile)
		case p.Ns <= 0:
			return Dist{}, fmt.Errorf("%w: p%v is %d ns, want more than 0", ErrPoints, p.Percentile, p.Ns)
		case i > 0 && p.Percentile <= points[i-1].Percentile:
			return Dist{}, fmt.Errorf("%w: p%v comes after p%v, want them in ascending order", ErrPoints, p.Percentile, points[i-1].Percentile)
		case i > 0 && p.Ns < points[i-1].Ns:
			return Dist{}, fmt.Errorf("%w: p%v is less than p%v", ErrPoints, p.Percentile, points[i-1].Percentile)
		}
		d.z = append(d.z, quantile(p.Percentile/100))
		d.logNs = append(d.logNs, math.Log(float64(p.Ns)))
	}
	return d, nil
}

// Zero reports whether every value is 0.
func (d Dist) Zero() bool { return len(d.z) == 0 }

// At returns the value at a uniform u in [0,1), in ns: a draw if u is drawn,
// the median for 0.5.
func (d Dist) At(u float64) int64 {
	switch len(d.z) {
	case 0:
		return 0
	case 1:
		return int64(math.Round(math.Exp(d.logNs[0])))
	}
	z := max(-maxDeviations, min(maxDeviations, quantile(u)))
	right := 1
	for right < len(d.z)-1 && d.z[right] < z {
		right++
	}
	left := right - 1
	slope := (d.logNs[right] - d.logNs[left]) / (d.z[right] - d.z[left])
	return int64(math.Round(math.Exp(d.logNs[left] + slope*(z-d.z[left]))))
}

// quantile is the standard normal's: sqrt(2)·erfinv(2u−1). It is infinite at
// the ends, which At cuts.
func quantile(u float64) float64 { return math.Sqrt2 * math.Erfinv(2*u-1) }
