package reports

import (
	"fmt"
	"strconv"
)

// WorkTable prints what the variants' servers spent on the same load, below
// each other: CPU time and SQL statements a postback, objects that were
// allocated for it, and the stops for garbage collection of the processes that
// answer. Columns of which nothing is known of any variant are left out.
func WorkTable(variants []Variant) string {
	columns := []struct {
		head, unit string
		cell       func(*Variant) string
	}{
		{"server", "CPU/postback", cpuPerPostback},
		{"GC", "stops", func(v *Variant) string { return countText(v.Resources.ServerGCStops) }},
		{"longest", "stop", func(v *Variant) string { return durationOrNoData(v.Resources.ServerGCStopMaxUs) }},
		{"objects", "allocated", func(v *Variant) string { return perPostback(v.Resources.AllocsPerRequest) }},
		{"SQL", "queries", func(v *Variant) string { return perPostback(v.Resources.SQLQueries) }},
	}
	rows := [][]string{{""}, {"variant"}}
	for i := range variants {
		rows = append(rows, []string{cut(clean(variants[i].Name), nameWidth)})
	}
	for _, column := range columns {
		cells, known := []string{column.head, column.unit}, false
		for i := range variants {
			cell := column.cell(&variants[i])
			cells, known = append(cells, cell), known || cell != noDataText
		}
		for i := range rows {
			if known {
				rows[i] = append(rows[i], cells[i])
			}
		}
	}
	if len(rows[0]) == 1 {
		return ""
	}
	return grid(rows, 1, 0)
}

func cpuPerPostback(v *Variant) string {
	if v.Resources.ServerCPUS == nil || v.Ledger.Attempts == 0 {
		return noDataText
	}
	return duration(*v.Resources.ServerCPUS * 1e6 / float64(v.Ledger.Attempts))
}

func durationOrNoData(us *float64) string {
	if us == nil {
		return noDataText
	}
	return duration(*us)
}

func perPostback(n *float64) string {
	switch {
	case n == nil:
		return noDataText
	case *n >= 10:
		return fmt.Sprintf("%.0f", *n)
	}
	return strconv.FormatFloat(*n, 'f', 2, 64)
}
