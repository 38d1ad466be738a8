package cli

import (
	"fmt"

	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/reports"
)

// stagesOf turns the latency budget into the result document's form; empty
// without one.
func stagesOf(b *loadgen.Budget) []reports.Stage {
	stages := []reports.Stage{}
	if b == nil {
		return stages
	}
	for _, part := range b.Parts {
		stages = append(stages, reports.Stage{Name: part.Name, MeanUs: part.MeanNs / 1e3, P90ToP99MeanUs: part.TailMeanNs / 1e3})
	}
	return stages
}

// budgetNotes says what of the server's own account could not be taken as it
// came.
func budgetNotes(b *loadgen.Budget) string {
	text := ""
	if b == nil {
		return text
	}
	if b.Clipped > 0 {
		text += fmt.Sprintf("note: %d of %d answers named more time in Server-Timing than they took: their stages are made smaller to fit; do stages contain each other?\n", b.Clipped, b.Requests)
	}
	if b.Other > 0 {
		text += fmt.Sprintf("note: %d times in Server-Timing count as stage %q: a run tells %d names apart, of up to %d bytes\n",
			b.Other, loadgen.OtherStage, loadgen.MaxStageKinds, loadgen.MaxStageNameBytes)
	}
	if b.Cut > 0 {
		text += fmt.Sprintf("note: of %d answers Server-Timing was too long: what was not read of it counts as %s\n", b.Cut, loadgen.PartNetwork)
	}
	return text
}
