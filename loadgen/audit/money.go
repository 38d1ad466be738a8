package audit

import (
	"maps"
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

// account is the money of one partner, or that of the rows that are nobody's.
// The two books are kept apart and must agree.
type account struct {
	money moneyBook
	lost  lostBook
}

func newAccount() account { return account{moneyBook{}, lostBook{}} }

func (a account) clone() account { return account{maps.Clone(a.money), maps.Clone(a.lost)} }

// unexpected books a billable row that no payable intent accounts for.
func (a account) unexpected(currency postback.Currency, payout postback.Money, mechanism string) {
	m := a.money[currency]
	m.add(&m.RecordedMicros, payout)
	m.add(&m.SurplusMicros, payout)
	m.RecordedCount++
	m.SurplusCount++
	a.money[currency] = m
	a.lost.add(lostKey{currency, mechanism, true}, 1, payout)
}

// recorded books a billable row of a payable intent in its currency; what it
// means is known when all rows are (see intent).
func (a account) recorded(cell *Cell, currency postback.Currency, payout postback.Money) {
	m := a.money[currency]
	m.add(&m.RecordedMicros, payout)
	m.RecordedCount++
	if cell.Marks&markBilled != 0 {
		m.SurplusCount++
		cell.Marks |= markBilledAgain
		a.lost.add(lostKey{currency, DoubleCounted, true}, 1, 0)
	}
	cell.Marks |= markBilled
	m.add(&cell.BilledMicros, payout)
	a.money[currency] = m
}

// leftOut closes the account of a payable intent that was recorded and rightly
// not paid.
func (a account) leftOut(it *intent.Intent) {
	m := a.money[it.Currency]
	m.add(&m.LeftOutMicros, it.Payout)
	m.LeftOutCount++
	a.money[it.Currency] = m
}

// intent closes the account of any other payable intent.
func (a account) intent(it *intent.Intent, cell *Cell, fate Fate) {
	m := a.money[it.Currency]
	m.add(&m.PartnerMicros, it.Payout)
	m.PartnerCount++
	unbilled := cell.Marks&markBilled == 0
	if unbilled {
		m.MissingCount++
	}
	difference := cell.BilledMicros
	m.add(&difference, -it.Payout)
	surplus := difference >= 0
	if surplus {
		m.add(&m.SurplusMicros, difference)
	} else {
		m.add(&m.MissingMicros, -difference)
	}
	a.money[it.Currency] = m

	key := lostKey{it.Currency, WrongAmount, surplus}
	switch {
	case unbilled:
		a.lost.add(lostKey{it.Currency, cell.mechanism(fate), surplus}, 1, max(difference, -difference))
	case surplus && cell.Marks&markBilledAgain != 0:
		key.mechanism = DoubleCounted
		a.lost.add(key, 0, difference) // each row was counted when it came
	case difference != 0:
		a.lost.add(key, 1, max(difference, -difference))
	}
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

// plus adds another book's entries.
func (b moneyBook) plus(other moneyBook) {
	for currency, o := range other {
		m := b[currency]
		for _, sum := range []struct {
			to     *postback.Money
			amount postback.Money
		}{{&m.PartnerMicros, o.PartnerMicros}, {&m.RecordedMicros, o.RecordedMicros}, {&m.MissingMicros, o.MissingMicros},
			{&m.SurplusMicros, o.SurplusMicros}, {&m.LeftOutMicros, o.LeftOutMicros}} {
			m.add(sum.to, sum.amount)
		}
		m.PartnerCount += o.PartnerCount
		m.RecordedCount += o.RecordedCount
		m.MissingCount += o.MissingCount
		m.SurplusCount += o.SurplusCount
		m.LeftOutCount += o.LeftOutCount
		m.Overflowed = m.Overflowed || o.Overflowed
		b[currency] = m
	}
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
