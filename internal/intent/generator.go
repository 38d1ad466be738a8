package intent

import (
	"errors"
	"fmt"
	"hash/maphash"

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
// entry i. Offer returns -1 where the list does not say.
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
	// clickSlot leads from the hash of an own click id to its position.
	clickSlot map[uint64]int32
	hashSeed  maphash.Seed
}

// ErrSpec is wrapped by every error of New.
var ErrSpec = errors.New("cannot make intents")

// New checks the spec and returns its generator.
func New(spec Spec) (*Generator, error) {
	if len(spec.Partners) == 0 || len(spec.Offers) == 0 {
		return nil, fmt.Errorf("%w: at least one partner and one offer are needed", ErrSpec)
	}
	if spec.RunNumber > MaxRunNumber {
		return nil, fmt.Errorf("%w: run number %d is above %d", ErrSpec, spec.RunNumber, MaxRunNumber)
	}
	g := &Generator{
		spec:     spec,
		key:      mix64(spec.Seed) ^ mix64(uint64(spec.RunNumber)+0x72756e),
		clickIDs: NewCodec(spec.Seed, DomainClick),
		txIDs:    NewCodec(spec.Seed, DomainTx),
	}
	partners := make([]float64, len(spec.Partners))
	for i, p := range spec.Partners {
		partners[i] = p.Share
	}
	offers := make([]float64, len(spec.Offers))
	for i, o := range spec.Offers {
		offers[i] = o.Share
	}
	g.partners, g.offers = cumulative(partners), cumulative(offers)
	if err := g.setKinds(spec.Mix); err != nil {
		return nil, err
	}
	if spec.Clicks != nil {
		g.indexClicks()
	}
	return g, nil
}

func (g *Generator) setKinds(m Mix) error {
	g.kindShares = [kinds]float64{UnknownClick: m.UnknownClicks, BadSignature: m.BadSignatures,
		Malformed: m.Malformed, UnknownPartner: m.UnknownPartner}
	sum := 0.0
	for kind, share := range g.kindShares {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("%w: share of %s is %v, want 0 to 1", ErrSpec, Kind(kind), share)
		}
		sum += share
	}
	if sum > 1 {
		return fmt.Errorf("%w: the shares of unknown clicks, bad signatures, malformed and unknown partners sum to %v, more than 1", ErrSpec, sum)
	}
	return nil
}

// At fills it with intent index. It does not allocate.
func (g *Generator) At(index uint64, it *Intent) {
	d := draws{key: mix64(g.key ^ mix64(index))}
	*it = Intent{Index: index, clickBuffer: it.clickBuffer, txBuffer: it.txBuffer}
	it.Partner = pick(g.partners, d.uniform(saltPartner))
	it.Offer = pick(g.offers, d.uniform(saltOffer))
	it.Kind = g.kind(d.uniform(saltKind))
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

func (g *Generator) kind(u float64) Kind {
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
	d := draws{key: mix64(g.key ^ mix64(index))}
	return g.spec.EpochUnixS - 60 - int64(d.uniform(saltClickAge)*3540)
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
// does, and the click list where the template carries none.
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
