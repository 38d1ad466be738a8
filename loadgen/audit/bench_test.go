package audit

import (
	"testing"

	"github.com/postbench/postbench/internal/intent"
)

// A run of 10 minutes at 5,000/s.
const longRun = 3_000_000

func BenchmarkPoll(b *testing.B) {
	spec := testSpec()
	h := newHistory(b, spec, longRun)
	for i := range h.cfg.Cells {
		h.play(uint64(i), intent.Acked)
	}
	row := h.row(7, intent.Billable)
	b.Run("NewJudge", func(b *testing.B) {
		for b.Loop() {
			NewJudge(h.cfg)
		}
	})
	j := NewJudge(h.cfg)
	b.Run("Row", func(b *testing.B) {
		for b.Loop() {
			j.Row(&row)
		}
	})
	b.Run("AllFound", func(b *testing.B) {
		for b.Loop() {
			j.AllFound()
		}
	})
	b.Run("Sheet", func(b *testing.B) {
		for b.Loop() {
			j.Sheet()
		}
	})
}
