package scenarios

import (
	"errors"
	"fmt"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
)

// document is a Scenario as it is written: amounts and currencies are text.
type document struct {
	Scenario `yaml:",inline"`
	Offers   []offerDocument
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

// Parse reads a scenario from data; file is used in messages and as the place
// from which relative partner paths count. Errors are *strictyaml.Error with
// position, every mistake of the document in one joined error.
func Parse(file string, data []byte) (Scenario, error) {
	return parse(file, data, profiles.LoadPartner)
}

func parse(file string, data []byte, loadPartner func(string) (profiles.Partner, error)) (Scenario, error) {
	doc := document{Scenario: Scenario{
		Arrivals:   Arrivals{Process: DefaultProcess},
		Mix:        Mix{DuplicateAfter: strictyaml.Duration(DefaultDuplicateAfter)},
		RouterPoll: strictyaml.Duration(DefaultRouterPoll),
		source:     data,
	}}
	if err := strictyaml.Decode(file, data, &doc); err != nil {
		return Scenario{}, err
	}
	s := doc.Scenario
	for _, o := range doc.Offers {
		group := o.OfferGroup
		group.Count, group.Payout, group.Currency = 1, postback.Money(o.Payout), postback.Currency(o.Currency)
		if o.Count != nil {
			group.Count = *o.Count
		}
		s.Offers = append(s.Offers, group)
	}
	var problems strictyaml.Problems
	partnerFileErrs := s.loadPartners(file, loadPartner, &problems)
	s.check(&problems)
	if err := errors.Join(problems.In(file, data), partnerFileErrs); err != nil {
		return Scenario{}, err
	}
	return s, nil
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
