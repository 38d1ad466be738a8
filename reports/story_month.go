package reports

import (
	"fmt"
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
	for i, row := range []MonthRow{{50, post[0], response.P50Us}, {95, post[1], response.P95Us}, {99, post[2], response.P99Us}, {99.9, post[3], response.P999Us}} {
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

func tailShares(v *Variant, percentile, limitUs float64) (TailShares, error) {
	tail := TailShares{Percentile: percentile}
	var all, slow []int64
	var sumAll, sumSlow int64
	for i := range v.Networks {
		h, err := v.Networks[i].Latency.Response.histogram()
		if err != nil {
			return tail, fmt.Errorf("network %s: %w", v.Networks[i].Name, err)
		}
		n, above := h.Count()+h.Censored(), h.Above(int64(limitUs*1e3))
		all, slow = append(all, n), append(slow, above)
		sumAll, sumSlow = sumAll+n, sumSlow+above
	}
	for i := range v.Networks {
		share := NetworkTail{Network: v.Networks[i].Name}
		if sumAll > 0 {
			share.OfAll = float64(all[i]) / float64(sumAll)
		}
		if sumSlow > 0 {
			share.OfTheTail = float64(slow[i]) / float64(sumSlow)
		}
		tail.Networks = append(tail.Networks, share)
	}
	return tail, nil
}

// MonthTable prints the month's percentiles beside the post's, and over which
// paths its tail came.
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
		b.WriteString(wrap(fmt.Sprintf("of the postbacks slower than p%g came over %s", tail.Percentile, strings.Join(parts, ", ")), 0, indent))
	}
	return b.String()
}
