package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/postbench/postbench/reports"
)

const (
	// storyFigures is how many figures may be fitted.
	storyFigures = 3
	// storyTries is less than tries: a story takes a quarter of an hour.
	storyTries = 2
	// stepRounds are the rounds of the ladder without modelled costs.
	stepRounds = "6"
)

// storyExperiment is the post's ladder under the post's stage times.
func storyExperiment() experiment {
	return experiment{
		name: "story", title: "The story: the post's ladder, rung by rung",
		claim: fmt.Sprintf("`compare --story`: the post's own stage times are inputs, at most %d further figures are fitted, everything else comes out of code, composition and queueing. The fitted rungs are within %.0f %% of the post's p95, all rungs are in the post's order (median of the rounds, one seed each), and every other error above that is explained.",
			storyFigures, 100*reports.StoryTolerance),
		run: func(ctx context.Context, l *lab) (finding, error) {
			p, err := l.climb(ctx, "compare", "--story", "--require", "all")
			if err != nil {
				return finding{}, err
			}
			f := finding{commands: []string{p.command}}
			f.judgeStory(&p.result)
			return f, nil
		},
	}
}

// stepsExperiment is the same ladder with nothing added to what this machine
// does.
func stepsExperiment() experiment {
	return experiment{
		name: "steps", title: "The same ladder on this machine, without modelled costs",
		claim: "`compare --story --profile bare`: what each step costs or saves where nothing but the programs' own work takes time, paired by round. The books of every rung balance; the ratios are a finding, whatever they are.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			p, err := l.climb(ctx, "compare", "--story", "--profile", "bare", "--rounds", stepRounds, "--require", "all")
			if err != nil {
				return finding{}, err
			}
			f := finding{commands: []string{p.command}}
			f.judgeSteps(p.result.Variants)
			return f, nil
		},
	}
}

// climb is play with fewer tries.
func (l *lab) climb(ctx context.Context, args ...string) (*played, error) {
	for try := 1; ; try++ {
		p, err := l.once(ctx, args...)
		if err != nil || p.exit != 4 || try == storyTries {
			return p, err
		}
	}
}

// judgeStory shows the ladder, the month and the budgets as compare prints them,
// and holds them against the claim.
func (f *finding) judgeStory(r *reports.Result) {
	s := r.Story
	if s == nil {
		f.short = "the result tells no story"
		return
	}
	var text strings.Builder
	text.WriteString(verbatim(reports.StoryTable(s, r.Variants)))
	if r.Month != nil {
		text.WriteString(verbatim(reports.MonthTable(r.Month)))
	}
	text.WriteString(verbatim(reports.BudgetTable(r.Variants)))
	f.body = text.String()
	switch invalid := invalidOf(r.Variants); {
	case len(s.Calibrated) > storyFigures:
		f.short = fmt.Sprintf("%d figures are fitted", len(s.Calibrated))
	case !s.Fitted():
		f.short = "off by more than the tolerance: " + strings.Join(missedRungs(s), ", ")
	case !s.Ordered:
		f.short = "the rungs are not in the post's order"
	case r.Month == nil:
		f.short = "the month was not played"
	case invalid != "":
		f.short = "a measurement is invalid: " + invalid
	default:
		f.holds = true
	}
}

// judgeSteps shows the ratios and what a postback costs the server.
func (f *finding) judgeSteps(variants []reports.Variant) {
	f.body = verbatim(reports.StepTable(variants)) + verbatim(reports.WorkTable(variants))
	f.holds = true
	for i := range variants {
		if !variants[i].Ledger.Balanced {
			f.holds, f.short = false, "the books of "+variants[i].Name+" do not balance"
		}
	}
	if invalid := invalidOf(variants); invalid != "" {
		f.holds, f.short = false, "a measurement is invalid: "+invalid
	}
}

// missedRungs are the fitted rungs that are off by too much.
func missedRungs(s *reports.Story) (list []string) {
	for i := range s.Rungs {
		r := &s.Rungs[i]
		switch {
		case r.Mark != reports.MarkCalibrated:
		case r.Error == nil:
			list = append(list, r.Variant+" unacked")
		case math.Abs(*r.Error) > reports.StoryTolerance:
			list = append(list, fmt.Sprintf("%s %+.1f %%", r.Variant, 100**r.Error))
		}
	}
	return list
}

// invalidOf names the variants that the machine spoilt, and why.
func invalidOf(variants []reports.Variant) string {
	var list []string
	for i := range variants {
		if v := &variants[i].Validity; !v.Valid() {
			list = append(list, variants[i].Name+" ("+strings.Join(v.Reasons, "; ")+")")
		}
	}
	return strings.Join(list, ", ")
}

// verbatim keeps a table of the terminal as it is; nothing for an empty one.
func verbatim(text string) string {
	if text == "" {
		return ""
	}
	return "```\n" + strings.TrimRight(text, "\n") + "\n```\n\n"
}
