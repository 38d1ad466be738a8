package conform

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// clockSlack is how far a server's clock may be off before its times are taken
// for times in another unit.
const clockSlack = 24 * time.Hour

// judge looks at the rows of a case and says what became of it.
func (p *play) judge(c *playedCase) Result {
	if c.missing != "" {
		return Result{Case: c.name, Outcome: NotAsked, Wanted: c.missing}
	}
	if c.failure == nil && p.target.Ledger != "" {
		if lacking := p.lacking(c); lacking != "" {
			return Result{Case: c.name, Outcome: NotAsked, Wanted: lacking}
		}
		for i := range c.rows {
			p.judgeRow(c, &c.rows[i])
		}
		for _, clickID := range c.absent {
			if rows := p.ledger.rows[clickID]; len(rows) > 0 {
				c.fail(c.sent, "a row in the ledger: "+rows[0].String(), "no row of what is refused")
			}
		}
	}
	if c.failure != nil {
		return *c.failure
	}
	return Result{Case: c.name, Outcome: OK}
}

// lacking names an optional field without which the case says nothing.
func (p *play) lacking(c *playedCase) string {
	if p.target.Strict {
		return ""
	}
	for i := range c.rows {
		w := &c.rows[i]
		for _, r := range p.ledger.rows[w.clickID] {
			shared := slices.ContainsFunc(c.rows[:i], func(other wantRow) bool { return other.clickID == w.clickID })
			switch {
			case shared && r.TxID == nil:
				return "needs txid in the ledger's rows"
			case shared && r.Event == nil:
				return "needs event in the ledger's rows"
			case w.window != "" && r.CapWindow == nil:
				return "needs cap_window in the ledger's rows: without it all rows of an offer count against one cap"
			}
		}
	}
	return ""
}

// judgeRow wants one row that counts, as it was sent.
func (p *play) judgeRow(c *playedCase, w *wantRow) {
	counted, others := p.ledger.of(w)
	wanted := fmt.Sprintf("one row %s of txid %q, as sent", strings.Join(w.verdicts, " or "), w.txID)
	switch {
	case w.ifAcked && !c.acked:
		if len(p.ledger.rows[w.clickID]) > 0 {
			c.fail(c.sent, "a row in the ledger: "+p.ledger.rows[w.clickID][0].String(), "no row of what is refused")
		}
		return
	case len(counted) == 0:
		c.fail(c.sent, "no row in the ledger", wanted)
		return
	case len(counted) > 1:
		c.fail(c.sent, fmt.Sprintf("%d rows in the ledger: %s; %s", len(counted), counted[0].String(), counted[1].String()), wanted)
		return
	}
	r := &counted[0]
	if problem := p.differs(c, w, r); problem != "" {
		c.fail(c.sent, "the row "+r.String(), problem)
	}
	if p.target.Strict && w.conflict != nil {
		if m, ok := conflictPayout(others); !ok || m != w.conflict.String() {
			c.fail(c.sent, fmt.Sprintf("%d further rows", len(others)), "one row conflict of "+w.conflict.String())
		}
	}
}

// conflictPayout is that of the only conflict among rows.
func conflictPayout(rows []ledgerRow) (payout string, ok bool) {
	n := 0
	for _, r := range rows {
		if *r.Verdict == conflict && r.Payout != nil {
			payout = *r.Payout
			n++
		}
	}
	return payout, n == 1
}

// differs says what a row should be; "" if it is that.
func (p *play) differs(c *playedCase, w *wantRow, r *ledgerRow) string {
	text := func(name string, field *string, want string) string {
		switch {
		case field == nil && p.target.Strict:
			return "a field " + name
		case field != nil && *field != want:
			return fmt.Sprintf("%s %q", name, want)
		}
		return ""
	}
	switch {
	case r.Verdict == nil:
		return "a field verdict"
	case !slices.Contains(w.verdicts, *r.Verdict):
		return "verdict " + strings.Join(w.verdicts, " or ")
	case w.payout != nil && r.Payout != nil:
		if m, ok := amount(*r.Payout); !ok || m != *w.payout {
			return "payout " + w.payout.String()
		}
	case w.payout != nil && p.target.Strict:
		return "a field payout"
	}
	var problems []string
	problems = append(problems, text("txid", r.TxID, w.txID))
	if w.event != "" {
		problems = append(problems, text("event", r.Event, w.event))
	}
	if w.currency != "" {
		problems = append(problems, text("currency", r.Currency, w.currency))
	}
	if w.offerID != "" {
		problems = append(problems, text("offer_id", r.OfferID, w.offerID))
	}
	problems = append(problems, p.wrongTime(c, "recorded_unix_ns", r.RecordedUnixNs), p.wrongTime(c, "received_unix_ns", r.ReceivedUnixNs), p.wrongWindow(w, r))
	for _, problem := range problems {
		if problem != "" {
			return problem
		}
	}
	return ""
}

// wrongTime finds times that are missing or in another unit.
func (p *play) wrongTime(c *playedCase, name string, unixNs *int64) string {
	switch {
	case unixNs == nil && p.target.Strict:
		return "a field " + name
	case unixNs == nil:
		return ""
	}
	if off := time.Unix(0, *unixNs).Sub(c.from).Abs(); off > clockSlack {
		return fmt.Sprintf("%s in ns since 1970, about %d", name, c.from.UnixNano())
	}
	return ""
}

// wrongWindow wants the row's cap window to be that of the cap status.
func (p *play) wrongWindow(w *wantRow, r *ledgerRow) string {
	switch {
	case w.window == "" && r.CapWindow != nil && *r.CapWindow != "":
		return "no cap_window: the cap never resets"
	case w.window == "":
		return ""
	case r.CapWindow == nil || *r.CapWindow == "":
		return "a cap_window, the cap resets"
	case p.windows[w.window] != "" && *r.CapWindow != p.windows[w.window]:
		return fmt.Sprintf("cap_window %q, as in the cap status", p.windows[w.window])
	}
	return ""
}
