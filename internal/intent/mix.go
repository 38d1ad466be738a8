package intent

import (
	"errors"
	"fmt"
)

// Mix gives the share of all intents that are something else than a plain
// paying sale. Shares are in [0,1].
type Mix struct {
	// BadSignatures are drawn among all intents; those of partners that sign
	// nothing stay legitimate. UnknownPartner likewise, see Partner.Anonymous.
	Duplicates, UnknownClicks, BadSignatures, Malformed, UnknownPartner, Leads float64
	// DuplicateAfterNs is the mean delay of a deliberate duplicate in ns; the
	// delays are exponential, at most ten times the mean.
	DuplicateAfterNs int64
	// Late is the share of all intents whose click is older than the offer's
	// attribution window when the run begins. They are legitimate, of offers
	// with a window, and in no chain.
	Late float64
	// Chains are the ways in which one conversion reports several events.
	// Leads and the illegitimate are drawn beside them.
	Chains []Chain
	// ChainLag is how many intents lie between two steps of a chain: 1 or more
	// where there are chains.
	ChainLag uint64
}

const (
	// maxDuplicateAfterNs keeps ten times the mean delay far from overflow.
	maxDuplicateAfterNs = 3_600_000_000_000
	// shareTolerance is how far shares may pass 1 by rounding.
	shareTolerance = 1e-9
)

// setMix turns shares of all intents into the chances that are drawn: later
// steps of chains take slots away from everything else, and what is possible
// in some slots only must be the likelier there.
func (g *Generator) setMix() error {
	m := &g.spec.Mix
	if err := m.check(); err != nil {
		return err
	}
	begun, steps := m.chainShares()
	free := 1 - steps // share of the slots that are no later step
	if err := g.setKinds(free); err != nil {
		return err
	}
	legitimate, chainable := g.legitimateShares()
	g.chains = make([]float64, len(m.Chains))
	for i, c := range m.Chains {
		if c.Share > 0 {
			g.chains[i] = chainSlots * c.Share / chainable
		}
	}
	if begun > chainable/chainSlots+shareTolerance {
		return fmt.Errorf("the shares of the chains sum to %.4g, more than %.4g: a third of the legitimate intents of partners that send events",
			begun, chainable/chainSlots)
	}
	if m.Late == 0 {
		return nil
	}
	possible := (legitimate*free - begun) * g.windowShare()
	if m.Late > possible+shareTolerance {
		return fmt.Errorf("a share of %v is to be late, but only %.4g is legitimate, of offers with an attribution window and in no chain", m.Late, max(0, possible))
	}
	g.late = m.Late / possible
	return nil
}

// check looks at each number by itself.
func (m *Mix) check() error {
	shares := []float64{m.UnknownClicks, m.BadSignatures, m.Malformed, m.UnknownPartner, m.Duplicates, m.Leads, m.Late}
	for i := range m.Chains {
		if err := m.Chains[i].check(); err != nil {
			return err
		}
		shares = append(shares, m.Chains[i].Share)
	}
	for _, share := range shares {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("a share in the mix is %v, want 0 to 1", share)
		}
	}
	begun, _ := m.chainShares()
	switch {
	case m.DuplicateAfterNs < 0 || m.DuplicateAfterNs > maxDuplicateAfterNs:
		return fmt.Errorf("duplicates come after %d ns, want 0 to %d", m.DuplicateAfterNs, int64(maxDuplicateAfterNs))
	case len(m.Chains) > MaxChains:
		return fmt.Errorf("%d kinds of chains, want at most %d", len(m.Chains), MaxChains)
	case len(m.Chains) > 0 && (m.ChainLag < 1 || m.ChainLag > MaxIndex):
		return fmt.Errorf("%d intents between two steps of a chain, want 1 to %d", m.ChainLag, uint64(MaxIndex))
	case begun > 1.0/chainSlots+shareTolerance:
		return fmt.Errorf("the shares of the chains sum to %.4g, more than a third", begun)
	}
	return nil
}

// chainShares are the shares of all intents that begin a chain, and that are
// later steps of one.
func (m *Mix) chainShares() (begun, steps float64) {
	for i := range m.Chains {
		begun += m.Chains[i].Share
		steps += m.Chains[i].Share * float64(len(m.Chains[i].Events)-1)
	}
	return begun, steps
}

// setKinds sets the chances of what is not legitimate or has no click, given
// the share of the slots in which they are drawn.
func (g *Generator) setKinds(free float64) error {
	m := &g.spec.Mix
	g.kindShares = [kinds]float64{UnknownClick: m.UnknownClicks, BadSignature: m.BadSignatures,
		Malformed: m.Malformed, UnknownPartner: m.UnknownPartner}
	sum := 0.0
	for kind := range g.kindShares {
		sum += g.kindShares[kind]
		g.kindShares[kind] /= free
	}
	if sum > free+shareTolerance {
		return fmt.Errorf("the shares of unknown clicks, bad signatures, malformed and unknown partners sum to %.4g, more than %.4g", sum, free)
	}
	for _, p := range g.spec.Partners {
		switch {
		case !(p.Unexpanded >= 0 && p.Unexpanded <= 1):
			return fmt.Errorf("partner %q leaves the macro unexpanded in a share of %v, want 0 to 1", p.Name, p.Unexpanded)
		case p.Unexpanded > 0 && p.Unexpanded > 1-sum/free+shareTolerance:
			return fmt.Errorf("partner %q: a share of %v with unexpanded macros and one of %.4g illegitimate or without a click are more than 1", p.Name, p.Unexpanded, sum/free)
		}
	}
	return nil
}

// legitimateShares are the chances that an intent which is no later step is
// legitimate and has its click, and that it may begin a chain.
func (g *Generator) legitimateShares() (legitimate, chainable float64) {
	below := 0.0
	for i := range g.spec.Partners {
		share := g.partners[i] - below
		below = g.partners[i]
		rest := 1 - g.spec.Partners[i].Unexpanded
		for kind := UnknownClick; kind < kinds; kind++ {
			if g.applies(kind, i) {
				rest -= g.kindShares[kind]
			}
		}
		legitimate += share * rest
		if !g.spec.Partners[i].NoEvents {
			chainable += share * rest
		}
	}
	return legitimate, chainable
}

// windowShare is the share of the offers with an attribution window; a list of
// the user's own clicks may differ from it.
func (g *Generator) windowShare() (share float64) {
	below := 0.0
	for i := range g.spec.Offers {
		if g.spec.Offers[i].AttributionWindowS > 0 {
			share += g.offers[i] - below
		}
		below = g.offers[i]
	}
	return share
}

// applies reports whether intents of a partner can be of a kind at all.
func (g *Generator) applies(kind Kind, partner int) bool {
	switch kind {
	case BadSignature:
		return !g.spec.Partners[partner].Unauthenticated
	case UnknownPartner:
		return !g.spec.Partners[partner].Anonymous
	}
	return true
}

// kind draws the kind of an intent that is no later step of a chain.
func (g *Generator) kind(d draws, partner int) Kind {
	u := d.uniform(saltKind)
	for k := UnknownClick; k < UnexpandedMacro; k++ {
		if u < g.kindShares[k] {
			if !g.applies(k, partner) {
				return Legitimate
			}
			return k
		}
		u -= g.kindShares[k]
	}
	if u < g.spec.Partners[partner].Unexpanded {
		return UnexpandedMacro
	}
	return Legitimate
}

func (g *Generator) isLate(r *role, offer int) bool {
	return g.late > 0 && r.kind == Legitimate && r.chain == alone &&
		g.spec.Offers[offer].AttributionWindowS > 0 && r.d.uniform(saltLate) < g.late
}

func (c *Chain) check() error {
	if len(c.Events) < 2 || len(c.Events) > chainSlots {
		return fmt.Errorf("a chain of %d events, want 2 or %d", len(c.Events), chainSlots)
	}
	for i, event := range c.Events {
		if event.String() == "" {
			return errors.New("a chain has an event that is none")
		}
		for _, before := range c.Events[:i] {
			if event == before { // the same identity twice: a repeat, no step
				return fmt.Errorf("a chain has the event %s twice", event)
			}
		}
	}
	return nil
}
