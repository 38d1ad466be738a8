package intent

import (
	"errors"
	"fmt"
	"math"

	"github.com/postbench/postbench/internal/postback"
)

// Offer is one offer that conversions are sent for.
type Offer struct {
	ID       string
	Share    float64 // weight among the offers
	Payout   postback.Money
	Currency postback.Currency
	Cap      int64 // payable conversions per cap window; 0 = no cap
	// AttributionWindowS is how long after the click a conversion still
	// counts, in seconds; 0 = for ever.
	AttributionWindowS int64
}

// Mix gives the share of all intents that are something else than a plain
// paying sale. Shares are in [0,1].
type Mix struct {
	Duplicates, UnknownClicks, BadSignatures, Malformed, UnknownPartner, Leads float64
	// DuplicateAfterNs is the mean delay of a deliberate duplicate in ns; the
	// delays are exponential, at most ten times the mean.
	DuplicateAfterNs int64
}

// Partner is what an intent needs to know of its sender.
type Partner struct {
	Name  string
	Share float64 // weight among the partners
}

// Clicks is a list of the user's own click ids, used in order: intent i uses
// entry i, and the list starts over at its end. Click gives a position in
// Spec.Offers, or -1 where the list does not say; the same entry always gives
// the same answer, and nobody writes to it.
type Clicks interface {
	Len() int
	Click(i int) (clickID []byte, offer int)
}

// Spec is everything that the intents of a run are a function of.
type Spec struct {
	Seed      uint64
	RunNumber uint32
	// EpochUnixS is the run's start on the clock that signatures and click
	// times carry, in Unix seconds.
	EpochUnixS int64
	Partners   []Partner
	Offers     []Offer
	Mix        Mix
	Clicks     Clicks // nil: click ids are made from seed, run number and index
}

// Generator makes intents. It is immutable and safe for concurrent use.
type Generator struct {
	spec       Spec
	key        uint64
	clickIDs   Codec
	txIDs      Codec
	partners   []float64
	offers     []float64
	kindShares [kinds]float64
	clickSlots clickTable
}

// ErrSpec is wrapped by every error of New.
var ErrSpec = errors.New("cannot make intents")

const (
	// maxDuplicateAfterNs keeps ten times the mean delay far from overflow.
	maxDuplicateAfterNs = 3_600_000_000_000
	// shareTolerance is how far shares may pass 1 by rounding.
	shareTolerance = 1e-9
)

// New checks the spec and returns its generator.
func New(spec Spec) (*Generator, error) {
	g := &Generator{
		spec:     spec,
		key:      mix64(mix64(spec.Seed) + 0x72756e + uint64(spec.RunNumber)), // "run"
		clickIDs: NewCodec(spec.Seed, DomainClick),
		txIDs:    NewCodec(spec.Seed, DomainTx),
	}
	for _, step := range []func() error{g.setPartners, g.setOffers, g.setMix, g.setClicks} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSpec, err)
		}
	}
	return g, nil
}

func (g *Generator) setPartners() (err error) {
	if g.spec.RunNumber > MaxRunNumber {
		return fmt.Errorf("run number %d is above %d", g.spec.RunNumber, MaxRunNumber)
	}
	shares := make([]float64, len(g.spec.Partners))
	for i, p := range g.spec.Partners {
		shares[i] = p.Share
	}
	g.partners, err = weights("partners", shares)
	return err
}

func (g *Generator) setOffers() (err error) {
	shares := make([]float64, len(g.spec.Offers))
	ids := make(map[string]bool, len(g.spec.Offers))
	for i, o := range g.spec.Offers {
		shares[i] = o.Share
		switch {
		case ids[o.ID]:
			return fmt.Errorf("offer %q is there twice", o.ID)
		case o.Cap < 0 || o.AttributionWindowS < 0:
			return fmt.Errorf("offer %q: cap %d and attribution window %d s must not be negative", o.ID, o.Cap, o.AttributionWindowS)
		}
		ids[o.ID] = true
	}
	g.offers, err = weights("offers", shares)
	return err
}

// weights checks what cumulative relies on.
func weights(what string, shares []float64) ([]float64, error) {
	sum := 0.0
	for i, share := range shares {
		if !(share >= 0 && share <= math.MaxFloat32) {
			return nil, fmt.Errorf("share %d of the %s is %v, want 0 or more", i, what, share)
		}
		sum += share
	}
	if sum == 0 {
		return nil, fmt.Errorf("no %s with a share above 0", what)
	}
	return cumulative(shares), nil
}

func (g *Generator) setMix() error {
	m := g.spec.Mix
	g.kindShares = [kinds]float64{UnknownClick: m.UnknownClicks, BadSignature: m.BadSignatures,
		Malformed: m.Malformed, UnknownPartner: m.UnknownPartner}
	sum := 0.0
	for _, share := range g.kindShares {
		sum += share
	}
	for _, share := range append(g.kindShares[:], m.Duplicates, m.Leads) {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("a share in the mix is %v, want 0 to 1", share)
		}
	}
	switch {
	case sum > 1+shareTolerance:
		return fmt.Errorf("the shares of unknown clicks, bad signatures, malformed and unknown partners sum to %v, more than 1", sum)
	case m.DuplicateAfterNs < 0 || m.DuplicateAfterNs > maxDuplicateAfterNs:
		return fmt.Errorf("duplicates come after %d ns, want 0 to %d", m.DuplicateAfterNs, int64(maxDuplicateAfterNs))
	}
	return nil
}

func (g *Generator) setClicks() error {
	clicks := g.spec.Clicks
	if clicks == nil {
		return nil
	}
	if clicks.Len() < 1 || clicks.Len() > MaxClicks {
		return fmt.Errorf("%d click ids, want 1 to %d", clicks.Len(), MaxClicks)
	}
	for i := range clicks.Len() {
		if _, offer := clicks.Click(i); offer < -1 || offer >= len(g.spec.Offers) {
			return fmt.Errorf("click id %d belongs to offer number %d of %d", i, offer, len(g.spec.Offers))
		}
	}
	g.clickSlots = newClickTable(clicks, func(index uint64) bool { return g.kind(g.draws(index)) != UnknownClick })
	return nil
}

// At fills it with intent index, at most MaxIndex. It does not allocate.
func (g *Generator) At(index uint64, it *Intent) {
	d := g.draws(index)
	*it = Intent{Index: index, clickBuffer: it.clickBuffer, txBuffer: it.txBuffer}
	it.Partner = pick(g.partners, d.uniform(saltPartner))
	it.Offer = pick(g.offers, d.uniform(saltOffer))
	it.Kind = g.kind(d)
	if it.Kind == Malformed {
		it.Malformation = Malformation(d.bits(saltMalformation) % uint64(Malformations))
	}
	it.TxID = g.txIDs.Append(it.txBuffer[:0], g.spec.RunNumber, index)
	if g.spec.Clicks == nil {
		it.ClickID = g.clickIDs.Append(it.clickBuffer[:0], g.spec.RunNumber, index)
	} else {
		g.ownClick(index, it)
	}
	offer := &g.spec.Offers[it.Offer]
	it.Event, it.Payout, it.Currency = postback.EventSale, offer.Payout, offer.Currency
	if d.uniform(saltEvent) < g.spec.Mix.Leads {
		it.Event, it.Payout = postback.EventLead, 0
	}
	if d.uniform(saltDuplicate) < g.spec.Mix.Duplicates {
		it.DuplicateAfterNs = g.duplicateDelayNs(d)
	}
}

// Legitimate tells of intent index what Kind.Legitimate does, without making
// the rest of it.
func (g *Generator) Legitimate(index uint64) bool { return g.kind(g.draws(index)).Legitimate() }

func (g *Generator) draws(index uint64) draws { return draws{key: mix64(g.key ^ mix64(index))} }

func (g *Generator) kind(d draws) Kind {
	u := d.uniform(saltKind)
	for k := UnknownClick; k < kinds; k++ {
		if u < g.kindShares[k] {
			return k
		}
		u -= g.kindShares[k]
	}
	return Legitimate
}

// duplicateDelayNs is at least 1 ns: 0 would mean "no duplicate".
func (g *Generator) duplicateDelayNs(d draws) int64 {
	mean := float64(g.spec.Mix.DuplicateAfterNs)
	return int64(mean*min(d.exponential(saltDuplicateDelay), 10)) + 1
}

// Spec returns what the generator was made from.
func (g *Generator) Spec() *Spec { return &g.spec }

// ClickUnixS is when the click of an intent happened: one minute to one hour
// before the run's epoch.
func (g *Generator) ClickUnixS(index uint64) int64 {
	return g.spec.EpochUnixS - 60 - int64(g.draws(index).uniform(saltClickAge)*3540)
}

// Owner says whose row this is.
type Owner uint8

const (
	// Foreign rows carry no id of this seed.
	Foreign Owner = iota
	// OtherRun rows belong to another run of this seed.
	OtherRun
	// ThisRun rows belong to this run; the index may still lie beyond what
	// was sent.
	ThisRun
)

// Find turns the ids of a ledger row back into the intent's index. With
// generated click ids the click id decides; with the user's own, the txid
// does, and the click list where the txid is none of ours. It does not look
// whether the other id agrees. A click id that the list holds several times
// leads to the first intent that was sent with it.
func (g *Generator) Find(clickID, txID []byte) (index uint64, owner Owner) {
	if g.spec.Clicks != nil {
		return g.findOwnClick(clickID, txID)
	}
	run, index, ok := g.clickIDs.Decode(clickID)
	return index, g.owner(run, ok)
}

func (g *Generator) owner(run uint32, ok bool) Owner {
	switch {
	case !ok:
		return Foreign
	case run != g.spec.RunNumber:
		return OtherRun
	}
	return ThisRun
}
