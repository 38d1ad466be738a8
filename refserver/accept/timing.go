package accept

import (
	"strconv"
	"time"
)

// Timing collects the stages of one request for the Server-Timing header. Not
// safe for concurrent use.
type Timing struct {
	now    func() time.Time
	last   time.Time
	stages []byte
}

// NewTiming begins the first stage at received, by the clock now.
func NewTiming(received time.Time, now func() time.Time) *Timing {
	return &Timing{now: now, last: received}
}

// Begin begins a stage now, and leaves out what was since the last one. It
// returns its now.
func (t *Timing) Begin() time.Time {
	t.last = t.now()
	return t.last
}

// Mark ends the stage and begins the next.
func (t *Timing) Mark(stage string) {
	began := t.last
	t.Add(stage, t.Begin().Sub(began).Nanoseconds())
}

// Add adds a stage that somebody else has measured, in ns.
func (t *Timing) Add(stage string, durationNs int64) {
	if len(t.stages) > 0 {
		t.stages = append(t.stages, ", "...)
	}
	t.stages = append(t.stages, stage...)
	t.stages = append(t.stages, ";dur="...)
	t.stages = strconv.AppendFloat(t.stages, float64(durationNs)/1e6, 'f', 3, 64) // milliseconds
}

// String is the header's value, in milliseconds; empty without any stage.
func (t *Timing) String() string { return string(t.stages) }
