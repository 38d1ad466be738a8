package scenarios

import (
	"errors"
	"fmt"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/profiles"
)

// document is a Scenario as it is written: amounts, currencies and events are
// text.
type document struct {
	Scenario `yaml:",inline"`
	Mix      mixDocument
	Offers   []offerDocument
}

// Keys lists the keys of a scenario's document.
func Keys() []string { return strictyaml.Keys(document{}) }

type mixDocument struct {
	Mix    `yaml:",inline"`
	Chains []chainDocument
}

type chainDocument struct {
	Events []event
	Share  float64
}

type offerDocument struct {
	OfferGroup `yaml:",inline"`
	Count      *int // absent: 1
	Payout     amount
	Currency   currency
}

type amount postback.Money

// UnmarshalText reads "12.5".
func (a *amount) UnmarshalText(text []byte) error {
	m, err := postback.ParseMoney(text)
	if err != nil {
		return fmt.Errorf("want an amount such as 12.5 with at most 6 decimals, got %.40q", text)
	}
	*a = amount(m)
	return nil
}

type currency postback.Currency

// UnmarshalText reads "EUR".
func (c *currency) UnmarshalText(text []byte) error {
	parsed, err := postback.ParseCurrency(text)
	if err != nil {
		return fmt.Errorf("want a currency such as EUR (ISO 4217, upper case), got %.40q", text)
	}
	*c = currency(parsed)
	return nil
}

type event postback.Event

// UnmarshalText reads "sale".
func (e *event) UnmarshalText(text []byte) error {
	parsed, ok := postback.ParseEvent(text)
	if !ok {
		return errors.New(strictyaml.Unknown("event", string(text), eventNames()))
	}
	*e = event(parsed)
	return nil
}

func eventNames() []string {
	var names []string
	for e := postback.EventLead; e.String() != ""; e++ {
		names = append(names, e.String())
	}
	return names
}

// files is how a document reaches the files that it names.
type files struct {
	partner func(nameOrPath string) (profiles.Partner, error)
	trace   func(path string) (schedule.Curve, error)
}

// Parse reads a scenario from data; file is used in messages and as the place
// from which relative paths of partners and traces count. Errors are *strictyaml.Error with
// position, every mistake of the document in one joined error.
func Parse(file string, data []byte) (Scenario, error) {
	return parse(file, data, files{profiles.LoadPartner, loadTrace})
}

func parse(file string, data []byte, from files) (Scenario, error) {
	doc := document{
		Scenario: Scenario{
			Arrivals:   Arrivals{Process: DefaultProcess},
			RouterPoll: strictyaml.Duration(DefaultRouterPoll),
			TimeScale:  DefaultTimeScale,
			source:     data,
		},
		Mix: mixDocument{Mix: Mix{
			DuplicateAfter: strictyaml.Duration(DefaultDuplicateAfter),
			ChainAfter:     strictyaml.Duration(DefaultChainAfter),
		}},
	}
	var s Scenario
	var otherFilesErr error
	err := strictyaml.DecodeChecked(file, data, &doc, func(problems *strictyaml.Problems) {
		s = doc.scenario()
		s.sharePartners(problems)
		otherFilesErr = errors.Join(s.loadPartners(file, from.partner, problems), s.loadTrace(file, from.trace, problems))
		s.check(problems)
	})
	if err := errors.Join(err, otherFilesErr); err != nil {
		return Scenario{}, err
	}
	return s, nil
}

// scenario puts what was read as text into its place.
func (d *document) scenario() Scenario {
	s := d.Scenario
	s.Mix = d.Mix.Mix
	for _, c := range d.Mix.Chains {
		chain := Chain{Share: c.Share}
		for _, e := range c.Events {
			chain.Events = append(chain.Events, postback.Event(e))
		}
		s.Mix.Chains = append(s.Mix.Chains, chain)
	}
	for _, o := range d.Offers {
		group := o.OfferGroup
		group.Count, group.Payout, group.Currency = 1, postback.Money(o.Payout), postback.Currency(o.Currency)
		if o.Count != nil {
			group.Count = *o.Count
		}
		s.Offers = append(s.Offers, group)
	}
	return s
}

// sharePartners gives the partners their shares where the list's order does.
func (s *Scenario) sharePartners(problems *strictyaml.Problems) {
	if !(s.PartnersZipf > 0 && s.PartnersZipf <= MaxZipf) || len(s.Partners) > MaxPartners {
		return // no Zipf, or check says what is wrong
	}
	shares := zipf(len(s.Partners), s.PartnersZipf)
	for i := range s.Partners {
		if s.Partners[i].Share != 0 {
			problems.Add(fmt.Sprintf("partners[%d].share", i), "partners_zipf gives the shares: remove one of the two")
		}
		s.Partners[i].Share = shares[i]
	}
}

// loadTrace reads the trace that the arrivals follow; see loadPartners.
func (s *Scenario) loadTrace(file string, load func(string) (schedule.Curve, error), problems *strictyaml.Problems) error {
	a := &s.Arrivals
	if a.Process != ProcessTrace || a.File == "" {
		return nil // check says so
	}
	a.File = besides(file, a.File)
	curve, err := load(a.File)
	var positioned *strictyaml.Error
	if err != nil && !errors.As(err, &positioned) {
		problems.Add("arrivals.file", "%v", err)
		return nil
	}
	a.trace = curve
	return err
}

// loadPartners fills the partners' habits. Mistakes inside a partner's own file
// have positions there and are returned; the others become problems.
func (s *Scenario) loadPartners(file string, load func(string) (profiles.Partner, error), problems *strictyaml.Problems) error {
	var errs []error
	for i := range s.Partners {
		p := &s.Partners[i]
		if p.Profile == "" {
			continue // check says so
		}
		p.Profile = partnerPath(file, p.Profile)
		habits, err := load(p.Profile)
		var positioned *strictyaml.Error
		switch {
		case errors.As(err, &positioned):
			errs = append(errs, err)
		case err != nil:
			problems.Add(fmt.Sprintf("partners[%d].profile", i), "%v", err)
		}
		p.Habits = habits
	}
	return errors.Join(errs...)
}
