package scenarios

import (
	"fmt"
	"slices"
	"time"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
)

// check looks at every value by itself.
func (a Arrivals) check(problems *strictyaml.Problems) {
	if !slices.Contains(Processes(), a.Process) {
		problems.Add("arrivals.process", "%s", strictyaml.Unknown("process", a.Process, Processes()))
	}
	if problems.Unread("arrivals.process") {
		a.checkSurges(problems)
		return
	}
	a.checkForeign(problems)
	a.checkSurges(problems)
	switch a.Process {
	case ProcessRamp:
		a.checkRamp(problems)
		return
	case ProcessMMPP:
		a.checkStates(problems)
		return
	case ProcessTrace:
		if a.File == "" {
			problems.Add("arrivals.file", "want a CSV file with the header at_s,rate_per_s")
		}
		return
	case ProcessDiurnal:
		a.checkDay(problems)
	}
	if !(a.RatePerS > 0 && a.RatePerS <= schedule.MaxRatePerS) {
		problems.Add("arrivals.rate_per_s", "want more than 0 and at most %.0f, got %v", schedule.MaxRatePerS, a.RatePerS)
	}
}

// checkForeign refuses what belongs to another process: it would be ignored.
func (a Arrivals) checkForeign(problems *strictyaml.Problems) {
	for _, field := range []struct {
		key string
		set bool
		of  []string
	}{
		{"rate_per_s", a.RatePerS != 0, []string{ProcessConstant, ProcessPoisson, ProcessDiurnal}},
		{"points", a.Points != nil, []string{ProcessRamp}},
		{"peak_to_trough", a.PeakToTrough != 0, []string{ProcessDiurnal}},
		{"period", a.Period != 0, []string{ProcessDiurnal}},
		{"states", a.States != nil, []string{ProcessMMPP}},
		{"file", a.File != "", []string{ProcessTrace}},
		{"surges", a.Surges != nil, []string{ProcessRamp, ProcessDiurnal, ProcessTrace}},
		{"even", a.Even, []string{ProcessRamp, ProcessDiurnal, ProcessTrace}},
	} {
		if field.set && slices.Contains(Processes(), a.Process) && !slices.Contains(field.of, a.Process) {
			problems.Add("arrivals."+field.key, "process %s has no %s: remove it", a.Process, field.key)
		}
	}
}

func (a Arrivals) checkDay(problems *strictyaml.Problems) {
	if !(a.PeakToTrough >= 1 && a.PeakToTrough <= MaxPeakToTrough) {
		problems.Add("arrivals.peak_to_trough", "want 1 to %d, how many times the trough's rate the peak has, got %v", MaxPeakToTrough, a.PeakToTrough)
	}
	if p := time.Duration(a.Period); p < MinPeriod || p > MaxDuration {
		problems.Add("arrivals.period", "want %s to %s, got %s", MinPeriod, strictyaml.Duration(MaxDuration), a.Period)
	}
}

func (a Arrivals) checkSurges(problems *strictyaml.Problems) {
	if len(a.Surges) > MaxSurges {
		problems.Add("arrivals.surges", "%d surges, want at most %d", len(a.Surges), MaxSurges)
	}
	end := strictyaml.Duration(0)
	for i, s := range a.Surges {
		path := fmt.Sprintf("arrivals.surges[%d].", i)
		if s.At < end {
			problems.Add(path+"at", "want the surges one after the other: %s is before %s, when the one before it ends", s.At, end)
		}
		if s.For <= 0 || time.Duration(s.For) > MaxDuration {
			problems.Add(path+"for", "want more than 0s and at most %s, got %s", strictyaml.Duration(MaxDuration), s.For)
		}
		if !(s.Times > 0 && s.Times <= MaxSurgeTimes) {
			problems.Add(path+"times", "want more than 0 and at most %d, got %v", MaxSurgeTimes, s.Times)
		}
		end = max(end, s.At+s.For)
	}
}

func (a Arrivals) checkRamp(problems *strictyaml.Problems) {
	if n := len(a.Points); n < 2 || n > MaxRampPoints {
		problems.Add("arrivals.points", "want 2 to %d points such as {at: 10s, rate_per_s: 500}, got %d", MaxRampPoints, n)
		return
	}
	highest, allRead := 0.0, !problems.UnreadIn("arrivals.points")
	for i, p := range a.Points {
		path := fmt.Sprintf("arrivals.points[%d].", i)
		switch {
		case i == 0 && p.At != 0:
			problems.Add(path+"at", "want 0s for the first point, got %s", p.At)
		case i > 0 && p.At < a.Points[i-1].At:
			problems.Add(path+"at", "%s comes after %s: put the points in order of time", p.At, a.Points[i-1].At)
		}
		checkRateOrIdle(problems, path+"rate_per_s", p.RatePerS)
		highest = max(highest, p.RatePerS)
	}
	if highest == 0 && allRead {
		problems.Add("arrivals.points", "the rate is 0 all the time")
	}
	if a.Points[len(a.Points)-1].At == 0 && allRead {
		problems.Add("arrivals.points", "all points are at 0s")
	}
}

func (a Arrivals) checkStates(problems *strictyaml.Problems) {
	if n := len(a.States); n < 2 || n > schedule.MaxStates {
		problems.Add("arrivals.states", "want 2 to %d states such as {rate_per_s: 500, mean: 10s}, got %d", schedule.MaxStates, n)
		return
	}
	highest := 0.0
	for i, s := range a.States {
		path := fmt.Sprintf("arrivals.states[%d].", i)
		checkRateOrIdle(problems, path+"rate_per_s", s.RatePerS)
		if mean := time.Duration(s.Mean); mean < schedule.MinStayNs || mean > MaxDuration {
			problems.Add(path+"mean", "want %s to %s, got %s", time.Duration(schedule.MinStayNs), strictyaml.Duration(MaxDuration), s.Mean)
		}
		highest = max(highest, s.RatePerS)
	}
	if highest == 0 && !problems.UnreadIn("arrivals.states") {
		problems.Add("arrivals.states", "the rate is 0 in every state")
	}
}

func checkRateOrIdle(problems *strictyaml.Problems, path string, ratePerS float64) {
	if !(ratePerS >= 0 && ratePerS <= schedule.MaxRatePerS) {
		problems.Add(path, "want 0 to %.0f, got %v", schedule.MaxRatePerS, ratePerS)
	}
}

// checkRun looks at what only the whole run shows.
func (a Arrivals) checkRun(problems *strictyaml.Problems, duration time.Duration) {
	if problems.UnreadIn("arrivals") {
		return // of what is known, nothing follows
	}
	var inside strictyaml.Problems
	if a.check(&inside); inside.Err() != nil || a.Process == ProcessTrace && a.trace == nil {
		return // said already
	}
	if mean := a.MeanRatePerS(duration); mean*duration.Seconds() > schedule.MaxIntents {
		problems.Add("duration", "%v/s for %s are more than %d postbacks", mean, strictyaml.Duration(duration), int64(schedule.MaxIntents))
		return
	}
	if _, err := a.Schedule(duration, 0); err != nil {
		problems.Add("arrivals", "%v", err)
	}
}
