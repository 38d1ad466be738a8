package reports

import (
	"slices"
	"strings"
)

const (
	budgetHead   = "latency budget: where the requests between p90 and p99 spent their response latency (means, which add up)"
	budgetUnsent = "latency budget: not known, because the requests between p90 and p99 were not acked"
	sumRow       = "sum"
)

// BudgetTable prints the latency budgets of the variants beside each other: one
// row a stage, in the order in which a postback meets them, one column a
// variant, their sums at the bottom. Columns that do not fit into MaxColumns
// make further tables. A variant without a budget, or whose own books do not
// balance, has dashes; "unacked" as its sum says that nobody between p90 and p99
// was acked. Empty when no variant has a budget.
func BudgetTable(variants []Variant) string {
	if !slices.ContainsFunc(variants, func(v Variant) bool { return hasBudget(&v) }) {
		return ""
	}
	var b strings.Builder
	b.WriteString(budgetHead + "\n")
	for first := 0; first < len(variants); {
		rows := budgetRows(variants[first : first+1])
		last := first + 1
		for ; last < len(variants); last++ {
			wider := budgetRows(variants[first : last+1])
			if gridWidth(wider) > MaxColumns {
				break
			}
			rows = wider
		}
		if first > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(grid(rows, 1, 0))
		first = last
	}
	return b.String()
}

// Budget prints the latency budget of a variant as a way from stage to stage:
// "dns 15.0ms → tls 40.0ms → … = 277ms". Empty when it has none.
func Budget(v Variant) string {
	if !hasBudget(&v) {
		return ""
	}
	sumUs := tailSumUs(&v)
	if sumUs == 0 {
		return budgetUnsent + "\n"
	}
	var way []string
	for _, s := range v.Stages {
		if s.P90ToP99MeanUs > 0 {
			way = append(way, cut(s.Name, nameWidth)+" "+duration(s.P90ToP99MeanUs))
		}
	}
	return wrap(strings.Join(way, " → ")+" = "+duration(sumUs)+" (mean of the requests between p90 and p99)", 0, indent)
}

func hasBudget(v *Variant) bool { return len(v.Stages) > 0 && v.Ledger.Balanced }

func tailSumUs(v *Variant) (sumUs float64) {
	for _, s := range v.Stages {
		sumUs += s.P90ToP99MeanUs
	}
	return sumUs
}

// budgetRows are the rows of one table. Stages in which nobody spent anything
// are left out.
func budgetRows(variants []Variant) [][]string {
	head, sums := []string{"stage"}, []string{sumRow}
	lists := make([][]Stage, len(variants))
	for i := range variants {
		v := &variants[i]
		head = append(head, cut(v.Name, nameWidth))
		sum := noDataText
		if hasBudget(v) {
			lists[i] = v.Stages
			if sum = unackedText; tailSumUs(v) > 0 {
				sum = duration(tailSumUs(v))
			}
		}
		sums = append(sums, sum)
	}
	rows := [][]string{head}
	for _, name := range stageOrder(lists) {
		row, spent := []string{cut(name, nameWidth)}, false
		for i := range variants {
			cell := noDataText
			if at := stageNamed(lists[i], name); at >= 0 && tailSumUs(&variants[i]) > 0 {
				cell = duration(lists[i][at].P90ToP99MeanUs)
				spent = spent || lists[i][at].P90ToP99MeanUs > 0
			}
			row = append(row, cell)
		}
		if spent {
			rows = append(rows, row)
		}
	}
	return append(rows, sums)
}

// stageOrder brings the stages of several lists into one order: a stage that
// the lists before did not have stands before the one that it precedes.
func stageOrder(lists [][]Stage) []string {
	var order []string
	for _, list := range lists {
		at := len(order)
		for _, s := range slices.Backward(list) {
			if known := slices.Index(order, s.Name); known >= 0 {
				at = known
				continue
			}
			order = slices.Insert(order, at, s.Name)
		}
	}
	return order
}

func stageNamed(list []Stage, name string) int {
	return slices.IndexFunc(list, func(s Stage) bool { return s.Name == name })
}

// gridWidth is the width of what grid prints.
func gridWidth(rows [][]string) int {
	width := columnGap * (len(rows[0]) - 1)
	for column := range rows[0] {
		width += columnWidth(rows, column)
	}
	return width
}
