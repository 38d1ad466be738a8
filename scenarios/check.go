package scenarios

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/expect"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
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
	MaxZipf           = 4.0 // beyond it, nearly all goes to the first
	MaxChains         = 8
	MinChainEvents    = 2
	MaxChainEvents    = 3
	MaxChainAfter     = time.Hour
	MaxSurges         = 64
	MaxSurgeTimes     = 100
	MaxTimeScale      = 100_000.0 // a month in half a minute
	MaxExpect         = 64
	MaxRampPoints     = 1_000
	MaxPeakToTrough   = 1_000
	MinPeriod         = 100 * time.Millisecond
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
	s.checkChains(problems)
	s.checkOffers(problems)
	s.checkExpect(problems)
	s.checkTogether(problems)
}

func (s Scenario) checkTime(problems *strictyaml.Problems) {
	duration := time.Duration(s.Duration)
	s.Arrivals.check(problems)
	switch {
	case duration <= 0 || duration > MaxDuration:
		problems.Add("duration", "want more than 0s and at most %s, got %s", strictyaml.Duration(MaxDuration), s.Duration)
	case s.Warmup < 0 || s.Warmup >= s.Duration:
		problems.Add("warmup", "want less than the duration of %s, which includes it, got %s", s.Duration, s.Warmup)
	default:
		s.Arrivals.checkRun(problems, duration)
	}
	if poll := time.Duration(s.RouterPoll); poll < MinRouterPoll || poll > MaxRouterPoll {
		problems.Add("router_poll", "want %s to %s, got %s", MinRouterPoll, MaxRouterPoll, s.RouterPoll)
	}
	if !(s.TimeScale >= 1 && s.TimeScale <= MaxTimeScale) {
		problems.Add("time_scale", "want 1 (as it is) to %.0f, got %v", MaxTimeScale, s.TimeScale)
	}
	if s.Grace < 0 || time.Duration(s.Grace) > MaxDuration {
		problems.Add("grace", "want at most %s, 0s for as long as retries last, got %s", strictyaml.Duration(MaxDuration), s.Grace)
	}
	s.checkSlow(problems)
}

func (s Scenario) checkSlow(problems *strictyaml.Problems) {
	slow := s.ServerSlow
	if slow == nil {
		return
	}
	if slow.At < 0 || slow.At >= s.Duration && s.Duration > 0 {
		problems.Add("server_slow.at", "want less than the duration of %s, got %s", s.Duration, slow.At)
	}
	if slow.For <= 0 || time.Duration(slow.For) > MaxDuration {
		problems.Add("server_slow.for", "want more than 0s and at most %s, got %s", strictyaml.Duration(MaxDuration), slow.For)
	}
	if slow.Add <= 0 || time.Duration(slow.Add) > profiles.MaxTimeout {
		problems.Add("server_slow.add", "want more than 0s and at most %s, got %s", strictyaml.Duration(profiles.MaxTimeout), slow.Add)
	}
}

func (s Scenario) checkExpect(problems *strictyaml.Problems) {
	if len(s.Expect) > MaxExpect {
		problems.Add("expect", "%d expectations, want at most %d", len(s.Expect), MaxExpect)
	}
	names := make([]string, len(s.Partners))
	allRead := !problems.Unread("partners")
	for i, p := range s.Partners {
		names[i] = p.Name
		allRead = allRead && !problems.Unread(fmt.Sprintf("partners[%d].name", i))
	}
	for i, text := range s.Expect {
		path := fmt.Sprintf("expect[%d]", i)
		e, err := expect.Parse(text)
		switch {
		case err != nil:
			problems.Add(path, "%v", err)
		case allRead && e.Partner != "" && !slices.Contains(names, e.Partner):
			problems.Add(path, "%s", strictyaml.Unknown("partner", e.Partner, names))
		}
	}
}

func (s Scenario) checkPartners(problems *strictyaml.Problems) {
	if n := len(s.Partners); n == 0 || n > MaxPartners {
		problems.Add("partners", "want 1 to %d partners, got %d", MaxPartners, n)
		return
	}
	broken := !(s.PartnersZipf >= 0 && s.PartnersZipf <= MaxZipf) || problems.Unread("partners_zipf") // then it gave no shares
	if broken {
		problems.Add("partners_zipf", "want an exponent above 0 and at most %v, got %v", MaxZipf, s.PartnersZipf)
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
		if p.Region != "" && !strictyaml.IsName(p.Region) {
			problems.Add(path+"region", "want %s, got %q", strictyaml.NameRule, p.Region)
		}
		if !broken {
			checkPositiveShare(problems, path+"share", p.Share)
		}
		sum += p.Share
	}
	if !broken {
		checkSum(problems, "partners", len(s.Partners), sum)
	}
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
		{"late", m.Late, false},
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
	if after := time.Duration(m.ChainAfter); after < 0 || after > MaxChainAfter {
		problems.Add("mix.chain_after", "want at most %s, got %s", strictyaml.Duration(MaxChainAfter), m.ChainAfter)
	}
	s.checkForgeries(problems, "mix.bad_signatures", m.BadSignatures, "authenticates its postbacks", profiles.Partner.Authenticates)
	s.checkForgeries(problems, "mix.unknown_partner", m.UnknownPartner, "says who it is", func(h profiles.Partner) bool { return !anonymous(h) })
}

// checkForgeries refuses them where no partner sends what could be forged:
// nobody could tell them from honest postbacks. Of several partners, those that
// do not are left alone.
func (s Scenario) checkForgeries(problems *strictyaml.Problems, path string, share float64, does string, can func(profiles.Partner) bool) {
	if !(share > 0) || len(s.Partners) == 0 {
		return
	}
	for _, p := range s.Partners {
		if p.Habits.Template == "" || can(p.Habits) {
			return // one that could not be read may be one that does
		}
	}
	problems.Add(path, "no partner %s: give one a profile such as signed or set this to 0", does)
}

func (s Scenario) checkChains(problems *strictyaml.Problems) {
	if len(s.Mix.Chains) > MaxChains {
		problems.Add("mix.chains", "%d chains, want at most %d", len(s.Mix.Chains), MaxChains)
	}
	for i, c := range s.Mix.Chains {
		path := fmt.Sprintf("mix.chains[%d].", i)
		if n := len(c.Events); n < MinChainEvents || n > MaxChainEvents {
			problems.Add(path+"events", "want %d or %d events, got %d", MinChainEvents, MaxChainEvents, n)
		}
		for j, e := range c.Events {
			at := fmt.Sprintf("%sevents[%d]", path, j)
			switch {
			case slices.Contains(c.Events[:j], e):
				problems.Add(at, "a second %s: it would be a duplicate of the first", e)
			case j == 0 && e.Reverses():
				problems.Add(at, "a chain cannot begin with %s: nothing would be reversed", e)
			}
		}
		checkPositiveShare(problems, path+"share", c.Share)
	}
}

// checkTogether asks package intent whether sound numbers go together.
func (s Scenario) checkTogether(problems *strictyaml.Problems) {
	if problems.Len() > 0 || problems.UnreadIn("") {
		return
	}
	if _, err := intent.New(s.IntentSpec()); err != nil {
		problems.Add("mix", "%v", err)
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
	checkSum(problems, "offers", len(s.Offers), sum)
}

func (g OfferGroup) check(problems *strictyaml.Problems, path string) {
	if !strictyaml.IsName(g.ID) {
		problems.Add(path+"id", "want %s, got %q", strictyaml.NameRule, g.ID)
	}
	checkPositiveShare(problems, path+"share", g.Share)
	if !(g.Zipf >= 0 && g.Zipf <= MaxZipf) {
		problems.Add(path+"zipf", "want an exponent above 0 and at most %v, got %v", MaxZipf, g.Zipf)
	}
	if g.Payout < 0 || g.Payout > MaxPayout {
		problems.Add(path+"payout", "want 0 to %s, got %s", MaxPayout, g.Payout)
	}
	if g.Currency == (postback.Currency{}) {
		problems.Add(path+"currency", "want a currency such as EUR")
	}
	if g.Cap < 0 || g.Cap > MaxCap {
		problems.Add(path+"cap", "want 0 (none) to %d, got %d", MaxCap, g.Cap)
	}
	every := time.Duration(g.CapEvery)
	switch {
	case every < 0 || every > MaxWindow || every%time.Second != 0:
		problems.Add(path+"cap_every", "want whole seconds of at most %s, 0s for a cap that never resets, got %s",
			strictyaml.Duration(MaxWindow), g.CapEvery)
	case every > 0 && g.Cap == 0:
		problems.Add(path+"cap_every", "there is no cap that could reset: set cap or remove this")
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

// checkSum looks at the shares of all n entries of a list, if all are known.
func checkSum(problems *strictyaml.Problems, list string, n int, sum float64) {
	for i := range n {
		if problems.Unread(fmt.Sprintf("%s[%d].share", list, i)) {
			return
		}
	}
	if !(math.Abs(sum-1) <= shareTolerance) {
		problems.Add(list, "the shares sum to %.9g, want 1", sum)
	}
}
