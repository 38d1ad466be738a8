package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// table builds a Markdown table.
type table struct{ lines []string }

func newTable(header ...string) *table {
	t := &table{}
	t.row(header...)
	t.lines = append(t.lines, "|"+strings.Repeat("---|", len(header)))
	return t
}

func (t *table) row(cells ...string) {
	t.lines = append(t.lines, "| "+strings.Join(cells, " | ")+" |")
}

func (t *table) String() string { return strings.Join(t.lines, "\n") + "\n" }

// ms prints µs as ms; "unacked" where there is none.
func ms(us *float64) string {
	if us == nil {
		return "unacked"
	}
	if *us >= 1e6 {
		return fmt.Sprintf("%.0f ms", *us/1e3)
	}
	return fmt.Sprintf("%.3g ms", *us/1e3)
}

// value is µs, +∞ where the figure is unacked.
func value(us *float64) float64 {
	if us == nil {
		return math.Inf(1)
	}
	return *us
}

// medianOf returns the median, the lower of the two middle ones for an even
// number.
func medianOf(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// within reports whether x lies in [low, high].
func within(x, low, high float64) bool { return x >= low && x <= high }
