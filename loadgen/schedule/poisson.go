package schedule

import (
	"math"
	"math/rand/v2"
)

// poissonStream keeps these draws apart from other uses of the same seed.
const poissonStream = 0x706f6973736f6e31

type poisson struct {
	rng       *rand.Rand
	meanGapNs float64
	dueNs     int64
	endNs     int64
}

// Poisson makes the arrivals of a Poisson process: independent, exponentially
// distributed gaps with mean 1/ratePerS, the first gap starting at 0, until
// durationNs. How many there are varies with the seed; Count tells. Equal
// arguments give equal schedules. Errors are those of Validate.
func Poisson(ratePerS float64, durationNs int64, seed uint64) (Schedule, error) {
	if err := Validate(ratePerS, durationNs); err != nil {
		return nil, err
	}
	return &poisson{
		rng:       rand.New(rand.NewPCG(seed, poissonStream)),
		meanGapNs: nsPerS / ratePerS,
		endNs:     durationNs,
	}, nil
}

// Next draws a gap by inversion, −ln(1−U) × mean for a uniform U in [0, 1)
// (L. Devroye, "Non-Uniform Random Variate Generation", 1986, II.2). Gaps are
// rounded to whole nanoseconds before they are added: the sum is then exact,
// and the last bit of a platform's logarithm hardly ever reaches it.
func (p *poisson) Next() (dueNs int64, ok bool) {
	gapNs := math.Round(-math.Log1p(-p.rng.Float64()) * p.meanGapNs)
	if !(gapNs < float64(p.endNs-p.dueNs)) { // so written because 0 × an infinite mean is NaN
		p.dueNs = p.endNs // no gap fits any more
		return 0, false
	}
	p.dueNs += int64(gapNs)
	return p.dueNs, true
}
