package audit

import (
	"slices"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// Money is the discrepancy in one currency, in millionths and in conversions.
// Partner + Surplus − Missing = Recorded holds for both.
type Money struct {
	Currency postback.Currency
	// Partner is what the partner counts: legitimate payable intents, those
	// left out under LeftOut not included.
	PartnerMicros, RecordedMicros, MissingMicros, SurplusMicros postback.Money
	PartnerCount, RecordedCount, MissingCount, SurplusCount     int64
	// LeftOut were recorded, unpaid for an admissible reason: over the cap,
	// late, unattributed.
	LeftOutMicros postback.Money
	LeftOutCount  int64
}

type moneyBook map[postback.Currency]*Money

func (b moneyBook) in(currency postback.Currency) *Money {
	m, ok := b[currency]
	if !ok {
		m = &Money{Currency: currency}
		b[currency] = m
	}
	return m
}

// unexpected books a billable row that should not be there.
func (b moneyBook) unexpected(currency postback.Currency, payout postback.Money) {
	m := b.in(currency)
	m.RecordedMicros += payout
	m.RecordedCount++
	m.SurplusMicros += payout
	m.SurplusCount++
}

// billable books the first billable row of a legitimate intent.
func (b moneyBook) billable(it *intent.Intent, currency postback.Currency, payout postback.Money) {
	if !it.Payable() {
		b.unexpected(currency, payout)
		return
	}
	partner := b.in(it.Currency)
	partner.PartnerMicros += it.Payout
	partner.PartnerCount++
	if currency != it.Currency {
		partner.MissingMicros += it.Payout
		partner.MissingCount++
		b.unexpected(currency, payout)
		return
	}
	partner.RecordedMicros += payout
	partner.RecordedCount++
	partner.SurplusMicros += max(0, payout-it.Payout)
	partner.MissingMicros += max(0, it.Payout-payout)
}

// missing books a payable intent without a billable row.
func (b moneyBook) missing(it *intent.Intent) {
	m := b.in(it.Currency)
	m.PartnerMicros += it.Payout
	m.PartnerCount++
	m.MissingMicros += it.Payout
	m.MissingCount++
}

// leftOut books a payable intent that was recorded and rightly not paid.
func (b moneyBook) leftOut(it *intent.Intent) {
	m := b.in(it.Currency)
	m.LeftOutMicros += it.Payout
	m.LeftOutCount++
}

func (b moneyBook) sorted() []Money {
	list := make([]Money, 0, len(b))
	for _, m := range b {
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b Money) int { return slices.Compare(a.Currency[:], b.Currency[:]) })
	return list
}

func (m *Money) balanced() bool {
	return m.PartnerMicros+m.SurplusMicros-m.MissingMicros == m.RecordedMicros &&
		m.PartnerCount+m.SurplusCount-m.MissingCount == m.RecordedCount
}
