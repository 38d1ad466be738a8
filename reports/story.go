package reports

import (
	"cmp"
	"math"
	"slices"
)

// How a figure of the story came about.
const (
	MarkCalibrated = "calibrated" // a figure of the profile was fitted so that this one comes out
	MarkCameOut    = "came out"   // of code, composition and queueing
)

// StoryTolerance is the error, as a share of the post's figure, beyond which a
// rung is explained.
const StoryTolerance = 0.1

// Story holds the post's ladder against ours.
type Story struct {
	// Seeds are those of the rounds, in their order.
	Seeds []uint64 `json:"seeds"`
	Rungs []Rung   `json:"rungs"`
	// Calibrated are the figures that were fitted; all else came out.
	Calibrated []Calibration `json:"calibrated"`
	// Ordered tells whether the rungs that the post gives a p95 are in its order.
	Ordered bool `json:"ordered"`
}

// Rung is one variant of the ladder. Figures are medians of the rounds' response
// p95, MinUs and MaxUs the rounds between which they lie; nil where a round has
// none.
type Rung struct {
	Variant   string   `json:"variant"`
	PostP95Us *float64 `json:"post_p95_us"` // nil: the post tells none
	P95Us     *float64 `json:"p95_us"`
	MinUs     *float64 `json:"min_us"`
	MaxUs     *float64 `json:"max_us"`
	Mark      string   `json:"mark"`  // MarkCalibrated or MarkCameOut; "" without a figure of the post
	Error     *float64 `json:"error"` // share of the post's figure by which ours is larger
}

// Calibration is a figure of the profile that was fitted.
type Calibration struct {
	Figure   string  `json:"figure"` // a stage
	P50Us    float64 `json:"p50_us"`
	P95Us    float64 `json:"p95_us"`
	FittedTo string  `json:"fitted_to"` // the variant whose p95 it was fitted to
}

// postP95Us is the post's p95 of each of its steps, in µs, in its order.
func postP95Us() []Rung {
	us := func(ms float64) *float64 { ms *= 1e3; return &ms }
	return []Rung{
		{Variant: "monolith", PostP95Us: us(280)}, {Variant: "redis-cache", PostP95Us: us(240)},
		{Variant: "edge-redis", PostP95Us: us(110)}, {Variant: "udp-batch", PostP95Us: us(45)},
		{Variant: "hot-path", PostP95Us: us(32)}, {Variant: "binary-log", PostP95Us: us(28)},
	}
}

// PostP95 is the post's p95 of a variant in µs; nil where it tells none.
func PostP95(variant string) *float64 {
	for _, rung := range postP95Us() {
		if rung.Variant == variant {
			return rung.PostP95Us
		}
	}
	return nil
}

// TellStory holds the variants, in the order of the ladder, against the post's.
func TellStory(variants []Variant, calibrated []Calibration) *Story {
	story := &Story{Calibrated: calibrated, Ordered: true}
	var last *float64
	for i := range variants {
		rung := newRung(&variants[i])
		if rung.PostP95Us != nil {
			rung.Mark = MarkCameOut
			if slices.ContainsFunc(calibrated, func(c Calibration) bool { return c.FittedTo == rung.Variant }) {
				rung.Mark = MarkCalibrated
			}
			if rung.P95Us != nil {
				off := *rung.P95Us / *rung.PostP95Us - 1
				rung.Error = &off
			}
			story.Ordered = story.Ordered && rung.P95Us != nil && (last == nil || *rung.P95Us < *last)
			last = cmp.Or(rung.P95Us, last)
		}
		story.Rungs = append(story.Rungs, rung)
	}
	return story
}

// newRung takes the median of the counted rounds, the lower of the two middle
// ones.
func newRung(v *Variant) Rung {
	rung := Rung{Variant: v.Name, PostP95Us: PostP95(v.Name)}
	var p95s []float64
	for i := range v.Rounds {
		if r := &v.Rounds[i]; r.Counted {
			p95 := math.Inf(1)
			if us := r.Latency.Response.P95Us; us != nil {
				p95 = *us
			}
			p95s = append(p95s, p95)
		}
	}
	if len(p95s) == 0 {
		return rung
	}
	slices.Sort(p95s)
	known := func(us float64) *float64 {
		if math.IsInf(us, 1) {
			return nil
		}
		return &us
	}
	rung.P95Us, rung.MinUs, rung.MaxUs = known(p95s[(len(p95s)-1)/2]), known(p95s[0]), known(p95s[len(p95s)-1])
	return rung
}

// Fitted tells whether all calibrated rungs are within StoryTolerance.
func (s *Story) Fitted() bool {
	return !slices.ContainsFunc(s.Rungs, func(r Rung) bool {
		return r.Mark == MarkCalibrated && (r.Error == nil || math.Abs(*r.Error) > StoryTolerance)
	})
}

// pairedRatios are b's response p95 over a's in the rounds that both have,
// sorted.
func pairedRatios(a, b *Variant) (ratios []float64) {
	for _, pair := range pairRounds(a.Rounds, b.Rounds) {
		was, is := pair.a.Latency.Response.P95Us, pair.b.Latency.Response.P95Us
		if was != nil && is != nil && *was > 0 {
			ratios = append(ratios, *is / *was)
		}
	}
	slices.Sort(ratios)
	return ratios
}
