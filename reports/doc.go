// Package reports holds what a run leaves behind: the result document and its
// published JSON Schema, the merging of rounds, the comparison of variants,
// and the text printed from them.
//
// The package only describes and compares figures. It measures nothing, reads
// no clock and knows neither the generator nor the server, so that any result
// file can be printed and compared again later, on any machine.
//
// The usual path of a document:
//
//	v := Variant{...}.WithRound(...)        // one run, as measured
//	v, err := MergeRuns([]Variant{v, ...})  // all rounds of one variant
//	cmp := Compare(variants, baseName)
//	err = WriteFile(path, Result{Variants: variants, Comparison: cmp, ...})
//	fmt.Print(Table(variants), Sentence(cmp...))
//
// Two kinds of absence are kept apart everywhere. A percentile that is null
// although there are entries fell on a censored one: it prints "unacked" and
// counts as slower than everything. A figure that could not be known at all
// (no ledger, no caps, no entries) is null too, prints "-", and takes part in
// no comparison.
package reports
