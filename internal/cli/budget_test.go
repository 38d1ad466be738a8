package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/reports"
)

func TestStagesOf(t *testing.T) {
	if stages := stagesOf(nil); stages == nil || len(stages) > 0 {
		t.Errorf("no budget gives %v, want an empty list", stages)
	}
	got := stagesOf(&loadgen.Budget{Parts: []loadgen.Part{{Name: loadgen.PartLag, MeanNs: 1500, TailMeanNs: 2e6}, {Name: "php"}}})
	if want := []reports.Stage{{Name: "lag", MeanUs: 1.5, P90ToP99MeanUs: 2000}, {Name: "php"}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestBudgetNotes(t *testing.T) {
	if text := budgetNotes(nil) + budgetNotes(&loadgen.Budget{Requests: 10, Kept: 10}); text != "" {
		t.Errorf("nothing to tell, but %q", text)
	}
	text := budgetNotes(&loadgen.Budget{Requests: 10, Clipped: 3, Other: 4, Cut: 5})
	for i, want := range []string{"3 of 10 answers", `4 times in Server-Timing count as stage "other"`, "of 5 answers"} {
		if lines := strings.Split(text, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[i], "note: "+want) {
			t.Errorf("line %d of %q, want %q", i, text, want)
		}
	}
}
