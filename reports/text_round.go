package reports

import (
	"fmt"
	"strings"
)

// RoundLine is one run in one line, for watching a comparison get on.
func RoundLine(v Variant) string {
	l := shown(&v, &v.Latency.Response)
	text := fmt.Sprintf("p50 %-8s p99 %-8s", latencyText(l.P50Us, l.Empty()), latencyText(l.P99Us, l.Empty()))
	if v.Ledger.Judged() {
		text += fmt.Sprintf(" lost %-4d", v.Ledger.Lost())
	}
	if !v.Validity.Valid() {
		return text + " invalid: " + strings.Join(v.Validity.Reasons, "; ")
	}
	return strings.TrimRight(text, " ")
}
