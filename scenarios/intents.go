package scenarios

import (
	"math"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
)

// IntentSpec returns what package intent makes the postbacks of; seed, run
// number, epoch and clicks of one's own are the caller's to add. Attribution
// and cap windows are compressed by TimeScale, to a second at the least. The
// scenario's numbers of offers must be sound.
func (s Scenario) IntentSpec() intent.Spec {
	m := s.Mix
	spec := intent.Spec{TimeScale: s.TimeScale, Mix: intent.Mix{
		Duplicates: m.Duplicates, UnknownClicks: m.UnknownClicks, BadSignatures: m.BadSignatures,
		Malformed: m.Malformed, UnknownPartner: m.UnknownPartner, Leads: m.Leads, Late: m.Late,
		DuplicateAfterNs: int64(m.DuplicateAfter), ChainLag: s.ChainLag(),
	}}
	for _, c := range m.Chains {
		spec.Mix.Chains = append(spec.Mix.Chains, intent.Chain{Events: c.Events, Share: c.Share})
	}
	for _, p := range s.Partners {
		spec.Partners = append(spec.Partners, intent.Partner{
			Name: p.Name, Share: p.Share, Unauthenticated: !p.Habits.Authenticates(), Anonymous: anonymous(p.Habits),
			NoEvents: !p.Habits.SendsEvents(), Unexpanded: p.Habits.UnexpandedMacros,
		})
	}
	for _, g := range s.Offers {
		parts := zipf(g.Count, g.Zipf)
		for i, id := range g.OfferIDs() {
			spec.Offers = append(spec.Offers, intent.Offer{ID: id, Share: g.Share * parts[i], Payout: g.Payout,
				Currency: g.Currency, Cap: g.Cap, AttributionWindowS: s.compressedS(g.AttributionWindow), CapWindowS: s.compressedS(g.CapEvery)})
		}
	}
	return spec
}

// compressedS is an attribution or cap window in the run's time; 0 stays 0.
func (s Scenario) compressedS(window strictyaml.Duration) int64 {
	if window == 0 {
		return 0
	}
	return max(1, int64(math.Round(time.Duration(window).Seconds()/max(1, s.TimeScale))))
}

// anonymous partners' requests do not say whose they are: all are sent to the
// same address, without a key's name.
func anonymous(habits profiles.Partner) bool { return habits.Template == profiles.TemplatePlain }

// illegitimate is the share of all intents that are not to be recorded, or
// only as unattributed.
func (s Scenario) illegitimate() float64 {
	m := s.Mix
	share := m.UnknownClicks + m.Malformed + m.BadSignatures*s.shareOf(profiles.Partner.Authenticates) +
		m.UnknownPartner*s.shareOf(func(p profiles.Partner) bool { return !anonymous(p) })
	for _, p := range s.Partners {
		share += p.Share * p.Habits.UnexpandedMacros
	}
	return min(1, share)
}

// shareOf is the share of the partners with such habits.
func (s Scenario) shareOf(habit func(profiles.Partner) bool) (share float64) {
	for _, p := range s.Partners {
		if habit(p.Habits) {
			share += p.Share
		}
	}
	return share
}

// paying is the share of a group's intents that pay, caps aside.
func (s Scenario) paying(g OfferGroup) float64 {
	if g.Payout == 0 {
		return 0
	}
	inChains, payingChains := 0.0, 0.0
	for _, c := range s.Mix.Chains {
		inChains += c.Share * float64(len(c.Events))
		for _, e := range c.Events {
			if e != postback.EventLead && !e.Reverses() {
				payingChains += c.Share
			}
		}
	}
	alone := 1 - inChains - s.illegitimate()
	if g.AttributionWindow > 0 {
		alone -= s.Mix.Late / s.windowShare()
	}
	return min(1, max(0, alone*(1-s.Mix.Leads))+payingChains)
}

// windowShare is the share of the offers with an attribution window.
func (s Scenario) windowShare() (share float64) {
	for _, g := range s.Offers {
		if g.AttributionWindow > 0 {
			share += g.Share
		}
	}
	return share
}
