package schedule

import "math"

type constant struct {
	ratePerS float64
	next, n  int64
}

// Constant spaces round(ratePerS × duration) requests evenly: request i is due
// at i / ratePerS, the first at 0, all before durationNs. Errors are those of
// Validate. A rate below half a request per duration makes an empty schedule.
func Constant(ratePerS float64, durationNs int64) (Schedule, error) {
	if err := Validate(ratePerS, durationNs); err != nil {
		return nil, err
	}
	return &constant{ratePerS: ratePerS, n: int64(math.Round(intents(ratePerS, durationNs)))}, nil
}

// Next computes each due time from its index instead of adding intervals, so no
// error accumulates: it is i / rate rounded to a nanosecond, exact to ±1 ns for
// 26 days (2⁵¹ ns), where two float64 roundings begin to matter.
func (c *constant) Next() (dueNs int64, ok bool) {
	if c.next >= c.n {
		return 0, false
	}
	dueNs = int64(math.Round(float64(c.next) * nsPerS / c.ratePerS))
	c.next++
	return dueNs, true
}
