//go:build !race

package intent

import "testing"

func TestAtDoesNotAllocate(t *testing.T) {
	own := testSpec()
	own.Clicks = ownClicks(t, "a\nb\n", own.Offers)
	for name, spec := range map[string]Spec{"generated": testSpec(), "own clicks": own} {
		g := newGenerator(t, spec)
		var it Intent
		if n := testing.AllocsPerRun(1_000, func() {
			g.At(it.Index+1, &it)
			g.Legitimate(it.Index)
			g.Admissible(&it, 1, 2)
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
