package reports

import (
	"fmt"
	"slices"
	"strings"
)

// ChaosName names a variant under a fault, as ChaosTable reads it.
func ChaosName(variant, fault string) string { return variant + "[" + fault + "]" }

// ChaosTable prints what became of postbacks when something broke: one row a
// variant, for each fault how many were lost after the ack and how many were
// never acked; a fault that was not done to a variant has dashes. The variants
// named unbroken have nothing but dashes: they are not among variants. Below,
// what is known of every loss after an ack, and what each class has kept.
func ChaosTable(variants []Variant, faults []string, unbroken ...string) string {
	byName := map[string]*Variant{}
	var names []string
	for i := range variants {
		v := &variants[i]
		byName[v.Name] = v
		for _, fault := range faults {
			if name, ok := strings.CutSuffix(v.Name, ChaosName("", fault)); ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	head, unit := []string{"", "dura-"}, []string{"variant", "bility"}
	for _, fault := range faults {
		head, unit = append(head, fault+":", "never"), append(unit, "lost acked", "acked")
	}
	rows := [][]string{head, unit}
	notes, kept := "", map[string]*keptByClass{}
	for _, name := range slices.Concat(names, unbroken) {
		row := []string{cut(clean(name), nameWidth), noDataText}
		for _, fault := range faults {
			v := byName[ChaosName(name, fault)]
			if v == nil || !wasBroken(v) {
				row = append(row, noDataText, noDataText)
			} else {
				row = append(row, countText(v.Ledger.LostAfterAck), countText(v.Ledger.LostAtPartner))
			}
			if v != nil {
				row[1] = orNoData(v.Durability)
				notes += chaosNotes(v)
				keep(kept, name, v)
			}
		}
		rows = append(rows, row)
	}
	return grid(rows, 1, 0) + "\n" + notes + keptText(kept)
}

// wasBroken tells whether the fault was done to the variant in every counted round.
func wasBroken(v *Variant) bool {
	return len(v.Faults) > 0 && len(v.Faults) >= len(countedRounds(v.Rounds))
}

// keptByClass are the variants of a durability class that lost nothing acked.
type keptByClass struct {
	variants []string
	acked    int64
}

func keep(kept map[string]*keptByClass, name string, v *Variant) {
	lost := v.Ledger.LostAfterAck
	if lost == nil || *lost > 0 || !v.Ledger.Balanced || !wasBroken(v) || v.Durability == "" {
		return
	}
	of := kept[v.Durability]
	if of == nil {
		of = &keptByClass{}
		kept[v.Durability] = of
	}
	of.acked += known(v.Ledger.Recorded)
	if under := fmt.Sprintf("%s (%s)", name, strings.TrimSuffix(strings.TrimPrefix(v.Name, name+"["), "]")); !slices.Contains(of.variants, under) {
		of.variants = append(of.variants, under)
	}
}

func keptText(kept map[string]*keptByClass) string {
	text := ""
	for _, class := range []string{"D0", "D1", "D2", "D3"} {
		if of := kept[class]; of != nil {
			text += wrap(fmt.Sprintf("%s lost none of %d acked postbacks in: %s", class, of.acked, strings.Join(of.variants, ", ")), 0, indent)
		}
	}
	return text
}

// chaosNotes says where acked postbacks went, as far as the server's counts
// tell; empty where none was lost.
func chaosNotes(v *Variant) string {
	lost := v.Ledger.LostAfterAck
	switch {
	case !wasBroken(v):
		return wrap(fmt.Sprintf("%s was not broken: %s", v.Name, orNoData(strings.Join(v.Validity.Reasons, "; "))), 0, indent)
	case lost == nil || !v.Ledger.Balanced:
		return wrap(fmt.Sprintf("%s: what was lost is not known: %s", v.Name, strings.Join(v.Validity.Reasons, "; ")), 0, indent)
	case *lost == 0:
		return ""
	}
	text := fmt.Sprintf("%s (%s) lost %d of %d acked postbacks", v.Name, orNoData(v.Durability), *lost, known(v.Ledger.Recorded)+*lost)
	return wrap(text+": "+strings.Join(lossCauses(v.Path), ", "), 0, indent)
}

// lossCauses are the counts of the server's processes that tell of losses.
func lossCauses(p *Path) []string {
	var causes []string
	if p != nil {
		if p.RecordsExpired > 0 {
			causes = append(causes, fmt.Sprintf("%d records expired in the edge's Redis before central confirmed them", p.RecordsExpired))
		}
		if p.DroppedAfterAnswer > 0 {
			causes = append(causes, fmt.Sprintf("%d were answered before they met a full buffer", p.DroppedAfterAnswer))
		}
		if n := p.Unaccounted(); n != nil && *n > 0 {
			causes = append(causes, fmt.Sprintf("%d records were sent in datagrams and never committed", *n))
		}
	}
	if len(causes) == 0 {
		causes = []string{"no living process has counted them; what was killed took its counts along"}
	}
	return causes
}
