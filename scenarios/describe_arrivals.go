package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
)

// describeArrivals says when postbacks are due: "1,000/s at a constant rate".
func (s Scenario) describeArrivals() string {
	text := s.Arrivals.describe()
	for _, surge := range s.Arrivals.Surges {
		text += fmt.Sprintf("; %v times that from %s on, for %s", surge.Times, surge.At, surge.For)
	}
	return text
}

func (a Arrivals) describe() string {
	how := ", at random (Poisson)"
	if a.Even {
		how = ", evenly spaced"
	}
	switch a.Process {
	case ProcessConstant:
		return count(a.RatePerS) + "/s at a constant rate"
	case ProcessPoisson:
		return count(a.RatePerS) + "/s on average, at random (Poisson)"
	case ProcessDiurnal:
		return fmt.Sprintf("%s/s on average, days of %s with a peak of %v times the trough%s", count(a.RatePerS), a.Period, a.PeakToTrough, how)
	case ProcessMMPP:
		var states []string
		for _, state := range a.States {
			states = append(states, fmt.Sprintf("%s/s for %s", count(state.RatePerS), state.Mean))
		}
		return fmt.Sprintf("bursts at random (MMPP), %s on average in turn", strings.Join(states, ", "))
	case ProcessTrace:
		return fmt.Sprintf("along the trace %s%s", a.File, how)
	}
	if len(a.Points) > maxListedPoints {
		return fmt.Sprintf("along %d points%s", len(a.Points), how)
	}
	var points []string
	for _, p := range a.Points {
		points = append(points, fmt.Sprintf("%s/s at %s", count(p.RatePerS), p.At))
	}
	return "from " + strings.Join(points, " to ") + how
}

// Size of the drawn rate curve, in characters.
const (
	curveColumns = 64
	curveRows    = 8
	curveTicks   = 5
)

// maxListedPoints is how many points of a ramp are listed one by one.
const maxListedPoints = 8

// drawnSeed decides which of their possible courses bursts are drawn with.
const drawnSeed = 1

// drawnPeriods is how many of many days are drawn: columns would not show more.
const drawnPeriods = 4

// drawRates draws the expected rate over the run in ASCII: several lines, each
// ended by a newline.
func (s Scenario) drawRates() string {
	caption, part := "postbacks due per second, over the run", s.Duration
	if many := drawnPeriods * s.Arrivals.Period; s.Arrivals.Process == ProcessDiurnal && len(s.Arrivals.Surges) == 0 && part > 2*many {
		caption, part = fmt.Sprintf("postbacks due per second, over %d of %s days", drawnPeriods, count(float64(part)/float64(s.Arrivals.Period))), many
	}
	if s.Arrivals.Process == ProcessMMPP {
		caption += ": one of the possible courses"
	}
	drawn := asciigraph.Plot(s.columnRates(curveColumns, time.Duration(part)), asciigraph.Height(curveRows), asciigraph.LowerBound(0),
		asciigraph.YAxisValueFormatter(count), asciigraph.Caption(caption),
		asciigraph.XAxisRange(0, float64(part)), asciigraph.XAxisTickCount(curveTicks),
		asciigraph.XAxisValueFormatter(func(ns float64) string {
			return strictyaml.Duration(time.Duration(ns).Round(time.Millisecond)).String()
		}))
	// The library writes its axes in box-drawing characters whatever it is told.
	ascii := strings.NewReplacer("┤", "|", "┼", "+", "─", "-", "│", "|", "└", "+", "┬", "+",
		"╭", ".", "╮", ".", "╰", "'", "╯", "'").Replace(drawn)
	var b strings.Builder
	for line := range strings.SplitSeq(ascii, "\n") {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// columnRates is the mean rate of each of n equal parts of the run's first part.
func (s Scenario) columnRates(n int64, part time.Duration) []float64 {
	endNs := int64(part)
	rates := slices.Repeat([]float64{s.MeanRatePerS()}, int(n))
	curve, err := s.Arrivals.curve(time.Duration(s.Duration))
	if s.Arrivals.Process == ProcessMMPP {
		curve, err = schedule.MMPPCourse(s.Arrivals.states(), int64(s.Duration), drawnSeed)
	}
	if err != nil || endNs < n {
		return rates // a constant rate, or a run too short to have parts
	}
	before := 0.0
	for i := range rates {
		fromNs, toNs := int64(i)*(endNs/n), int64(i+1)*(endNs/n)
		now := curve.Intents(toNs)
		rates[i] = (now - before) / time.Duration(toNs-fromNs).Seconds()
		before = now
	}
	return rates
}
