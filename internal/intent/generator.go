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
	// CapWindowS is how long a cap counts before it counts anew, in seconds:
	// windows follow each other from the Unix epoch, a day from midnight UTC. 0
	// = the whole life.
	CapWindowS int64
}

// Partner is what an intent needs to know of its sender.
type Partner struct {
	Name  string
	Share float64 // weight among the partners
	// Unauthenticated partners sign nothing: BadSignature does not apply.
	Unauthenticated bool
	// Anonymous partners' requests do not say whose they are: UnknownPartner
	// does not apply.
	Anonymous bool
	// NoEvents partners do not say the event: chains do not apply, their steps
	// could not be told apart.
	NoEvents bool
	// Unexpanded is the share of its intents whose payout macro is sent as it
	// is written, later steps of chains left out: kind UnexpandedMacro. Only for
	// partners whose requests carry the payout.
	Unexpanded float64
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
	// TimeScale compresses the ages of clicks, as the caller has compressed the
	// offers' attribution windows; 1 or less leaves them as they are.
	TimeScale float64
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
	chains     []float64 // chance of each chain where one may begin
	late       float64   // chance of being late where that is possible
	clickSlots clickTable
}

// ErrSpec is wrapped by every error of New.
var ErrSpec = errors.New("cannot make intents")

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
		case o.Cap < 0 || o.AttributionWindowS < 0 || o.CapWindowS < 0:
			return fmt.Errorf("offer %q: cap %d, attribution window %d s and cap window %d s must not be negative", o.ID, o.Cap, o.AttributionWindowS, o.CapWindowS)
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
	g.clickSlots = newClickTable(clicks, func(index uint64) bool {
		r := g.role(index)
		return r.step == 0 && r.kind != UnknownClick
	})
	return nil
}

// At fills it with intent index, at most MaxIndex. It does not allocate.
func (g *Generator) At(index uint64, it *Intent) {
	d, r := g.draws(index), g.role(index)
	*it = Intent{Index: index, Origin: r.origin, Partner: r.partner, Kind: r.kind, clickBuffer: it.clickBuffer, txBuffer: it.txBuffer}
	it.Offer = g.offer(&r)
	it.Late = g.isLate(&r, it.Offer)
	if it.Kind == Malformed {
		it.Malformation = Malformation(d.bits(saltMalformation) % uint64(Malformations))
	}
	it.TxID = g.txIDs.Append(it.txBuffer[:0], g.spec.RunNumber, r.origin)
	if g.spec.Clicks == nil || it.Kind == UnknownClick {
		it.ClickID = g.clickIDs.Append(it.clickBuffer[:0], g.spec.RunNumber, r.origin)
	} else {
		it.ClickID, _ = g.ownClick(r.origin)
	}
	g.pay(&r, d, it)
	if d.uniform(saltDuplicate) < g.spec.Mix.Duplicates {
		it.DuplicateAfterNs = g.duplicateDelayNs(d)
	}
}

// pay sets the event and what it is worth. A refund takes back what its sale
// paid; a lead and a rejection are worth nothing.
func (g *Generator) pay(r *role, d draws, it *Intent) {
	offer := &g.spec.Offers[it.Offer]
	it.Event, it.Payout, it.Currency = postback.EventSale, offer.Payout, offer.Currency
	switch {
	case r.chain != alone:
		events := g.spec.Mix.Chains[r.chain].Events
		it.Event, it.ChainSteps = events[r.step], len(events)
	case d.uniform(saltEvent) < g.spec.Mix.Leads:
		it.Event = postback.EventLead
	}
	switch it.Event {
	case postback.EventLead, postback.EventRejected:
		it.Payout = 0
	case postback.EventRefund:
		it.Payout = -offer.Payout
	}
}

// Legitimate tells of intent index what Kind.Legitimate does, without making
// the rest of it.
func (g *Generator) Legitimate(index uint64) bool { return g.role(index).kind.Legitimate() }

func (g *Generator) draws(index uint64) draws { return draws{key: mix64(g.key ^ mix64(index))} }

// duplicateDelayNs is at least 1 ns: 0 would mean "no duplicate".
func (g *Generator) duplicateDelayNs(d draws) int64 {
	mean := float64(g.spec.Mix.DuplicateAfterNs)
	return int64(mean*min(d.exponential(saltDuplicateDelay), 10)) + 1
}

// Spec returns what the generator was made from.
func (g *Generator) Spec() *Spec { return &g.spec }

// ClickUnixS is when the click of an intent happened: one minute to one hour
// before the run's epoch, in compressed time, and the whole attribution window
// earlier if the intent is late.
func (g *Generator) ClickUnixS(index uint64) int64 {
	r := g.role(index)
	ageS := 60 + r.d.uniform(saltClickAge)*3540
	clickedUnixS := g.spec.EpochUnixS - int64(ageS/max(1, g.spec.TimeScale))
	if g.late > 0 {
		if offer := g.offer(&r); g.isLate(&r, offer) {
			clickedUnixS -= g.spec.Offers[offer].AttributionWindowS
		}
	}
	return clickedUnixS
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
// leads to the first intent that was sent with it. The ids of a chain lead to
// its beginning; see FindEvent.
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
