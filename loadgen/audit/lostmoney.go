package audit

import (
	"cmp"
	"slices"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// The mechanisms of LostMoney beside the words of intent.Reason, which say why
// a partner gave up.
const (
	// LostAfterAck: acked, and the ledger has no row for it.
	LostAfterAck = "lost_after_ack"
	// WrongVerdict: recorded and not paid although it had to be, or paid
	// although it reports nothing to pay.
	WrongVerdict = "wrong_verdict"
	// WrongCurrency: paid in another currency: missing in one, surplus in the
	// other.
	WrongCurrency = "wrong_currency"
	// WrongAmount: paid once with another amount, or several times and still
	// too little.
	WrongAmount = "wrong_amount"
	// DoubleCounted: paid more than once.
	DoubleCounted = "double_counted"
	// ForgedAccepted: paid although it had to be refused.
	ForgedAccepted = "forged_accepted"
	// Phantom: paid although nobody sent it.
	Phantom = "phantom"
)

// LostMoney is what one mechanism cost in one currency. Per currency, Micros
// add up to Money's MissingMicros (Surplus false) and SurplusMicros (Surplus
// true), and so do the counts to MissingCount and SurplusCount, those of
// WrongAmount left out: its conversions are all there.
type LostMoney struct {
	Currency  postback.Currency
	Mechanism string
	Surplus   bool // recorded beyond what the partner counts; else missing
	Count     int64
	Micros    postback.Money
}

type lostKey struct {
	currency  postback.Currency
	mechanism string
	surplus   bool
}

type lostSum struct {
	count  int64
	micros postback.Money
}

// lostBook has at most two entries per currency and mechanism.
type lostBook map[lostKey]lostSum

// add wraps around as Money's sums do, so that both still agree.
func (b lostBook) add(key lostKey, count int64, micros postback.Money) {
	sum := b[key]
	b[key] = lostSum{sum.count + count, sum.micros + micros}
}

func (b lostBook) plus(other lostBook) {
	for key, sum := range other {
		b.add(key, sum.count, sum.micros)
	}
}

// sorted lists the dearest first.
func (b lostBook) sorted() []LostMoney {
	list := make([]LostMoney, 0, len(b))
	for key, sum := range b {
		list = append(list, LostMoney{key.currency, key.mechanism, key.surplus, sum.count, sum.micros})
	}
	slices.SortFunc(list, func(a, b LostMoney) int {
		return cmp.Or(slices.Compare(a.Currency[:], b.Currency[:]), cmp.Compare(b.Micros, a.Micros),
			cmp.Compare(a.Mechanism, b.Mechanism), compareBools(a.Surplus, b.Surplus))
	})
	return list
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// mechanism says why a payable intent of the given fate was not billed in its
// currency.
func (c *Cell) mechanism(fate Fate) string {
	switch {
	case fate == FateLostAtPartner:
		return c.reason().String()
	case fate == FateLostAfterAck:
		return LostAfterAck
	case c.BillableRows > 0:
		return WrongCurrency
	}
	return WrongVerdict
}

// reason is why the partner gave up; where nobody noted one, the run ended.
func (c *Cell) reason() intent.Reason {
	if reason := intent.Reason(c.Reason); reason != intent.NoReason && reason < intent.Reasons {
		return reason
	}
	return intent.RunEnded
}

// explains reports whether the mechanisms add up to the discrepancy.
func explains(lost []LostMoney, money []Money) bool {
	left := map[postback.Currency]Money{}
	for _, m := range money {
		left[m.Currency] = Money{MissingMicros: m.MissingMicros, SurplusMicros: m.SurplusMicros,
			MissingCount: m.MissingCount, SurplusCount: m.SurplusCount}
	}
	for _, l := range lost {
		m, count := left[l.Currency], l.Count
		if l.Mechanism == WrongAmount {
			count = 0
		}
		if l.Surplus {
			m.SurplusMicros, m.SurplusCount = m.SurplusMicros-l.Micros, m.SurplusCount-count
		} else {
			m.MissingMicros, m.MissingCount = m.MissingMicros-l.Micros, m.MissingCount-count
		}
		left[l.Currency] = m
	}
	for _, m := range left {
		if m != (Money{}) {
			return false
		}
	}
	return true
}
