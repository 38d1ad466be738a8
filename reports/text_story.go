package reports

import (
	"fmt"
	"math"
	"strings"
)

// StoryTable prints the post's p95 beside ours, each rung with its mark and its
// error; below it the figures that were fitted, whether the order is the post's,
// and for every error above StoryTolerance what of the measured budget changed
// from the rung before.
func StoryTable(s *Story, variants []Variant) string {
	rows := [][]string{{"", "the post's", "ours,", "rounds", "", "", ""}, {"rung", "p95", "median", "from", "to", "error", "mark"}}
	for _, r := range s.Rungs {
		rows = append(rows, []string{cut(r.Variant, nameWidth), postText(r.PostP95Us), storyText(r.P95Us), storyText(r.MinUs), storyText(r.MaxUs), errorText(r.Error), r.Mark})
	}
	var b strings.Builder
	b.WriteString(grid(rows, 1, 0))
	b.WriteByte('\n')
	if len(s.Seeds) > 0 {
		b.WriteString(wrap("rounds: one of each rung with seed "+strings.Trim(fmt.Sprint(s.Seeds), "[]"), 0, indent))
	}
	for _, c := range s.Calibrated {
		b.WriteString(wrap(calibrationText(s, &c), 0, indent))
	}
	b.WriteString(orderText(s, variants) + "\n")
	b.WriteString(alsoToldText(variants))
	for i := range s.Rungs {
		if variants[i].Validity.Valid() { // else the error may be the machine's
			b.WriteString(whyText(s, variants, i))
		}
	}
	return b.String()
}

// alsoToldText holds what the post tells beside its p95s: "p50 latency fell below
// 50ms" of gRPC streams, and "p99 to 80ms" of the hot path.
func alsoToldText(variants []Variant) string {
	var told []string
	for i := range variants {
		response := &variants[i].Latency.Response
		switch {
		case response.Empty():
		case variants[i].Name == "grpc-stream":
			told = append(told, "of grpc-stream p50 below 50ms, ours is "+storyText(response.P50Us))
		case variants[i].Name == "hot-path":
			told = append(told, "of hot-path p99 80ms, ours is "+storyText(response.P99Us))
		}
	}
	if len(told) == 0 {
		return ""
	}
	return wrap("the post also tells "+strings.Join(told, ", "), 0, indent)
}

// calibrationText says what a figure was fitted to, and by how much it misses
// here.
func calibrationText(s *Story, c *Calibration) string {
	text := fmt.Sprintf("calibrated: %s, p50 %s and p95 %s, fitted to the post's p95 of %s", c.Figure, duration(c.P50Us), duration(c.P95Us), c.FittedTo)
	for i := range s.Rungs {
		if r := &s.Rungs[i]; r.Variant == c.FittedTo && r.Error != nil {
			text += ", which is " + errorText(r.Error) + " off"
		}
	}
	return text
}

// orderText says whether the order is the post's, where that can be said.
func orderText(s *Story, variants []Variant) string {
	for i := range variants {
		if v := &variants[i]; !v.Validity.Valid() && PostP95(v.Name) != nil {
			return "the order of the rungs is not judged: " + v.Name + " is invalid"
		}
	}
	if !s.Ordered {
		return "the rungs are NOT in the post's order"
	}
	return "the rungs are in the post's order"
}

func postText(us *float64) string {
	if us == nil {
		return noDataText
	}
	return fmt.Sprintf("%.0fms", *us/1e3)
}

func storyText(us *float64) string {
	if us == nil {
		return unackedText
	}
	return duration(*us)
}

func errorText(share *float64) string {
	if share == nil {
		return noDataText
	}
	return fmt.Sprintf("%+.1f%%", 100**share)
}

// whyText explains a rung whose error is large: by the step from the rung
// before it that the post gives a figure, or for the first by its own budget.
func whyText(s *Story, variants []Variant, at int) string {
	r := &s.Rungs[at]
	if r.Error == nil || math.Abs(*r.Error) <= StoryTolerance {
		return ""
	}
	before := -1
	for i := range s.Rungs[:at] {
		if s.Rungs[i].PostP95Us != nil && s.Rungs[i].P95Us != nil {
			before = i
		}
	}
	if before < 0 {
		return wrap(fmt.Sprintf("%s is %s off: %s", r.Variant, errorText(r.Error), againstPost(&variants[at])), 0, indent)
	}
	from := &s.Rungs[before]
	text := fmt.Sprintf("%s is %s off: from %s to it the post's p95 falls by %s, ours by %s", r.Variant, errorText(r.Error), from.Variant,
		postText(difference(from.PostP95Us, r.PostP95Us)), storyText(difference(from.P95Us, r.P95Us)))
	if off := *from.Error; math.Abs(off) > StoryTolerance/2 {
		text += fmt.Sprintf(" (and %s was %s off already)", from.Variant, errorText(from.Error))
	}
	if changes := budgetChanges(&variants[before], &variants[at]); changes != "" {
		text += "; of the budget, " + changes
	}
	conclusion := "the post's figure does not follow from its stages"
	if off, fromOff := *r.P95Us-*r.PostP95Us, *from.P95Us-*from.PostP95Us; off*fromOff > 0 && math.Abs(fromOff) > math.Abs(off)/2 {
		conclusion = "most of the error is " + from.Variant + "'s"
	}
	return wrap(text+": "+conclusion, 0, indent)
}

// postStages are the steps of the post's 2022 path with their time in µs, by the
// budget's names. Its TLS handshake is ours with the connection's opening, its
// response our network.
func postStages() []struct {
	name   string
	us     float64
	stages []string
} {
	return []struct {
		name   string
		us     float64
		stages []string
	}{
		{"DNS", 15e3, []string{"dns"}}, {"TLS handshake", 40e3, []string{"connect", "tls"}}, {"nginx", 8e3, []string{"nginx"}},
		{"PHP", 110e3, []string{"php"}}, {"MySQL", 45e3, []string{"mysql"}}, {"ClickHouse", 38e3, []string{"clickhouse"}},
		{"response", 15e3, []string{"network"}},
	}
}

// againstPost holds a budget against the post's path of 2022, step by step, and
// names what the post has no step for.
func againstPost(v *Variant) string {
	if !hasBudget(v) {
		return "its budget is not known"
	}
	left := map[string]float64{}
	for _, s := range v.Stages {
		left[s.Name] = s.P90ToP99MeanUs
	}
	var parts []string
	for _, step := range postStages() {
		sum := 0.0
		for _, name := range step.stages {
			sum += left[name]
			delete(left, name)
		}
		parts = append(parts, fmt.Sprintf("%s %s (%s)", step.name, duration(sum), postText(&step.us)))
	}
	for _, s := range v.Stages {
		if us, rest := left[s.Name]; rest && us >= budgetChangeUs {
			parts = append(parts, fmt.Sprintf("%s %s (-)", cut(s.Name, nameWidth), duration(us)))
		}
	}
	return "step by step, with the post's in brackets, " + strings.Join(parts, ", ")
}

func difference(a, b *float64) *float64 {
	d := *a - *b
	return &d
}

// budgetChangeUs is how much a stage must change to be named.
const budgetChangeUs = 1_000

// budgetChanges names the stages whose mean time between p90 and p99 changed.
func budgetChanges(a, b *Variant) string {
	var changes []string
	of := func(list []Stage, name string) float64 {
		if i := stageNamed(list, name); i >= 0 {
			return list[i].P90ToP99MeanUs
		}
		return 0
	}
	for _, name := range stageOrder([][]Stage{a.Stages, b.Stages}) {
		was, is := of(a.Stages, name), of(b.Stages, name)
		if math.Abs(is-was) >= budgetChangeUs {
			changes = append(changes, fmt.Sprintf("%s went from %s to %s", cut(name, nameWidth), duration(was), duration(is)))
		}
	}
	return strings.Join(changes, ", ")
}

// StepTable prints what each variant costs against the rung before it, paired by
// round: the ratios of their response p95, and the post's beside them. The rung
// before is the last one that the post gives a figure; architectures of which it
// tells none stand beside its ladder, not in it.
func StepTable(variants []Variant) string {
	rows := [][]string{{"", "", "p95,", "of that rung's,", "rounds", "", "the post's"}, {"rung", "against", "median", "median", "from", "to", "ratio"}}
	before := -1
	for i := range variants {
		v, rung := &variants[i], newRung(&variants[i])
		row := []string{cut(v.Name, nameWidth), noDataText, storyText(rung.P95Us), noDataText, noDataText, noDataText, noDataText}
		if before < 0 {
			before = i - 1
		}
		if before >= 0 {
			row[1] = cut(variants[before].Name, nameWidth)
			ratios := pairedRatios(&variants[before], v)
			if len(ratios) > 0 {
				row[3], row[4], row[5] = ratioText(ratios[(len(ratios)-1)/2]), ratioText(ratios[0]), ratioText(ratios[len(ratios)-1])
			}
			if now, was := PostP95(v.Name), PostP95(variants[before].Name); now != nil && was != nil {
				row[6] = ratioText(*now / *was)
			}
		}
		rows = append(rows, row)
		if PostP95(v.Name) != nil || before < 0 {
			before = i
		}
	}
	return grid(rows, 2, 0)
}

func ratioText(ratio float64) string { return digits3(ratio) + "×" }
