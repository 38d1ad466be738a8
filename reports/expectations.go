package reports

// Expectations prints what had to hold: one row each, the variant's name only
// where there are several. It is empty without any.
func Expectations(list []Expectation) string {
	if len(list) == 0 {
		return ""
	}
	several := false
	for _, e := range list {
		several = several || e.Variant != list[0].Variant
	}
	rows := [][]string{{"expectations", "observed", "", ""}}
	for _, e := range list {
		verdict, variant := "holds", ""
		if !e.Holds {
			verdict = "FAILS"
		}
		if several {
			variant = cut(e.Variant, nameWidth)
		}
		rows = append(rows, []string{"  " + cut(e.Text, 3*nameWidth), cut(e.Observed, nameWidth), verdict, variant})
	}
	return grid(rows, len(rows[0]), 0)
}
