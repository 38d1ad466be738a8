package reports

import (
	"fmt"
	"math"
	"strings"
)

// postMonth are the post's percentiles of April 2026, in µs.
func postMonth() []float64 { return []float64{12e3, 28e3, 78e3, 220e3} }

// Month holds a run of the post's month of 2026 against its figures.
type Month struct {
	Variant string       `json:"variant"`
	Rows    []MonthRow   `json:"rows"`
	Tails   []TailShares `json:"tails"`
}

// MonthRow is one percentile of the response latency.
type MonthRow struct {
	Percentile float64  `json:"percentile"`
	PostUs     float64  `json:"post_us"`
	Us         *float64 `json:"us"` // nil: unacked
	// Slower is the share of each network's postbacks that took longer than
	// PostUs.
	Slower []NetworkSlower `json:"slower"`
}

// NetworkSlower is the share of one network's postbacks that are slower than
// something, and its part of all postbacks.
type NetworkSlower struct {
	Network string  `json:"network"`
	OfAll   float64 `json:"of_all"`
	Slower  float64 `json:"slower"`
}

// TailShares says over which network paths the postbacks travelled that were
// slower than a percentile.
type TailShares struct {
	Percentile float64       `json:"percentile"`
	Networks   []NetworkTail `json:"networks"`
}

// NetworkTail is one network's part of all postbacks and of the slow ones.
type NetworkTail struct {
	Network   string  `json:"network"`
	OfAll     float64 `json:"of_all"`
	OfTheTail float64 `json:"of_the_tail"`
}

// TellMonth reads a run of one variant. The error is that of a damaged
// histogram.
func TellMonth(v *Variant) (*Month, error) {
	response := &v.Latency.Response
	m := &Month{Variant: v.Name}
	post := postMonth()
	for i, row := range []MonthRow{
		{Percentile: 50, PostUs: post[0], Us: response.P50Us}, {Percentile: 95, PostUs: post[1], Us: response.P95Us},
		{Percentile: 99, PostUs: post[2], Us: response.P99Us}, {Percentile: 99.9, PostUs: post[3], Us: response.P999Us},
	} {
		var err error
		if row.Slower, err = slowerThan(v, row.PostUs); err != nil {
			return nil, err
		}
		m.Rows = append(m.Rows, row)
		if i < 2 || row.Us == nil { // the tail is what lies beyond p99
			continue
		}
		tail, err := tailShares(v, row.Percentile, *row.Us)
		if err != nil {
			return nil, err
		}
		m.Tails = append(m.Tails, tail)
	}
	return m, nil
}

// tailShares are each network's part of the postbacks slower than limitUs.
func tailShares(v *Variant, percentile, limitUs float64) (TailShares, error) {
	tail := TailShares{Percentile: percentile}
	slower, err := slowerThan(v, limitUs)
	slow := 0.0
	for _, n := range slower {
		slow += n.OfAll * n.Slower
	}
	for _, n := range slower {
		share := NetworkTail{Network: n.Network, OfAll: n.OfAll}
		if slow > 0 {
			share.OfTheTail = min(1, n.OfAll*n.Slower/slow)
		}
		tail.Networks = append(tail.Networks, share)
	}
	return tail, err
}

// slowerThan is how much of each network's postbacks took longer than limitUs.
func slowerThan(v *Variant, limitUs float64) ([]NetworkSlower, error) {
	list := make([]NetworkSlower, len(v.Networks))
	sum := 0.0
	for i := range v.Networks {
		h, err := v.Networks[i].Latency.Response.histogram()
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", v.Networks[i].Name, err)
		}
		n := float64(h.Count() + h.Censored())
		list[i] = NetworkSlower{Network: v.Networks[i].Name, OfAll: n}
		if n > 0 {
			list[i].Slower = float64(h.Above(int64(limitUs*1e3))) / n
		}
		sum += n
	}
	for i := range list {
		if sum > 0 {
			list[i].OfAll /= sum
		}
	}
	return list, nil
}

// MonthTable prints the month's percentiles beside the post's, over which paths
// its tail came, and for every error above StoryTolerance how many postbacks of
// each path are slower than the post says.
func MonthTable(m *Month) string {
	head, post, ours, off := []string{"month-2026 on " + cut(m.Variant, nameWidth)}, []string{"the post's"}, []string{"ours"}, []string{"error"}
	for _, row := range m.Rows {
		head, post, ours = append(head, fmt.Sprintf("p%g", row.Percentile)), append(post, postText(&row.PostUs)), append(ours, storyText(row.Us))
		var share *float64
		if row.Us != nil {
			e := *row.Us/row.PostUs - 1
			share = &e
		}
		off = append(off, errorText(share))
	}
	var b strings.Builder
	b.WriteString(grid([][]string{head, post, ours, off}, 1, 0))
	for _, tail := range m.Tails {
		var parts []string
		for _, n := range tail.Networks {
			parts = append(parts, fmt.Sprintf("%s %s (of all %s)", n.Network, percent(n.OfTheTail), percent(n.OfAll)))
		}
		b.WriteString(wrap(fmt.Sprintf("of the postbacks slower than our p%g came over %s", tail.Percentile, strings.Join(parts, ", ")), 0, indent))
	}
	for i := range m.Rows {
		b.WriteString(whyMonthText(&m.Rows[i]))
	}
	return b.String()
}

// whyMonthText explains a percentile whose error is large by the paths.
func whyMonthText(row *MonthRow) string {
	if row.Us != nil && math.Abs(*row.Us/row.PostUs-1) <= StoryTolerance || len(row.Slower) == 0 {
		return ""
	}
	all := 0.0
	var parts []string
	for _, n := range row.Slower {
		all += n.OfAll * n.Slower
		parts = append(parts, fmt.Sprintf("%s of those over %s", percent(n.Slower), n.Network))
	}
	return wrap(fmt.Sprintf("p%g is off because %s of our postbacks are slower than the post's %s, not %s: %s", row.Percentile, percent(all),
		postText(&row.PostUs), percent(1-row.Percentile/100), strings.Join(parts, ", ")), 0, indent)
}
