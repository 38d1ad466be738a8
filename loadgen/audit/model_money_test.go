package audit

import (
	"cmp"
	"slices"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// nobody is the partner of rows that belong to no intent.
const nobody = -1

type purse struct {
	partner  int
	currency postback.Currency
}

type loss struct {
	purse
	mechanism string
	surplus   bool
}

func (m *modelRun) purse(partner int, c postback.Currency) *Money {
	key := purse{partner, c}
	if m.money[key] == nil {
		m.money[key] = &Money{Currency: c}
	}
	return m.money[key]
}

func (m *modelRun) lose(partner int, c postback.Currency, mechanism string, surplus bool, count int64, micros postback.Money) {
	key := loss{purse{partner, c}, mechanism, surplus}
	if m.lost[key] == nil {
		m.lost[key] = &LostMoney{Currency: c, Mechanism: mechanism, Surplus: surplus}
	}
	m.lost[key].Count += count
	m.lost[key].Micros += micros
}

// unwanted books a billable row that should not be.
func (m *modelRun) unwanted(partner int, currency postback.Currency, payout postback.Money, why string) {
	c := m.purse(partner, currency)
	c.RecordedCount, c.SurplusCount = c.RecordedCount+1, c.SurplusCount+1
	c.RecordedMicros, c.SurplusMicros = c.RecordedMicros+payout, c.SurplusMicros+payout
	m.lose(partner, currency, why, true, 1, payout)
}

// pay holds the billable rows against what the partner counts.
func (m *modelRun) pay(it *intent.Intent, cell *Cell, rows []Row, has map[intent.Verdict]bool, fate Fate) {
	carries := m.cfg.Carries[it.Partner]
	own, ownRows := postback.Money(0), int64(0)
	for _, row := range rows {
		if row.Verdict != intent.Billable {
			continue
		}
		payout, currency := it.Payout, it.Currency
		if carries.Payout && row.HasPayout {
			payout = row.Payout
		}
		if carries.Currency && row.Currency != (postback.Currency{}) {
			currency = row.Currency
		}
		if it.Payable() && currency == it.Currency {
			c := m.purse(it.Partner, currency)
			c.RecordedCount++
			c.RecordedMicros += payout
			own += payout
			ownRows++
			continue
		}
		why := "wrong_verdict"
		if !it.Kind.Legitimate() {
			why = "forged_accepted"
		} else if it.Payable() {
			why = "wrong_currency"
		}
		m.unwanted(it.Partner, currency, payout, why)
	}
	if it.Payable() {
		m.settle(it, cell, has, fate, own, ownRows)
	}
}

// settle says what came of the claim of a payable intent, of which so many
// rows paid so much.
func (m *modelRun) settle(it *intent.Intent, cell *Cell, has map[intent.Verdict]bool, fate Fate, own postback.Money, ownRows int64) {
	c := m.purse(it.Partner, it.Currency)
	for _, verdict := range []intent.Verdict{intent.OverCap, intent.Late, intent.Unattributed} {
		if has[verdict] && !has[intent.Billable] && slices.Contains(m.allowed(it, cell), verdict) {
			c.LeftOutCount++
			c.LeftOutMicros += it.Payout
			return
		}
	}
	c.PartnerCount++
	c.PartnerMicros += it.Payout
	c.MissingCount += max(0, 1-ownRows)
	c.SurplusCount += max(0, ownRows-1)
	missing, surplus := max(0, it.Payout-own), max(0, own-it.Payout)
	c.MissingMicros += missing
	c.SurplusMicros += surplus

	switch {
	case ownRows == 0 && has[intent.Billable]:
		m.lose(it.Partner, it.Currency, "wrong_currency", false, 1, missing)
	case ownRows == 0 && fate == FateLostAfterAck:
		m.lose(it.Partner, it.Currency, "lost_after_ack", false, 1, missing)
	case ownRows == 0 && fate == FateLostAtPartner:
		m.lose(it.Partner, it.Currency, givenUp(cell).String(), false, 1, missing)
	case ownRows == 0:
		m.lose(it.Partner, it.Currency, "wrong_verdict", false, 1, missing)
	case missing > 0:
		m.lose(it.Partner, it.Currency, "wrong_amount", false, 1, missing)
	case surplus > 0 && ownRows == 1:
		m.lose(it.Partner, it.Currency, "wrong_amount", true, 1, surplus)
	}
	if ownRows > 1 {
		m.lose(it.Partner, it.Currency, "double_counted", true, ownRows-1, surplus)
	}
}

func givenUp(cell *Cell) intent.Reason {
	reason := intent.Reason(cell.Reason)
	if reason == intent.NoReason || reason >= intent.Reasons {
		reason = intent.RunEnded
	}
	return reason
}

// closeMoney lists each partner's money, and sums it up.
func (m *modelRun) closeMoney() {
	s := m.sheet
	money, lost := map[postback.Currency]Money{}, map[loss]LostMoney{}
	for key, c := range m.money {
		if key.partner != nobody {
			p := &s.Partners[key.partner]
			p.Money = append(p.Money, *c)
		}
		sum := money[key.currency]
		money[key.currency] = Money{key.currency, sum.PartnerMicros + c.PartnerMicros, sum.RecordedMicros + c.RecordedMicros,
			sum.MissingMicros + c.MissingMicros, sum.SurplusMicros + c.SurplusMicros, sum.PartnerCount + c.PartnerCount,
			sum.RecordedCount + c.RecordedCount, sum.MissingCount + c.MissingCount, sum.SurplusCount + c.SurplusCount,
			sum.LeftOutMicros + c.LeftOutMicros, sum.LeftOutCount + c.LeftOutCount, false}
	}
	for key, l := range m.lost {
		if key.partner != nobody {
			p := &s.Partners[key.partner]
			p.LostMoney = append(p.LostMoney, *l)
		}
		key.partner = nobody
		lost[key] = LostMoney{l.Currency, l.Mechanism, l.Surplus, lost[key].Count + l.Count, lost[key].Micros + l.Micros}
	}
	for _, c := range money {
		s.Money = append(s.Money, c)
	}
	for _, l := range lost {
		s.LostMoney = append(s.LostMoney, l)
	}
	s.Money, s.LostMoney = inOrder(s.Money, s.LostMoney)
	for i := range s.Partners {
		s.Partners[i].Money, s.Partners[i].LostMoney = inOrder(s.Partners[i].Money, s.Partners[i].LostMoney)
	}
}

// inOrder sorts, and makes empty lists of nil ones.
func inOrder(money []Money, lost []LostMoney) ([]Money, []LostMoney) {
	slices.SortFunc(money, func(a, b Money) int { return cmp.Compare(a.Currency.String(), b.Currency.String()) })
	slices.SortFunc(lost, func(a, b LostMoney) int {
		sign := map[bool]int{false: 0, true: 1}
		return cmp.Or(cmp.Compare(a.Currency.String(), b.Currency.String()), -cmp.Compare(a.Micros, b.Micros),
			cmp.Compare(a.Mechanism, b.Mechanism), sign[a.Surplus]-sign[b.Surplus])
	})
	return append([]Money{}, money...), append([]LostMoney{}, lost...)
}
