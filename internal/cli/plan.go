package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/loadgen/transport"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/scenarios"
)

// plan is scenario and profile turned into what the packages below need. It
// is checked as a whole before anything starts.
type plan struct {
	scenario  scenarios.Scenario
	profile   profiles.Profile
	spec      intent.Spec // of run number 0 of this plan
	templates []postback.Template
	clicks    clickFile
	warmup    time.Duration
	replay    []schedule.Replayed
	speed     float64
	atRate    bool // the replayed requests carry no times of their own
	grace     time.Duration
	notes     []string // what the user should know before the run
}

// tailGrace is how long after the last due time a run waits for stragglers,
// on top of the longest timeout and retry schedule of its partners.
const tailGrace = 5 * time.Second

func newPlan(t *traffic, own *ownTemplate, now time.Time) (*plan, error) {
	scenario, profile, err := t.load()
	if err != nil {
		return nil, err
	}
	epoch, err := t.epochOrNow(now)
	if err != nil {
		return nil, err
	}
	p := &plan{scenario: scenario, profile: profile, warmup: time.Duration(scenario.Warmup)}
	p.spec = intent.Spec{
		Seed: t.seed, RunNumber: t.runNumber, EpochUnixS: epoch,
		Mix: intent.Mix{
			Duplicates: scenario.Mix.Duplicates, UnknownClicks: scenario.Mix.UnknownClicks, BadSignatures: scenario.Mix.BadSignatures,
			Malformed: scenario.Mix.Malformed, UnknownPartner: scenario.Mix.UnknownPartner, Leads: scenario.Mix.Leads,
			DuplicateAfterNs: int64(scenario.Mix.DuplicateAfter),
		},
		Offers: offersOf(&scenario),
	}
	for i := range scenario.Partners {
		partner := &scenario.Partners[i]
		p.spec.Partners = append(p.spec.Partners, intent.Partner{Name: partner.Name, Share: partner.Share})
		template, err := own.templateFor(&partner.Habits)
		if err != nil {
			return nil, err
		}
		p.templates = append(p.templates, template)
		p.grace = max(p.grace, patience(&partner.Habits))
	}
	p.grace += tailGrace
	if t.clicks != "" {
		if p.clicks, err = readClicks(t.clicks, p.spec.Offers); err != nil {
			return nil, err
		}
		p.spec.Clicks = p.clicks.list
	}
	return p, p.check(1)
}

// check makes sure that a number of rounds can be played.
func (p *plan) check(rounds uint32) error {
	if err := p.tellable(); err != nil {
		return err
	}
	for round := range rounds {
		if _, err := p.generator(round); err != nil {
			return err
		}
		n, err := p.intents(round)
		if err != nil {
			return err
		}
		switch clicks := p.clicks.list; {
		case n == 0:
			return fmt.Errorf("%v/s for %v make no postback at all: raise --rate or --duration", p.scenario.Arrivals.RatePerS, p.duration())
		case clicks != nil && uint64(clicks.Len()) < n:
			return fmt.Errorf("%s holds %d click ids, the run needs %d: lower --rate or --duration, or export more", p.clicks.path, clicks.Len(), n)
		}
	}
	return nil
}

// patience is how long after its due time a postback of a partner may still
// be under way.
func patience(habits *profiles.Partner) time.Duration {
	total := time.Duration(habits.Timeout)
	for _, delay := range habits.Retries {
		total += time.Duration(delay) + time.Duration(habits.Timeout)
	}
	return total
}

// offersOf spreads the scenario's offer groups into single offers.
func offersOf(s *scenarios.Scenario) []intent.Offer {
	var offers []intent.Offer
	for _, group := range s.Offers {
		for _, id := range group.OfferIDs() {
			offers = append(offers, intent.Offer{
				ID: id, Share: group.Share / float64(group.Count), Payout: group.Payout, Currency: group.Currency,
				Cap: group.Cap, AttributionWindowS: int64(time.Duration(group.AttributionWindow) / time.Second),
			})
		}
	}
	return offers
}

// generator returns the intents of round number round of this plan.
func (p *plan) generator(round uint32) (*intent.Generator, error) {
	spec := p.spec
	spec.RunNumber += round
	return intent.New(spec)
}

// schedule returns the due times of a round.
func (p *plan) schedule(round uint32) (schedule.Schedule, error) {
	if p.replay != nil && !p.atRate {
		return schedule.Replay(p.replay, p.speed)
	}
	rate, duration := p.scenario.Arrivals.RatePerS, int64(p.scenario.Duration)
	if p.scenario.Arrivals.Process == scenarios.ProcessPoisson {
		return schedule.Poisson(rate, duration, p.spec.Seed^uint64(p.spec.RunNumber+round+1)<<32)
	}
	return schedule.Constant(rate, duration)
}

// duration is the length of a round, warm-up included.
func (p *plan) duration() time.Duration { return time.Duration(p.scenario.Duration) }

// intents is how many intents a round has.
func (p *plan) intents(round uint32) (uint64, error) {
	s, err := p.schedule(round)
	if err != nil {
		return 0, err
	}
	return uint64(schedule.Count(s)), nil
}

// carries tells the judge what each partner's requests say.
func (p *plan) carries() []audit.Carries {
	var list []audit.Carries
	for i := range p.templates {
		t := &p.templates[i]
		list = append(list, audit.Carries{TxID: t.Has("txid"), OfferID: t.Has("offer_id"), Event: t.Has("event"),
			Payout: t.Has("payout"), Currency: t.Has("currency")})
	}
	return list
}

// connection says how partners reach the target.
type connection struct {
	origin   string
	caFile   string
	insecure bool
}

// partners returns the senders of a run against an origin.
func (p *plan) partners(to connection) ([]loadgen.Partner, error) {
	address, host, useTLS, err := transport.HostPort(to.origin)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", to.origin, err)
	}
	var secure *tls.Config
	if useTLS {
		if secure, err = to.tlsConfig(); err != nil {
			return nil, err
		}
		secure.ServerName = hostOnly(host)
	}
	var list []loadgen.Partner
	for i := range p.scenario.Partners {
		habits := &p.scenario.Partners[i].Habits
		retry, err := retryPolicy(habits)
		if err != nil {
			return nil, err
		}
		config := transport.HTTP1Config{Address: address, Host: host, TLS: secure, CloseEach: !habits.KeepAlive, UserAgent: "postbench"}
		list = append(list, loadgen.Partner{
			Name: p.scenario.Partners[i].Name, Template: p.templates[i], Connections: habits.Connections,
			Timeout: time.Duration(habits.Timeout), Queue: habits.Queue, Retry: retry,
			NewSender: func() loadgen.Sender { return transport.NewHTTP1(config) }, Origin: to.origin, TLS: secure, CloseEach: !habits.KeepAlive,
		})
	}
	return list, nil
}

func retryPolicy(habits *profiles.Partner) (intent.RetryPolicy, error) {
	var policy intent.RetryPolicy
	for _, delay := range habits.Retries {
		policy.DelaysNs = append(policy.DelaysNs, int64(delay))
	}
	for _, rule := range habits.RetryOn {
		if err := policy.Set(intent.RetryRule(rule)); err != nil {
			return policy, fmt.Errorf("partner profile %s: %w", habits.Name, err)
		}
	}
	return policy, nil
}

// tlsConfig says which certificates are believed.
func (c connection) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: c.insecure, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	if c.caFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(c.caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: no PEM certificate in %s", c.caFile)
	}
	return config, nil
}
