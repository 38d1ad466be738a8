package reports

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Widths to which names from outside are cut.
const (
	clickIDWidth = 40
	txIDWidth    = 20
	nameWidth    = 24
)

const indent = 2

// Summary prints all about one variant: latency, the balance sheet, money,
// caps, responses, partners, the worst lost postbacks, components and
// validity. Sections without data are left out, but not the books; latency is
// left out when the books do not balance. No line is wider than MaxColumns.
func Summary(v Variant) string {
	sections := []string{
		headText(&v), latencySection(&v), balanceSection(&v), besideSection(&v.Ledger), moneySection(&v.Ledger),
		mechanismsSection(&v.Ledger), capsSection(&v), responsesSection(v.Responses), partnersSection(&v), partnerMoneySection(&v),
		phasesSection(&v), networksSection(&v), worstSection(v.Ledger.Worst), stagesSection(&v), costsSection(&v), pathSection(&v), componentsSection(v.Components), validitySection(&v),
	}
	printed := slices.DeleteFunc(sections, func(s string) bool { return s == "" })
	return strings.Join(printed, "\n")
}

func headText(v *Variant) string {
	counted := len(countedRounds(v.Rounds))
	line := fmt.Sprintf("%s: offered %s/s, achieved %s/s", v.Name, digits3(v.OfferedPerS), digits3(v.AchievedPerS))
	if v.Durability != "" {
		line += ", durability " + v.Durability
	}
	if counted != 1 || len(v.Rounds) > 1 {
		line += fmt.Sprintf(", rounds counted %d, repeated %d", counted, len(v.Rounds)-counted)
	}
	return wrap(line, 0, indent)
}

// shown returns the block to print: an empty one when our own books do not
// balance, because a generator that miscounts may have mistimed as well.
func shown(v *Variant, l *Latency) *Latency {
	if !v.Ledger.Balanced {
		return &Latency{}
	}
	return l
}

func latencySection(v *Variant) string {
	if !v.Ledger.Balanced {
		return "latency is not printed: our own books do not balance (a bug of postbench), see validity\n"
	}
	rows := [][]string{{"latency", "count", "p50", "p90", "p95", "p99", "p99.9", "max", "censored"}}
	add := func(name string, l *Latency) {
		rows = append(rows, []string{
			name, strconv.FormatInt(l.Count, 10),
			latencyText(l.P50Us, l.Empty()), latencyText(l.P90Us, l.Empty()), latencyText(l.P95Us, l.Empty()),
			latencyText(l.P99Us, l.Empty()), latencyText(l.P999Us, l.Empty()),
			latencyText(l.MaxUs, l.Count == 0), strconv.FormatInt(l.Censored, 10),
		})
	}
	add("response", &v.Latency.Response)
	add("service", &v.Latency.Service)
	for _, phase := range []struct {
		name  string
		block *Latency
	}{
		{"  dns", &v.Phases.DNS}, {"  connect", &v.Phases.Connect}, {"  tls", &v.Phases.TLS},
		{"  wait", &v.Phases.Wait}, {"  body", &v.Phases.Body},
	} {
		if !phase.block.Empty() {
			add(phase.name, phase.block)
		}
	}
	if !v.Latency.ServiceRefused.Empty() {
		add("service, refused", &v.Latency.ServiceRefused)
	}
	if !v.Latency.Delivery.Empty() {
		add("delivery", &v.Latency.Delivery)
	}
	if !v.Latency.Recorded.Empty() {
		add("recorded", &v.Latency.Recorded)
	}
	add("lag_generator", &v.Latency.LagGenerator)
	add("lag_queue", &v.Latency.LagQueue)
	return grid(rows, 1, 0) + clockText(v)
}

// clockText says what the recorded latency rests on.
func clockText(v *Variant) string {
	c := v.Clock
	switch {
	case c == nil || v.Latency.Recorded.Empty():
		return ""
	case c.SameBoot:
		return "recorded: server clock is ours (same boot)\n"
	}
	sign := "+"
	if c.OffsetUs < 0 {
		sign = "" // the figure has its own
	}
	return fmt.Sprintf("recorded: server clock is %s%s off, ± %s (measured)\n", sign, duration(c.OffsetUs), duration(c.ErrorUs))
}

// balanceSection shows the sums rather than claiming them: what does not add
// up can be seen.
func balanceSection(v *Variant) string {
	l := &v.Ledger
	var legitimate *int64
	fatesNote := "no ledger: fates not known"
	if l.Judged() {
		n := l.Legitimate()
		legitimate, fatesNote = &n, ""
	}
	intentsSign, attemptsSign, attemptsNote := "=", "=", ""
	if l.Judged() && l.sum() != l.Intents {
		intentsSign, fatesNote = "≠", fmt.Sprintf("the fates sum up to %d", l.sum())
	}
	if sum := l.Acked + l.Refused + l.TimedOut + l.Errored; sum != l.Attempts {
		attemptsSign, attemptsNote = "≠", fmt.Sprintf("the ends sum up to %d", sum)
	}
	verdict := "  the books balance"
	if !l.Balanced {
		verdict = "  THE BOOKS DO NOT BALANCE: a fault of postbench, not of the target"
	}
	return "balance sheet\n" + sumText([]sumLine{
		{" ", "recorded", l.Recorded, ""},
		{"+", "recorded_unacked", l.RecordedUnacked, ""},
		{"+", "lost_after_ack", l.LostAfterAck, ""},
		{"+", "lost_at_partner", l.LostAtPartner, dropsText(v.Partners)},
		{"=", "legitimate", legitimate, ""},
		{"+", "rejected", l.Rejected, ""},
		{"+", "forged_accepted", l.ForgedAccepted, ""},
		{intentsSign, "intents", &l.Intents, fatesNote},
	}) + "\n" + sumText([]sumLine{
		{" ", "acked", &l.Acked, ""},
		{"+", "refused", &l.Refused, ""},
		{"+", "timed_out", &l.TimedOut, ""},
		{"+", "errored", &l.Errored, ""},
		{attemptsSign, "attempts", &l.Attempts, attemptsNote},
	}) + verdict + "\n"
}

type sumLine struct {
	sign, name string
	count      *int64
	note       string
}

func sumText(lines []sumLine) string {
	const countWidth = 12
	var b strings.Builder
	for _, line := range lines {
		sum := fmt.Sprintf("  %s %-16s %*s", line.sign, line.name, countWidth, countText(line.count))
		if line.note != "" {
			column := utf8.RuneCountInString(sum) + columnGap
			b.WriteString(sum + strings.Repeat(" ", columnGap) + strings.TrimLeft(wrap(line.note, column, column), " "))
			continue
		}
		b.WriteString(sum + "\n")
	}
	return b.String()
}

// dropsText names the reasons of all partners' losses: "queue_full 3, ...".
func dropsText(partners []Partner) string {
	sums := map[string]int64{}
	for _, p := range partners {
		addTo(sums, p.Drops)
	}
	return countsText(sums)
}

func countsText(counts map[string]int64) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		if counts[key] != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", cut(key, nameWidth), counts[key]))
		}
	}
	return strings.Join(parts, ", ")
}

// besideSection holds what is counted beside the fates.
func besideSection(l *Ledger) string {
	if !l.Judged() {
		return ""
	}
	var b strings.Builder
	line := fmt.Sprintf("loss rate: (lost_after_ack + lost_at_partner) / legitimate = %d / %d", l.Lost(), l.Legitimate())
	if l.LossRate != nil {
		line += " = " + percent(*l.LossRate)
	}
	b.WriteString(line + "\n")
	b.WriteString(wrap(fmt.Sprintf(
		"ledger: double_counted %s, phantom %s, wrong_verdict %s, wrong_payload %s, false_duplicate %s, conflicts %s, "+
			"filtered_rows %s, rows after settle %s",
		countText(l.DoubleCounted), countText(l.Phantom), countText(l.WrongVerdict), countText(l.WrongPayload),
		countText(l.FalseDuplicate), countText(l.Conflicts), countText(l.FilteredRows), countText(l.RowsAfterSettle)), 0, indent))
	if verdicts := countsText(l.Verdicts); verdicts != "" {
		b.WriteString(wrap("rows by verdict: "+verdicts, 0, indent))
	}
	if n := known(l.CapRowsDropped); n > 0 {
		b.WriteString(wrap(fmt.Sprintf("cap_rows_dropped %d: no cap window could take these rows, so the overshoot is a lower bound", n), 0, indent))
	}
	if l.AmountsOverflowed {
		b.WriteString("money: the amounts overflowed and mean nothing\n")
	}
	return b.String()
}

func moneySection(l *Ledger) string {
	if len(l.Money) == 0 {
		return ""
	}
	rows := [][]string{{"money", "", "partner", "- missing", "+ surplus", "= recorded", "discrepancy", "", "left out"}}
	for _, m := range l.Money {
		rows = append(rows,
			[]string{"  " + cut(orNoData(m.Currency), 3), "amount", micros(m.PartnerMicros, false), micros(m.MissingMicros, false), micros(m.SurplusMicros, false),
				micros(m.RecordedMicros, false), micros(m.DiscrepancyMicros(), true), signedRate(m.DiscrepancyMicros(), m.PartnerMicros),
				micros(m.LeftOutMicros, false)},
			[]string{"", "count", fmt.Sprint(m.PartnerCount), fmt.Sprint(m.MissingCount), fmt.Sprint(m.SurplusCount),
				fmt.Sprint(m.RecordedCount), fmt.Sprintf("%+d", m.RecordedCount-m.PartnerCount),
				signedRate(m.RecordedCount-m.PartnerCount, m.PartnerCount), fmt.Sprint(m.LeftOutCount)})
	}
	return grid(rows, 2, 0)
}

// signedRate is empty where the rate has no meaning.
func signedRate(part, whole int64) string {
	rate := ratioOf(part, whole)
	switch {
	case rate == nil:
		return ""
	case part > 0:
		return "+" + percent(*rate)
	}
	return percent(*rate)
}

func capsSection(v *Variant) string {
	c := v.Caps
	if c == nil || c.Offers == 0 {
		return ""
	}
	pct := func(p *float64) string {
		if p == nil {
			return noDataText
		}
		return percent(*p / 100)
	}
	rows := [][]string{
		{"caps", "worst", "worst %", "mean %", "all"},
		{"  billed overshoot", fmt.Sprint(c.BilledOvershootMax), percent(c.BilledOvershootMaxPct / 100), "", fmt.Sprint(c.BilledOvershoot)},
		{"  traffic overshoot", "", pct(c.TrafficOvershootMaxPct), pct(c.TrafficOvershootMeanPct), ""},
		{"  undershoot", "", "", "", countText(c.Undershoot)},
	}
	note := fmt.Sprintf("%d caps judged (one for each offer and cap window)", c.Offers)
	if len(countedRounds(v.Rounds)) > 1 {
		note = fmt.Sprintf("up to %d caps judged a round (one for each offer and cap window)", c.Offers)
	}
	switch {
	case c.TrafficOvershootMeanPct == nil && c.RouterPollUs == 0:
		return grid(rows, 1, 0) + wrap(note+"; no router watched the caps", indent, indent)
	case c.TrafficOvershootMeanPct == nil:
		return grid(rows, 1, 0) + wrap(note+"; none was reached while the router watched", indent, indent)
	}
	note += "; the router polled every " + duration(c.RouterPollUs)
	if c.VisibleP95Us != nil {
		note += fmt.Sprintf(" and saw a reached cap after %s (p95)", duration(*c.VisibleP95Us))
	}
	return grid(rows, 1, 0) + wrap(note, indent, indent)
}

func responsesSection(list []Response) string {
	if len(list) == 0 {
		return ""
	}
	rows := [][]string{{"responses", "count"}}
	for _, r := range list {
		name := cut(r.Error, MaxColumns/2)
		if r.Error == "" {
			name = fmt.Sprint(r.Status)
		}
		rows = append(rows, []string{"  " + name, fmt.Sprint(r.Count)})
	}
	return grid(rows, 1, 0)
}
