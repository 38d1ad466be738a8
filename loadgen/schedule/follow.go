package schedule

import (
	"math"
	"math/rand/v2"
)

// followStream keeps these draws apart from other uses of the same seed.
const followStream = 0x666f6c6c6f776375

// segment is a stretch of time in which the rate changes linearly.
type segment struct {
	startNs, lengthNs int64
	from, to          float64 // rates per s
}

// intents is the expected number of requests in the segment.
func (s segment) intents() float64 { return intents((s.from+s.to)/2, s.lengthNs) }

func (s segment) rateAt(atNs int64) float64 {
	if s.lengthNs == 0 {
		return s.to
	}
	return s.from + (s.to-s.from)*float64(atNs-s.startNs)/float64(s.lengthNs)
}

// dueNs is when the expected number since the segment's start reaches n, less
// than intents, and before its end: the root of from·x + slope·x²/2 = n, in
// the form that neither divides by a slope of 0 nor subtracts near equals.
func (s segment) dueNs(n float64) int64 {
	lengthS := float64(s.lengthNs) / nsPerS
	slope := (s.to - s.from) / lengthS
	root := math.Sqrt(max(0, s.from*s.from+2*slope*n))
	x := 2 * n / (s.from + root)
	if n <= 0 { // 0/0 where the rate begins at 0
		x = 0
	}
	return s.startNs + min(s.lengthNs-1, int64(math.Round(x*nsPerS)))
}

// inversion turns a unit-rate sequence into arrivals of a rate that changes:
// it maps the sequence through the inverse of the expected number of requests
// up to a time, segment after segment (E. Çinlar, "Introduction to Stochastic
// Processes", 1975, 4.7). Unit-rate Poisson arrivals become those of an
// inhomogeneous Poisson process, whole numbers an evenly spaced schedule.
type inversion struct {
	segments func() (segment, bool)
	unit     func() float64 // the next gap of the unit-rate sequence
	now      segment
	used     float64 // of now.intents()
	last     int64
	done     bool
}

// Next skips segments until the next gap ends in one.
func (v *inversion) Next() (dueNs int64, ok bool) {
	if v.done {
		return 0, false
	}
	v.used += v.unit()
	for room := v.now.intents(); v.used >= room; room = v.now.intents() {
		v.used -= room
		if v.now, ok = v.segments(); !ok {
			v.done = true
			return 0, false
		}
	}
	v.last = max(v.last, v.now.dueNs(v.used)) // rounding must not run backwards
	return v.last, true
}

// Follow makes arrivals whose rate follows the curve, until its end: at random
// those of an inhomogeneous Poisson process, how many varying with the seed;
// else evenly spaced in expected requests, round(their number) of them and the
// first at the first moment with a rate, without regard to the seed. Equal
// arguments give equal schedules. Errors are those of Curve.Validate.
func Follow(curve Curve, random bool, seed uint64) (Schedule, error) {
	if err := curve.Validate(); err != nil {
		return nil, err
	}
	i := 0
	v := &inversion{segments: func() (segment, bool) {
		if i+1 >= len(curve) {
			return segment{}, false
		}
		i++
		return curve.segment(i - 1), true
	}}
	if random {
		v.unit = unitPoisson(seed, followStream)
		return v, nil
	}
	gap := 0.0
	v.unit = func() float64 { g := gap; gap = 1; return g }
	return &first{v, int64(math.Round(curve.Intents(curve.endNs())))}, nil
}

// unitPoisson draws gaps with mean 1; see poisson.Next for the method.
func unitPoisson(seed, stream uint64) func() float64 {
	rng := rand.New(rand.NewPCG(seed, stream))
	return func() float64 { return -math.Log1p(-rng.Float64()) }
}

// first cuts a schedule after n due times.
type first struct {
	Schedule
	n int64
}

func (f *first) Next() (dueNs int64, ok bool) {
	if f.n <= 0 {
		return 0, false
	}
	f.n--
	return f.Schedule.Next()
}
