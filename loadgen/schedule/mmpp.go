package schedule

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Limits of a Markov-modulated Poisson process.
const (
	MaxStates = 16
	// MinStayNs is the shortest mean stay in a state: below it, the states
	// blur into their mean and cost a draw each.
	MinStayNs = 1_000_000

	mmppStayStream    = 0x6d6d707073746179
	mmppArrivalStream = 0x6d6d707061727276
)

// State is one rate of a Markov-modulated Poisson process and how long it
// lasts on average.
type State struct {
	RatePerS float64
	MeanNs   int64
}

// MMPPMeanRatePerS is the rate in the long run: that of the states weighted by
// their stays.
func MMPPMeanRatePerS(states []State) float64 {
	intents, ns := 0.0, 0.0
	for _, s := range states {
		intents += s.RatePerS * float64(s.MeanNs)
		ns += float64(s.MeanNs)
	}
	if ns == 0 {
		return 0
	}
	return intents / ns
}

// ValidateMMPP tells whether MMPP accepts these arguments. The error wraps
// ErrRate, ErrDuration or ErrTooManyIntents.
func ValidateMMPP(states []State, durationNs int64) error {
	if len(states) < 2 || len(states) > MaxStates {
		return fmt.Errorf("%w: %d states; there must be 2 to %d", ErrRate, len(states), MaxStates)
	}
	highest := 0.0
	for i, s := range states {
		if !(s.RatePerS >= 0 && s.RatePerS <= MaxRatePerS) {
			return fmt.Errorf("%w: %v requests/s in state %d; it must be 0 to %d/s", ErrRate, s.RatePerS, i+1, int64(MaxRatePerS))
		}
		if s.MeanNs < MinStayNs {
			return fmt.Errorf("%w: %v in state %d; it must be at least %v", ErrDuration, time.Duration(s.MeanNs), i+1, time.Duration(MinStayNs))
		}
		highest = max(highest, s.RatePerS)
	}
	// The highest rate could last all the time.
	return Validate(highest, durationNs)
}

// MMPP makes the arrivals of a Markov-modulated Poisson process (W. Fischer,
// K. Meier-Hellstern, "The Markov-modulated Poisson process cookbook", 1993):
// a Poisson process whose rate is that of a state; states follow each other in
// the order given, over and over, each for an exponentially distributed time.
// It starts in a state drawn by their shares of time, so that the expected
// rate is MMPPMeanRatePerS from the start. Equal arguments give equal
// schedules. Errors are those of ValidateMMPP.
func MMPP(states []State, durationNs int64, seed uint64) (Schedule, error) {
	stays, err := mmppStays(states, durationNs, seed)
	if err != nil {
		return nil, err
	}
	return &inversion{segments: stays, unit: unitPoisson(seed, mmppArrivalStream)}, nil
}

// MMPPCourse is the rate over time that MMPP with the same arguments follows,
// cut after MaxCurvePoints. Errors are those of ValidateMMPP.
func MMPPCourse(states []State, durationNs int64, seed uint64) (Curve, error) {
	stays, err := mmppStays(states, durationNs, seed)
	if err != nil {
		return nil, err
	}
	var course Curve
	for stay, ok := stays(); ok && len(course) < MaxCurvePoints; stay, ok = stays() {
		course = append(course, Point{stay.startNs, stay.from}, Point{stay.startNs + stay.lengthNs, stay.to})
	}
	return course, nil
}

// mmppStays hands out the stays until durationNs.
func mmppStays(states []State, durationNs int64, seed uint64) (func() (segment, bool), error) {
	if err := ValidateMMPP(states, durationNs); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, mmppStayStream))
	totalNs := 0.0
	for _, s := range states {
		totalNs += float64(s.MeanNs)
	}
	state := 0
	// An exponential stay has no memory: what is left of the first one is
	// distributed as all of it.
	for at := rng.Float64() * totalNs; state < len(states)-1 && at >= float64(states[state].MeanNs); state++ {
		at -= float64(states[state].MeanNs)
	}
	nowNs := int64(0)
	return func() (segment, bool) {
		if nowNs >= durationNs {
			return segment{}, false
		}
		s := states[state]
		state = (state + 1) % len(states)
		lengthNs := min(-math.Log1p(-rng.Float64())*float64(s.MeanNs)+1, float64(durationNs-nowNs))
		stay := segment{startNs: nowNs, lengthNs: int64(lengthNs), from: s.RatePerS, to: s.RatePerS}
		nowNs += stay.lengthNs
		return stay, true
	}, nil
}
