package reports

import (
	"fmt"
	"strings"
)

// worstSection gives two lines to each lost postback: who it was, and its
// timeline relative to the moment it was due.
func worstSection(list []LostPostback) string {
	if len(list) == 0 {
		return ""
	}
	rows := [][]string{}
	for i, lost := range list[:min(len(list), MaxWorst)] {
		rows = append(rows, []string{
			fmt.Sprintf("%3d.", i+1), cut(lost.ClickID, clickIDWidth), cut(orNoData(lost.TxID), txIDWidth),
			cut(orNoData(lost.Event), 8), cut(lost.Partner, nameWidth/2), micros(lost.PayoutMicros, false), cut(lost.Currency, 3),
		})
	}
	var b strings.Builder
	b.WriteString("worst lost postbacks: click_id, txid, event, partner, payout; times relative to due\n")
	for i, line := range strings.Split(strings.TrimSuffix(grid(rows, 5, 0), "\n"), "\n") {
		b.WriteString(line + "\n")
		b.WriteString(wrap(fateText(&list[i]), 6, 8))
	}
	return b.String()
}

func fateText(lost *LostPostback) string {
	text := lost.Fate
	if lost.Reason != "" {
		text += " (" + lost.Reason + ")"
	}
	text += fmt.Sprintf(": run %d intent %d, due at %s", lost.RunNumber, lost.Index, duration(float64(lost.DueNs)/1e3))
	if lost.DispatchedNs == nil {
		return text + ", never sent"
	}
	text += ", sent " + sinceDue(lost, *lost.DispatchedNs)
	if lost.AckNs != nil {
		text += ", acked at " + sinceDue(lost, *lost.AckNs)
	}
	// After an ack only a later attempt has anything to add.
	if lost.AckNs == nil || lost.EndNs != nil && *lost.EndNs > *lost.AckNs {
		text += lastAttemptText(lost)
	}
	if lost.Attempts != 1 {
		text += fmt.Sprintf(", %d attempts", lost.Attempts)
	}
	return text
}

func lastAttemptText(lost *LostPostback) string {
	text := ""
	if lost.EndNs != nil {
		text = ", ended " + sinceDue(lost, *lost.EndNs)
	}
	switch {
	case lost.LastStatus != 0:
		return text + fmt.Sprintf(", last status %d", lost.LastStatus)
	case lost.AckNs != nil:
		return text + ", last outcome " + orNoData(lost.LastOutcome)
	case lost.LastOutcome != "":
		return text + ", no answer: " + lost.LastOutcome
	}
	return text + ", no answer"
}

func sinceDue(lost *LostPostback, atNs int64) string {
	elapsedNs := atNs - lost.DueNs
	if elapsedNs < 0 {
		return duration(float64(elapsedNs) / 1e3)
	}
	return "+" + duration(float64(elapsedNs)/1e3)
}

func stagesSection(v *Variant) string {
	if len(v.Stages) == 0 || !v.Ledger.Balanced {
		return ""
	}
	rows := [][]string{{"stages", "mean", "mean of p90 to p99"}}
	for _, s := range v.Stages {
		if s.MeanUs > 0 { // else nobody opened a connection, or had its name looked up
			rows = append(rows, []string{"  " + cut(s.Name, nameWidth), duration(s.MeanUs), duration(s.P90ToP99MeanUs)})
		}
	}
	return grid(rows, 1, 0)
}

func componentsSection(list []Component) string {
	if len(list) == 0 {
		return ""
	}
	rows := [][]string{{"components", "", "", ""}}
	for _, c := range list {
		embedded := ""
		if c.Embedded {
			embedded = "embedded"
		}
		rows = append(rows, []string{
			"  " + cut(c.Role, nameWidth), cut(orNoData(c.Implementation), nameWidth), cut(orNoData(c.Version), 2*nameWidth), embedded,
		})
	}
	return grid(rows, len(rows[0]), 0)
}

func validitySection(v *Variant) string {
	var b strings.Builder
	b.WriteString("validity: " + clean(v.Validity.Verdict) + "\n")
	for _, reason := range v.Validity.Reasons {
		b.WriteString(wrap("- "+reason, indent, 2*indent))
	}
	for _, r := range v.Rounds {
		if !r.Counted {
			b.WriteString(wrap(repeatedText(&r), indent, 2*indent))
		}
	}
	return b.String()
}

// repeatedText also tells what the round had found: repeating it must not hide
// a fault of the target.
func repeatedText(r *Round) string {
	text := fmt.Sprintf("round %d was repeated: %s", r.Round, strings.Join(r.Validity.Reasons, "; "))
	var found []string
	for _, finding := range []struct {
		name  string
		count int64
	}{
		{"lost", r.Ledger.Lost()}, {"double_counted", known(r.Ledger.DoubleCounted)}, {"forged_accepted", known(r.Ledger.ForgedAccepted)},
	} {
		if finding.count > 0 {
			found = append(found, fmt.Sprintf("%s %d", finding.name, finding.count))
		}
	}
	if len(found) > 0 {
		text += "; it had " + strings.Join(found, ", ")
	}
	return text
}

func orNoData(s string) string {
	if s == "" {
		return noDataText
	}
	return s
}
