package scenarios

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/profiles"
)

// Limits of a scenario.
const (
	MaxDuration       = 24 * time.Hour
	MaxPartners       = 64
	MaxOffers         = 10_000 // all groups together
	MaxPayout         = postback.Money(1_000_000 * 1_000_000)
	MaxCap            = 1_000_000_000
	MaxWindow         = 365 * 24 * time.Hour
	MaxDuplicateAfter = time.Minute
	MinRouterPoll     = time.Millisecond
	MaxRouterPoll     = 10 * time.Second
)

// shareTolerance is how far shares may miss a sum of 1: the rounding error of
// written decimals. More is a mistake, and normalising would hide it.
const shareTolerance = 1e-9

// Validate checks a scenario that was changed after it was read, e.g. by flags.
// Its errors carry no positions.
func (s Scenario) Validate() error {
	var problems strictyaml.Problems
	s.check(&problems)
	if err := problems.Err(); err != nil {
		return fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return nil
}

func (s Scenario) check(problems *strictyaml.Problems) {
	if !strictyaml.IsName(s.Name) {
		problems.Add("name", "want %s, got %q", strictyaml.NameRule, s.Name)
	}
	if len(s.About) > profiles.MaxAboutBytes || strings.Contains(s.About, "\n") {
		problems.Add("about", "want one line of at most %d bytes", profiles.MaxAboutBytes)
	}
	s.checkTime(problems)
	s.checkPartners(problems)
	s.checkMix(problems)
	s.checkOffers(problems)
}

func (s Scenario) checkTime(problems *strictyaml.Problems) {
	if processes := []string{ProcessConstant, ProcessPoisson}; !slices.Contains(processes, s.Arrivals.Process) {
		problems.Add("arrivals.process", "%s", strictyaml.Unknown("process", s.Arrivals.Process, processes))
	}
	rate := s.Arrivals.RatePerS
	if !(rate > 0 && rate <= schedule.MaxRatePerS) {
		problems.Add("arrivals.rate_per_s", "want more than 0 and at most %.0f, got %v", schedule.MaxRatePerS, rate)
	}
	switch {
	case s.Duration <= 0 || time.Duration(s.Duration) > MaxDuration:
		problems.Add("duration", "want more than 0s and at most %s, got %s", strictyaml.Duration(MaxDuration), s.Duration)
	case rate*time.Duration(s.Duration).Seconds() > schedule.MaxIntents:
		problems.Add("duration", "%v/s for %s are more than %d postbacks", rate, s.Duration, int64(schedule.MaxIntents))
	case s.Warmup < 0 || s.Warmup >= s.Duration:
		problems.Add("warmup", "want less than the duration of %s, which includes it, got %s", s.Duration, s.Warmup)
	}
	if poll := time.Duration(s.RouterPoll); poll < MinRouterPoll || poll > MaxRouterPoll {
		problems.Add("router_poll", "want %s to %s, got %s", MinRouterPoll, MaxRouterPoll, s.RouterPoll)
	}
}

func (s Scenario) checkPartners(problems *strictyaml.Problems) {
	if n := len(s.Partners); n == 0 || n > MaxPartners {
		problems.Add("partners", "want 1 to %d partners, got %d", MaxPartners, n)
		return
	}
	sum := 0.0
	names := map[string]bool{}
	for i, p := range s.Partners {
		path := fmt.Sprintf("partners[%d].", i)
		switch {
		case !strictyaml.IsName(p.Name):
			problems.Add(path+"name", "want %s, got %q", strictyaml.NameRule, p.Name)
		case p.Name == intent.StrangerKID:
			problems.Add(path+"name", "%q is the key id of unknown partners: choose another name", p.Name)
		case names[p.Name]:
			problems.Add(path+"name", "a second partner %q", p.Name)
		}
		names[p.Name] = true
		if p.Profile == "" {
			problems.Add(path+"profile", "want a partner profile: %s or a path", strings.Join(profiles.PartnerNames(), ", "))
		}
		checkPositiveShare(problems, path+"share", p.Share)
		sum += p.Share
	}
	checkSum(problems, "partners", sum)
}

func (s Scenario) checkMix(problems *strictyaml.Problems) {
	m := s.Mix
	sum := 0.0
	for _, share := range []struct {
		key       string
		value     float64
		exclusive bool // an intent is at most one of these
	}{
		{"duplicates", m.Duplicates, false},
		{"unknown_clicks", m.UnknownClicks, true},
		{"bad_signatures", m.BadSignatures, true},
		{"malformed", m.Malformed, true},
		{"unknown_partner", m.UnknownPartner, true},
		{"leads", m.Leads, false},
	} {
		if !(share.value >= 0 && share.value <= 1) {
			problems.Add("mix."+share.key, "want a share of 0 to 1, got %v", share.value)
		}
		if share.exclusive {
			sum += share.value
		}
	}
	if sum > 1+shareTolerance {
		problems.Add("mix", "unknown_clicks, bad_signatures, malformed and unknown_partner sum to %.9g, want at most 1", sum)
	}
	if after := time.Duration(m.DuplicateAfter); after < 0 || after > MaxDuplicateAfter {
		problems.Add("mix.duplicate_after", "want at most %s, got %s", strictyaml.Duration(MaxDuplicateAfter), m.DuplicateAfter)
	}
	s.checkSigned(problems, "mix.bad_signatures", m.BadSignatures)
	s.checkSigned(problems, "mix.unknown_partner", m.UnknownPartner)
}

// checkSigned refuses forgeries where a partner does not sign: nobody could
// tell them from its honest postbacks.
func (s Scenario) checkSigned(problems *strictyaml.Problems, path string, share float64) {
	if !(share > 0) {
		return
	}
	for _, p := range s.Partners {
		if p.Habits.Template != "" && !p.Habits.Signed() {
			problems.Add(path, "partner %q (profile %s) does not sign: give it a signed profile or set this to 0", p.Name, p.Profile)
		}
	}
}

func (s Scenario) checkOffers(problems *strictyaml.Problems) {
	if len(s.Offers) == 0 {
		problems.Add("offers", "want at least one offer")
		return
	}
	sum, total := 0.0, 0
	owner := map[string]int{}
	for i, g := range s.Offers {
		path := fmt.Sprintf("offers[%d].", i)
		g.check(problems, path)
		sum += g.Share
		if g.Count < 1 || g.Count > MaxOffers-total {
			problems.Add(path+"count", "want 1 to %d offers in all groups together, got %d", MaxOffers, g.Count)
			continue
		}
		total += g.Count
		for _, id := range g.OfferIDs() {
			if first, taken := owner[id]; taken {
				problems.Add(path+"id", "offer %q is in offers[%d] already", id, first)
				break
			}
			owner[id] = i
		}
	}
	checkSum(problems, "offers", sum)
}

func (g OfferGroup) check(problems *strictyaml.Problems, path string) {
	if !strictyaml.IsName(g.ID) {
		problems.Add(path+"id", "want %s, got %q", strictyaml.NameRule, g.ID)
	}
	checkPositiveShare(problems, path+"share", g.Share)
	if g.Payout < 0 || g.Payout > MaxPayout {
		problems.Add(path+"payout", "want 0 to %s, got %s", MaxPayout, g.Payout)
	}
	if g.Currency == (postback.Currency{}) {
		problems.Add(path+"currency", "want a currency such as EUR")
	}
	if g.Cap < 0 || g.Cap > MaxCap {
		problems.Add(path+"cap", "want 0 (none) to %d, got %d", MaxCap, g.Cap)
	}
	window := time.Duration(g.AttributionWindow)
	if window < 0 || window > MaxWindow || window%time.Second != 0 {
		problems.Add(path+"attribution_window", "want whole seconds of at most %s, 0s for no limit, got %s",
			strictyaml.Duration(MaxWindow), g.AttributionWindow)
	}
}

func checkPositiveShare(problems *strictyaml.Problems, path string, share float64) {
	if !(share > 0 && share <= 1) {
		problems.Add(path, "want a share above 0 and at most 1, got %v", share)
	}
}

func checkSum(problems *strictyaml.Problems, path string, sum float64) {
	if !(math.Abs(sum-1) <= shareTolerance) {
		problems.Add(path, "the shares sum to %.9g, want 1", sum)
	}
}
