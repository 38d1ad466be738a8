package reports

import (
	"fmt"
	"strings"
)

// ChaosName names a variant under a fault, as ChaosTable reads it.
func ChaosName(variant, fault string) string { return variant + "[" + fault + "]" }

// ChaosTable prints what became of postbacks when something broke: one row a
// variant, for each fault how many were lost after the ack and how many were
// never acked; below it, for every loss after an ack, what is known of it.
func ChaosTable(variants []Variant, faults []string) string {
	byName := map[string]*Variant{}
	var names []string
	for i := range variants {
		v := &variants[i]
		byName[v.Name] = v
		if name, of, ok := strings.Cut(v.Name, "["); ok && of == faults[0]+"]" {
			names = append(names, name)
		}
	}
	head, unit := []string{"", "dura-"}, []string{"variant", "bility"}
	for _, fault := range faults {
		head, unit = append(head, fault+":", "never"), append(unit, "lost acked", "acked")
	}
	rows := [][]string{head, unit}
	notes := ""
	for _, name := range names {
		row := []string{cut(clean(name), nameWidth), ""}
		for _, fault := range faults {
			v := byName[ChaosName(name, fault)]
			if v == nil {
				row = append(row, noDataText, noDataText)
				continue
			}
			row[1] = orNoData(v.Durability)
			row = append(row, countText(v.Ledger.LostAfterAck), countText(v.Ledger.LostAtPartner))
			notes += chaosNotes(v)
		}
		rows = append(rows, row)
	}
	return grid(rows, 1, 0) + "\n" + notes
}

// chaosNotes says where acked postbacks went, as far as the server's counts
// tell; empty where none was lost.
func chaosNotes(v *Variant) string {
	lost := v.Ledger.LostAfterAck
	switch {
	case lost == nil || !v.Ledger.Balanced:
		return wrap(fmt.Sprintf("%s: what was lost is not known: %s", v.Name, strings.Join(v.Validity.Reasons, "; ")), 0, indent)
	case *lost == 0:
		return ""
	}
	text := fmt.Sprintf("%s (%s) lost %d of %d acked postbacks", v.Name, orNoData(v.Durability), *lost, v.Ledger.Acked)
	var known []string
	if p := v.Path; p != nil {
		for _, cause := range []struct {
			n    int64
			what string
		}{
			{p.RecordsExpired, "records expired in the edge's Redis before central confirmed them"},
			{p.DroppedAfterAnswer, "were answered before they met a full buffer"},
		} {
			if cause.n > 0 {
				known = append(known, fmt.Sprintf("%d %s", cause.n, cause.what))
			}
		}
		if n := p.Unaccounted(); n != nil && *n > 0 {
			known = append(known, fmt.Sprintf("%d records were sent in datagrams that nobody received", *n))
		}
	}
	if len(known) == 0 {
		known = []string{"they were in the process that was killed"}
	}
	return wrap(text+": "+strings.Join(known, ", "), 0, indent)
}
