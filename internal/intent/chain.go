package intent

import "github.com/postbench/postbench/internal/postback"

// Chain is one conversion that is reported several times, each time with
// another event: a lead that becomes a sale, a sale that is refunded. Its
// steps are intents of their own with the ids of the first.
type Chain struct {
	Events []postback.Event // 2 or 3, all different
	Share  float64          // of all intents that begin such a chain
}

const (
	// MaxChains is how many kinds of chains a mix may have.
	MaxChains = 16
	// chainSlots is the longest chain. Indexes are divided into blocks of
	// ChainLag; of three blocks the first holds beginnings, the second second
	// steps and the third third steps, each at its beginning's offset. So a step
	// knows its beginning without a table, and the other way round.
	chainSlots = 3
	// alone stands for "in no chain".
	alone = -1
)

// role is what an intent is: by itself, or a step of a chain.
type role struct {
	origin  uint64 // the intent that it has its ids, click, partner and offer from
	d       draws  // origin's
	partner int
	kind    Kind
	chain   int // position in Mix.Chains, or alone
	step    int // 0 = the beginning, or alone
}

func (g *Generator) role(index uint64) role {
	if len(g.chains) == 0 {
		return g.first(index)
	}
	lag := g.spec.Mix.ChainLag
	if step := index / lag % chainSlots; step > 0 {
		r := g.first(index - step*lag)
		if r.chain != alone && int(step) < len(g.spec.Mix.Chains[r.chain].Events) {
			r.step = int(step)
			return r
		}
	}
	return g.first(index)
}

// first is the role of an intent that is no later step of a chain.
func (g *Generator) first(index uint64) role {
	r := role{origin: index, d: g.draws(index), chain: alone}
	r.partner = pick(g.partners, r.d.uniform(saltPartner))
	r.kind = g.kind(r.d, r.partner)
	if len(g.chains) == 0 || index/g.spec.Mix.ChainLag%chainSlots != 0 ||
		r.kind != Legitimate || g.spec.Partners[r.partner].NoEvents {
		return r
	}
	u := r.d.uniform(saltChain)
	for i, chance := range g.chains {
		if u < chance {
			r.chain = i
			break
		}
		u -= chance
	}
	return r
}

func (g *Generator) offer(r *role) int {
	if g.spec.Clicks != nil {
		if _, offer := g.ownClick(r.origin); offer >= 0 {
			return offer
		}
	}
	return pick(g.offers, r.d.uniform(saltOffer))
}

// FindEvent is Find for a row that may belong to a later step of a chain: the
// event says to which. A row without one (EventNone), or with one that the
// chain has not, belongs to the beginning.
func (g *Generator) FindEvent(clickID, txID []byte, event postback.Event) (index uint64, owner Owner) {
	index, owner = g.Find(clickID, txID)
	if owner != ThisRun || event == postback.EventNone || len(g.chains) == 0 {
		return index, owner
	}
	r := g.first(index)
	if r.chain == alone {
		return index, owner
	}
	for step, e := range g.spec.Mix.Chains[r.chain].Events {
		if e == event {
			index += uint64(step) * g.spec.Mix.ChainLag
			break
		}
	}
	return index, owner
}
