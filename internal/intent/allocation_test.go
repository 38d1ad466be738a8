//go:build !race

package intent

import "testing"

func TestAtDoesNotAllocate(t *testing.T) {
	own := testSpec()
	own.Clicks = ownClicks(t, "a\nb\n", own.Offers)
	ownChains := chainSpec()
	ownChains.Clicks = own.Clicks
	for name, spec := range map[string]Spec{"generated": testSpec(), "own clicks": own, "chains": chainSpec(), "chains of own clicks": ownChains} {
		g := newGenerator(t, spec)
		var it Intent
		if n := testing.AllocsPerRun(1_000, func() {
			g.At(it.Index+1, &it)
			g.Legitimate(it.Index)
			g.Admissible(&it, 1, 2)
			g.FindEvent(it.ClickID, it.TxID, it.Event)
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
