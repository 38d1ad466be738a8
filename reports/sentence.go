package reports

import (
	"fmt"
	"slices"
	"strings"
)

// WrapSentence is Sentence in lines of at most MaxColumns, ended by a newline.
func WrapSentence(comparisons ...Comparison) string { return wrap(Sentence(comparisons...), 0, 0) }

// Sentence says in one sentence which variant won on what, with figures. Counts
// are facts and are told whenever they differ, with a warning where chance
// could have made the difference. A latency counts as won only where the test
// shows it; where it shows nothing of response p95, the sentence says so.
func Sentence(comparisons ...Comparison) string {
	var order []string
	byVariant := map[string][]Comparison{}
	for _, c := range comparisons {
		if _, seen := byVariant[c.B]; !seen {
			order = append(order, c.B)
		}
		byVariant[c.B] = append(byVariant[c.B], c)
	}
	if len(order) == 0 {
		return "Nothing was compared."
	}
	var parts []string
	for _, name := range order {
		parts = append(parts, about(byVariant[name]))
	}
	sentence := strings.Join(parts, "; ")
	if len(order) > 1 {
		sentence = "Against " + comparisons[0].A + ": " + sentence
	}
	return sentence + "."
}

// about tells how one variant did against the base.
func about(list []Comparison) string {
	a, b := list[0].A, list[0].B
	if list[0].Why == WhyInvalid {
		return fmt.Sprintf("%s cannot be compared with %s because a measurement is invalid", b, a)
	}
	if !slices.ContainsFunc(list, func(c Comparison) bool { return c.Rounds > 0 }) {
		return fmt.Sprintf("%s and %s have no round in common", b, a)
	}
	var clauses []string
	for _, c := range list {
		if clause := countClause(c); clause != "" {
			clauses = append(clauses, clause)
		}
	}
	for _, verdict := range []string{VerdictLower, VerdictHigher} {
		if clause := latencyClause(list, verdict); clause != "" {
			clauses = append(clauses, clause)
		}
	}
	unshown := unshownClause(list)
	switch {
	case len(clauses) == 0 && unshown == "":
		return fmt.Sprintf("%s and %s have no latency in common", b, a)
	case len(clauses) == 0:
		return fmt.Sprintf("between %s and %s %s", b, a, unshown)
	case unshown == "":
		return b + " " + enumerate(clauses)
	}
	return b + " " + enumerate(clauses) + "; " + unshown
}

// countClause is empty when there is nothing to tell.
func countClause(c Comparison) string {
	words, isCount := map[string][3]string{ // none, less, more
		MetricLost:            {"lost nothing", "lost less", "lost more"},
		MetricDoubleCounted:   {"counted nothing twice", "counted less twice", "counted more twice"},
		MetricBilledOvershoot: {"had no cap overshoot", "had less cap overshoot", "had more cap overshoot"},
	}[c.Metric]
	if !isCount || c.AValue == nil || c.BValue == nil || *c.AValue == *c.BValue {
		return ""
	}
	word := words[1]
	switch {
	case *c.BValue == 0:
		word = words[0]
	case *c.BValue > *c.AValue:
		word = words[2]
	}
	return fmt.Sprintf("%s (%.0f against %.0f%s)", word, *c.BValue, *c.AValue, doubt(c))
}

// doubt says why a difference in counts proves nothing; empty when it does.
func doubt(c Comparison) string {
	switch c.Why {
	case WhyFewRounds:
		return "; too few rounds to exclude chance"
	case WhyNotSignificant:
		return fmt.Sprintf("; lower in %d of %d rounds, higher in %d: could be chance", c.BLower, c.Rounds, c.BHigher)
	}
	return ""
}

func latencyLabel(metric string) string {
	return map[string]string{
		MetricResponseP50:  "response p50",
		MetricResponseP95:  "response p95",
		MetricResponseP99:  "response p99",
		MetricResponseP999: "response p99.9",
		MetricRecordedP95:  "recorded p95",
	}[metric]
}

// latencyClause names the latencies with that verdict; empty without any.
func latencyClause(list []Comparison, verdict string) string {
	var names []string
	var least Comparison // the one with the smallest share of agreeing rounds
	for _, c := range list {
		label := latencyLabel(c.Metric)
		if label == "" || c.Verdict != verdict {
			continue
		}
		if len(names) == 0 || agreeing(c)*least.Rounds < agreeing(least)*c.Rounds {
			least = c
		}
		names = append(names, fmt.Sprintf("%s (%s)", label, sizeText(c)))
	}
	switch {
	case len(names) == 0:
		return ""
	case agreeing(least) == least.Rounds:
		return fmt.Sprintf("had %s %s in all %d rounds", verdict, enumerate(names), least.Rounds)
	case len(names) == 1:
		return fmt.Sprintf("had %s %s in %d of %d rounds", verdict, names[0], agreeing(least), least.Rounds)
	}
	return fmt.Sprintf("had %s %s, each in at least %d of %d rounds", verdict, enumerate(names), agreeing(least), least.Rounds)
}

// agreeing is the number of rounds that went the way of the verdict.
func agreeing(c Comparison) int { return max(c.BLower, c.BHigher) }

// sizeText gives the ratio, or both values where it has no meaning.
func sizeText(c Comparison) string {
	if c.Ratio != nil {
		return digits3(*c.Ratio) + "×"
	}
	return fmt.Sprintf("%s against %s", latencyText(c.BValue, false), latencyText(c.AValue, false))
}

func unshownClause(list []Comparison) string {
	for _, c := range list {
		if c.Metric != MetricResponseP95 || c.Verdict != VerdictUnknown || c.Rounds == 0 {
			continue
		}
		needed := ""
		if c.Why == WhyFewRounds {
			needed = fmt.Sprintf("; at least %d are needed", MinRounds)
		}
		return fmt.Sprintf("no difference in %s could be shown (%s, lower in %d of %d rounds%s)",
			latencyLabel(c.Metric), sizeText(c), c.BLower, c.Rounds, needed)
	}
	return ""
}

// enumerate joins clauses: "a, b and c".
func enumerate(clauses []string) string {
	last := len(clauses) - 1
	if last == 0 {
		return clauses[0]
	}
	return strings.Join(clauses[:last], ", ") + " and " + clauses[last]
}
