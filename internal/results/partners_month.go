package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/postbench/postbench/reports"
)

// The discrepancy that month-2022 must show on monolith, in percent of the
// claimed money.
const (
	monthLowest  = 3.0
	monthHighest = 5.0
	// monthPartners is how many of the partners that lose most are shown.
	monthPartners = 5
	// monthTries is less than tries: a run takes more than four minutes.
	monthTries = 2
)

// monthExperiment is the post's customer of 2022.
func monthExperiment() experiment {
	return experiment{
		name: "month", title: "A month of 2022: the discrepancy in money",
		claim: fmt.Sprintf("`month-2022` under `post` on monolith: partners claim %g–%g %% more than is recorded, and every cent of it is put down to a mechanism. (The post: \"a 4%% discrepancy over a month - about $12k\".)", monthLowest, monthHighest),
		run: func(ctx context.Context, l *lab) (finding, error) {
			for try := 1; ; try++ {
				p, err := l.once(ctx, "run", "--variant", "monolith", "--profile", "post", "--scenario", "month-2022")
				if err != nil {
					return finding{}, err
				}
				if v := &p.result.Variants[0]; v.Validity.Valid() || try == monthTries {
					f := finding{commands: []string{p.command}}
					f.judgeMonth(v)
					return f, nil
				}
			}
		},
	}
}

// judgeMonth renders the run and holds its discrepancy against the claim.
func (f *finding) judgeMonth(v *reports.Variant) {
	ledger := &v.Ledger
	if len(ledger.Money) != 1 {
		f.body, f.short = "", fmt.Sprintf("money of %d currencies is known, want one: %s", len(ledger.Money), validity(v))
		return
	}
	m := &ledger.Money[0]
	percentOff := 100 * float64(m.DiscrepancyMicros()) / float64(m.PartnerMicros)
	var text strings.Builder
	fmt.Fprintf(&text, "Partners claim %s, recorded are %s: a discrepancy of %s, **%+.2f %%** (%+d of %d postbacks). Of %d attempts %d were acked, %d refused, %d timed out, %d failed below HTTP; response p50 %s, p99 %s. The run was %s.\n\n",
		money(m.PartnerMicros, m.Currency), money(m.RecordedMicros, m.Currency), money(m.DiscrepancyMicros(), m.Currency), percentOff,
		m.RecordedCount-m.PartnerCount, m.PartnerCount, ledger.Attempts, ledger.Acked, ledger.Refused, ledger.TimedOut, ledger.Errored,
		ms(v.Latency.Response.P50Us), ms(v.Latency.Response.P99Us), validity(v))
	if len(ledger.LostMoney) > 0 {
		text.WriteString(mechanisms(ledger.LostMoney) + "\nThe partners that lose most:\n\n" + losers(v.Partners))
	}
	f.body = text.String()
	switch lost := -percentOff; {
	case !v.Validity.Valid():
		f.short = "the run was invalid"
	case !ledger.Balanced:
		f.short = "the books do not balance"
	case !within(lost, monthLowest, monthHighest):
		f.short = fmt.Sprintf("recorded are %+.2f %% against the claim, want −%g to −%g %%", percentOff, monthLowest, monthHighest)
	case !explained(ledger.LostMoney, m):
		f.short = "the mechanisms do not add up to the discrepancy"
	default:
		f.holds = true
	}
}

// explained reports whether the mechanisms add up to what is missing and to
// what is too much.
func explained(list []reports.LostMoney, m *reports.Money) bool {
	var missing, surplus int64
	for _, part := range list {
		if part.Surplus {
			surplus += part.Micros
		} else {
			missing += part.Micros
		}
	}
	return missing == m.MissingMicros && surplus == m.SurplusMicros
}

// mechanisms is the table of what caused the discrepancy, the dearest first.
// Shares are of everything that is missing or too much.
func mechanisms(list []reports.LostMoney) string {
	var whole int64
	for _, m := range list {
		whole += m.Micros
	}
	t := newTable("mechanism", "direction", "postbacks", "money", "share")
	for _, m := range slices.SortedFunc(slices.Values(list), func(a, b reports.LostMoney) int { return cmp.Compare(b.Micros, a.Micros) }) {
		direction := "missing"
		if m.Surplus {
			direction = "too much"
		}
		t.row(words(m.Mechanism), direction, fmt.Sprint(m.Count), money(m.Micros, m.Currency), share(m.Micros, whole))
	}
	return t.String()
}

// losers is the table of the partners that lose most postbacks.
func losers(partners []reports.Partner) string {
	t := newTable("partner", "intents", "lost", "of its intents", "by reason", "missing money", "deepest queue")
	lost := func(p *reports.Partner) int64 { return p.Ledger.Lost() }
	sorted := slices.SortedStableFunc(slices.Values(partners), func(a, b reports.Partner) int { return cmp.Compare(lost(&b), lost(&a)) })
	for i := range min(len(sorted), monthPartners) {
		p := &sorted[i]
		var reasons, missing []string
		for _, reason := range slices.SortedFunc(maps.Keys(p.Drops), func(a, b string) int {
			return cmp.Or(cmp.Compare(p.Drops[b], p.Drops[a]), cmp.Compare(a, b))
		}) {
			reasons = append(reasons, fmt.Sprintf("%s %d", words(reason), p.Drops[reason]))
		}
		for _, m := range p.Money {
			missing = append(missing, money(m.MissingMicros, m.Currency))
		}
		depth := "–"
		if p.QueueDepth != nil {
			depth = fmt.Sprint(*p.QueueDepth)
		}
		t.row(p.Name, fmt.Sprint(p.Ledger.Intents), fmt.Sprint(lost(p)), share(lost(p), p.Ledger.Intents), strings.Join(reasons, ", "), strings.Join(missing, ", "), depth)
	}
	return t.String()
}

// money prints micros as "1,234.50 USD".
func money(micros int64, currency string) string {
	cents := int64(math.Round(float64(micros) / 1e4))
	sign := ""
	if cents < 0 {
		sign, cents = "−", -cents
	}
	whole := fmt.Sprint(cents / 100)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return strings.TrimSpace(fmt.Sprintf("%s%s.%02d %s", sign, whole, cents%100, currency))
}

// share prints part/whole; a dash where there is no whole.
func share(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// words makes "queue_full" readable.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }
