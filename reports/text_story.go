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
	for _, c := range s.Calibrated {
		b.WriteString(wrap(fmt.Sprintf("calibrated: %s, p50 %s and p95 %s, so that %s comes out at the post's p95", c.Figure, duration(c.P50Us), duration(c.P95Us), c.FittedTo), 0, indent))
	}
	order := "the rungs are in the post's order"
	if !s.Ordered {
		order = "the rungs are NOT in the post's order"
	}
	b.WriteString(order + "\n")
	for i := range s.Rungs {
		b.WriteString(whyText(s, variants, i))
	}
	return b.String()
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
		return wrap(fmt.Sprintf("%s is %s off: it is the sum of %s", r.Variant, errorText(r.Error), strings.TrimSpace(Budget(variants[at]))), 0, indent)
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
	return wrap(text+": the post's figure does not follow from its stages", 0, indent)
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

// StepTable prints what each variant costs against the one before it, paired by
// round: the ratios of their response p95, and the post's beside them.
func StepTable(variants []Variant) string {
	rows := [][]string{{"", "p95,", "of the rung before,", "", "", "the post's"}, {"rung", "median", "median", "from", "to", "ratio"}}
	for i := range variants {
		v, rung := &variants[i], newRung(&variants[i])
		row := []string{cut(v.Name, nameWidth), storyText(rung.P95Us), noDataText, noDataText, noDataText, noDataText}
		if i > 0 {
			ratios := pairedRatios(&variants[i-1], v)
			if len(ratios) > 0 {
				row[2], row[3], row[4] = ratioText(ratios[(len(ratios)-1)/2]), ratioText(ratios[0]), ratioText(ratios[len(ratios)-1])
			}
			if now, was := PostP95(v.Name), PostP95(variants[i-1].Name); now != nil && was != nil {
				row[5] = ratioText(*now / *was)
			}
		}
		rows = append(rows, row)
	}
	return grid(rows, 1, 0)
}

func ratioText(ratio float64) string { return digits3(ratio) + "×" }
