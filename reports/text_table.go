package reports

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxColumns is the widest line that Table and Summary print.
const MaxColumns = 120

const (
	columnGap    = 2
	minNameWidth = 8
)

// Table prints the variants below each other: percentiles of the response
// latency, loss, double counting, cap overshoot (billed, of the worst cap window,
// in rows and in percent of its cap), recorded p95, durability and validity. A
// variant whose own books do not balance has no latency. Notes below give the
// reasons of invalid variants and name repeated rounds, with what those had
// found. No line is wider than MaxColumns; long names are cut.
func Table(results []Variant) string {
	rows := [][]string{
		{"", "response", "", "", "", "", "double", "cap", "recorded", "dura-", ""},
		{"variant", "p50", "p95", "p99", "p99.9", "loss", "counted", "overshoot", "p95", "bility", "validity"},
	}
	for i := range results {
		rows = append(rows, tableRow(&results[i]))
	}
	rest := 0
	for column := 1; column < len(rows[0]); column++ {
		rest += columnGap + columnWidth(rows, column)
	}
	width := max(minNameWidth, min(columnWidth(rows, 0), MaxColumns-rest))
	for _, row := range rows {
		row[0] = cut(row[0], width)
	}
	var b strings.Builder
	b.WriteString(grid(rows, 1, 0))
	for i := range results {
		b.WriteString(tableNotes(&results[i]))
	}
	return b.String()
}

func tableRow(v *Variant) []string {
	response, recorded := shown(v, &v.Latency.Response), shown(v, &v.Latency.Recorded)
	return []string{
		clean(v.Name),
		latencyText(response.P50Us, response.Empty()),
		latencyText(response.P95Us, response.Empty()),
		latencyText(response.P99Us, response.Empty()),
		latencyText(response.P999Us, response.Empty()),
		lossText(v.Ledger.Fates),
		countText(v.Ledger.DoubleCounted),
		overshootText(v.Caps),
		latencyText(recorded.P95Us, recorded.Empty()),
		orNoData(v.Durability),
		v.Validity.Verdict,
	}
}

func lossText(f Fates) string {
	switch {
	case !f.Judged():
		return noDataText
	case f.LossRate == nil || f.Lost() == 0:
		return fmt.Sprint(f.Lost())
	}
	return fmt.Sprintf("%d (%s)", f.Lost(), percent(*f.LossRate))
}

func overshootText(c *Caps) string {
	switch {
	case c == nil || c.Offers == 0:
		return noDataText
	case c.BilledOvershootMax == 0:
		return "0"
	}
	return fmt.Sprintf("%d (%s)", c.BilledOvershootMax, percent(c.BilledOvershootMaxPct/100))
}

// tableNotes says what a figure in the table cannot say.
func tableNotes(v *Variant) string {
	var b strings.Builder
	if !v.Validity.Valid() {
		note := fmt.Sprintf("%s is invalid: %s", v.Name, strings.Join(v.Validity.Reasons, "; "))
		b.WriteString(wrap(note, 0, indent))
	}
	for _, r := range v.Rounds {
		if !r.Counted {
			b.WriteString(wrap(v.Name+": "+repeatedText(&r), 0, indent))
		}
	}
	return b.String()
}

func columnWidth(rows [][]string, column int) int {
	width := 0
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row[column]))
	}
	return width
}

// grid prints rows of cells in columns, the first texts columns to the left and
// the others to the right. text/tabwriter aligns all columns to one side.
func grid(rows [][]string, texts, indent int) string {
	var b strings.Builder
	for _, row := range rows {
		line := strings.Repeat(" ", indent)
		for column, cell := range row {
			if column > 0 {
				line += strings.Repeat(" ", columnGap)
			}
			width := columnWidth(rows, column)
			if column < texts {
				line += pad(cell, width)
			} else {
				line += strings.Repeat(" ", width-utf8.RuneCountInString(cell)) + cell
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
