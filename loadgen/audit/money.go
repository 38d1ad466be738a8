package audit

import (
	"slices"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// Money is the discrepancy in one currency, in millionths and in conversions.
// Partner + Surplus − Missing = Recorded holds for both. An intent's billable
// rows in its own currency are summed before they are held against its payout;
// every other billable row is surplus.
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
	// Overflowed says that the amounts mean nothing: a ledger with absurd
	// payouts took a sum beyond ±9.2e12 units.
	Overflowed bool
}

// moneyBook has at most one entry per three letters.
type moneyBook map[postback.Currency]Money

// unexpected books a billable row that no payable intent accounts for.
func (b moneyBook) unexpected(currency postback.Currency, payout postback.Money) {
	m := b[currency]
	m.add(&m.RecordedMicros, payout)
	m.add(&m.SurplusMicros, payout)
	m.RecordedCount++
	m.SurplusCount++
	b[currency] = m
}

// recorded books a billable row of a payable intent in its currency; what it
// means is known when all rows are (see intent).
func (b moneyBook) recorded(cell *Cell, currency postback.Currency, payout postback.Money) {
	m := b[currency]
	m.add(&m.RecordedMicros, payout)
	m.RecordedCount++
	if cell.Marks&markBilled != 0 {
		m.SurplusCount++
	}
	cell.Marks |= markBilled
	m.add(&cell.BilledMicros, payout)
	b[currency] = m
}

// intent closes the account of a payable intent. leftOut says that it was
// recorded and rightly not paid.
func (b moneyBook) intent(it *intent.Intent, cell *Cell, leftOut bool) {
	m := b[it.Currency]
	defer func() { b[it.Currency] = m }()
	if leftOut {
		m.add(&m.LeftOutMicros, it.Payout)
		m.LeftOutCount++
		return
	}
	m.add(&m.PartnerMicros, it.Payout)
	m.PartnerCount++
	if cell.Marks&markBilled == 0 {
		m.MissingCount++
	}
	difference := cell.BilledMicros
	m.add(&difference, -it.Payout)
	if difference < 0 {
		m.add(&m.MissingMicros, -difference)
		return
	}
	m.add(&m.SurplusMicros, difference)
}

// add adds with wrap-around, so that the equation above holds whatever a
// ledger says, and notes it.
func (m *Money) add(to *postback.Money, amount postback.Money) {
	sum := *to + amount
	if amount > 0 && sum < *to || amount < 0 && sum > *to {
		m.Overflowed = true
	}
	*to = sum
}

func (b moneyBook) sorted() []Money {
	list := make([]Money, 0, len(b))
	for currency, m := range b {
		m.Currency = currency
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Money) int { return slices.Compare(a.Currency[:], b.Currency[:]) })
	return list
}

func (m *Money) balanced() bool {
	return m.PartnerMicros+m.SurplusMicros-m.MissingMicros == m.RecordedMicros &&
		m.PartnerCount+m.SurplusCount-m.MissingCount == m.RecordedCount
}
