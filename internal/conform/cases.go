package conform

import (
	"strings"

	"github.com/postbench/postbench/internal/postback"
)

// The verdicts of the contract.
const (
	billable     = "billable"
	nonBillable  = "non_billable"
	reversal     = "reversal"
	overCap      = "over_cap"
	unattributed = "unattributed"
	late         = "late"
	duplicate    = "duplicate"
	conflict     = "conflict"
)

// basics are what every template must be taken in.
func (s *script) basics(w *way) {
	f := s.sale(s.click(offerOpen, freshClick))
	s.add(testCase{name: w.name + ": a postback is answered 2xx", needs: w.needs, sends: []send{{target: w.of(f), want: good()}},
		advice: "answer 2xx to what is accepted"})
	s.recorded(w, "a sale is billable", s.sale(s.click(offerOpen, freshClick)), billable,
		"record it once, as it was sent")
	f = s.sale(s.click(offerOpen, freshClick))
	f.TxID = []byte(`T 1+%2B&=/?#;"',<é€>`)
	if w == s.signed {
		f.TxID = []byte(`T 1+%2B&=/?#;"',<>`) // printable ASCII
	}
	s.recorded(w, "a txid with percent-encoded bytes is kept byte for byte", f, billable, "decode %XX once, as UTF-8")
	f = s.sale(s.click(offerOpen, freshClick))
	f.Payout = 9_007_199_254_740_993
	s.recorded(w, "a payout of 9007199254.740993 is exact", f, billable, "keep money in integers: a float64 ends at 2^53")
	f = s.sale(s.click(offerOpen, freshClick))
	f.Payout, f.Currency = 1, postback.Currency{'J', 'P', 'Y'}
	s.recorded(w, "a payout of 0.000001 JPY is exact", f, billable, "keep six decimals, and the currency")
}

// recorded is a case of one postback and its row.
func (s *script) recorded(w *way, name string, f postback.Fields, verdict, advice string) {
	s.add(testCase{name: w.name + ": " + name, needs: w.needs | needPopulate | needLedger, advice: advice,
		sends: []send{{target: w.of(f), want: good()}}, rows: []wantRow{row(f, verdict)}})
}

// with changes a sale.
func (s *script) with(clickID string, change func(f *postback.Fields)) postback.Fields {
	f := s.sale(clickID)
	change(&f)
	return f
}

// verdicts are one case each, in whichever template is taken.
func (s *script) verdicts() {
	free := func(f *postback.Fields) { f.Event, f.Payout = postback.EventLead, 0 }
	refund := func(f *postback.Fields) { f.Event, f.Payout = postback.EventRefund, -f.Payout }
	s.recorded(s.main, "a lead that pays nothing is non_billable", s.with(s.click(offerOpen, freshClick), free), nonBillable, "")
	s.recorded(s.main, "a lead that pays is billable", s.with(s.click(offerOpen, freshClick),
		func(f *postback.Fields) { f.Event = postback.EventLead }), billable, "")
	s.recorded(s.main, "a rebill is billable", s.with(s.click(offerOpen, freshClick),
		func(f *postback.Fields) { f.Event = postback.EventRebill }), billable, "")
	s.recorded(s.main, "a rejected sale is a reversal", s.with(s.click(offerOpen, freshClick),
		func(f *postback.Fields) { f.Event, f.Payout = postback.EventRejected, 0 }), reversal, "")
	s.recorded(s.main, "a sale after the attribution window is late", s.sale(s.click(offerWindowed, oldClick)), late,
		"offers name attribution_window_s, clicks clicked_unix_s")
	s.recorded(s.main, "a sale within the attribution window is billable", s.sale(s.click(offerWindowed, freshClick)), billable, "")
	unknown := s.sale(s.id("nobody"))
	s.recorded(s.main, "a sale of an unknown click is unattributed", unknown, unattributed, "take it, and pay nobody")
	sale := s.sale(s.click(offerOpen, freshClick))
	back := s.with(string(sale.ClickID), refund)
	second := row(sale, billable)
	second.late = true
	s.add(testCase{name: s.main.name + ": a refund before its sale is a reversal, and the sale billable",
		needs: s.main.needs | needPopulate | needLedger, advice: "a reversal stands by itself",
		sends: []send{{target: s.main.of(back), want: good()}, {target: s.main.of(sale), late: true, want: good()}},
		rows:  []wantRow{row(back, reversal), second}})
	s.ours("a refund after the attribution window is a reversal", s.with(s.click(offerWindowed, oldClick), refund), reversal)
	s.ours("a free lead after the attribution window is late", s.with(s.click(offerWindowed, oldClick), free), late)
	own := s.with(s.click(offerOpen, freshClick), func(f *postback.Fields) { f.OfferID = []byte(s.id(offerWindowed)) })
	counted := row(own, billable)
	counted.offerID = s.id(offerOpen)
	s.add(testCase{name: s.main.name + ": the offer of the click counts, not the one that is sent", needs: s.main.needs | needPopulate | needLedger,
		oursOnly: true, sends: []send{{target: s.main.of(own), want: good()}}, rows: []wantRow{counted}})
}

// ours is a verdict that the contract leaves open.
func (s *script) ours(name string, f postback.Fields, verdict string) {
	s.add(testCase{name: s.main.name + ": " + name, needs: s.main.needs | needPopulate | needLedger, oursOnly: true,
		sends: []send{{target: s.main.of(f), want: good()}}, rows: []wantRow{row(f, verdict)}})
}

// identities are what must not be taken for one another.
func (s *script) identities() {
	s.apart("the event is part of the identity", "dedup by (click_id, txid, event)", billable,
		func(f *postback.Fields, i int) bool {
			f.Event = []postback.Event{postback.EventLead, postback.EventSale, postback.EventRebill}[i%3]
			return i < 3
		})
	s.apart("txids that differ in case or a trailing blank are two", "compare ids as bytes: a database's collation may not", billable,
		func(f *postback.Fields, i int) bool {
			f.TxID = []byte([]string{"tx", "TX", "tx "}[i%3])
			return i < 3
		})
}

// apart is a case of several conversions on one click, each counted.
func (s *script) apart(name, advice, verdict string, change func(f *postback.Fields, i int) (more bool)) {
	c := testCase{name: s.main.name + ": " + name, needs: s.main.needs | needPopulate | needLedger, advice: advice}
	clickID := s.click(offerOpen, freshClick)
	for i := 0; ; i++ {
		f := s.sale(clickID)
		if !change(&f, i) {
			break
		}
		c.sends = append(c.sends, send{target: s.main.of(f), want: good()})
		c.rows = append(c.rows, row(f, verdict))
	}
	s.add(c)
}

// atOnce is how many times a postback is sent at the same moment.
const atOnce = 8

// repeats must be counted once.
func (s *script) repeats() {
	again := answer{class: accepted, status: 200}
	f := s.sale(s.click(offerOpen, freshClick))
	s.repeated("a postback that is sent twice counts once", f,
		send{target: s.main.of(f), want: good()}, send{target: s.main.of(f), late: true, want: again})
	f = s.sale(s.click(offerOpen, freshClick))
	s.repeated("a postback that is sent 8 times at once counts once", f,
		send{target: s.main.of(f), atOnce: atOnce, want: answer{class: whatever, status: 200}})
	f = s.sale(s.click(offerOpen, freshClick))
	f.TxID = nil
	s.repeated("without a txid there is one conversion per click and event", f,
		send{target: s.main.of(f), want: good()}, send{target: s.main.of(f), late: true, want: again})
	f = s.sale(s.click(offerOpen, freshClick))
	if s.plain != nil {
		other := strings.Replace(s.plain.of(f), "txid=t1", "txid=%74%31", 1)
		s.repeated("ids are compared once they are decoded", f,
			send{target: s.plain.of(f), want: good()}, send{target: other, late: true, want: again})
	}
	f = s.sale(s.click(offerOpen, freshClick))
	more := f
	more.Payout = 99_000_000
	kept := row(f, billable)
	kept.conflict = &more.Payout
	s.add(testCase{name: s.main.name + ": a second payout for the same identity is not counted", needs: s.main.needs | needPopulate | needLedger,
		advice: "keep it as a conflict, or refuse it",
		sends: []send{{target: s.main.of(f), want: good()},
			{target: s.main.of(more), late: true, want: answer{class: acceptedOrNot, status: 200}}},
		rows: []wantRow{kept}})
}

func (s *script) repeated(name string, f postback.Fields, sends ...send) {
	s.add(testCase{name: s.main.name + ": " + name, needs: s.main.needs | needPopulate | needLedger, sends: sends, rows: []wantRow{row(f, billable)},
		advice: "dedup by (click_id, txid, event) where the row is written, with a unique key"})
}

// capped fill caps.
func (s *script) capped() {
	all := s.main.needs | needPopulate | needLedger
	s.offers = append(s.offers, offer{id: s.id("capped"), cap: capOfOffers}, offer{id: s.id("status"), cap: capOfOffers},
		offer{id: s.id("yearly"), cap: 1, capWindowS: yearS})
	c := testCase{name: s.main.name + ": a sale past the cap is over_cap", needs: all, advice: "count billable rows per offer"}
	s.fill(&c, "capped", capOfOffers, "")
	s.add(c)
	c = testCase{name: "caps: the status counts and closes", needs: s.main.needs | needPopulate | needCaps,
		advice: `answer {"offer_id":"…","cap":2,"billable":2,"closed":true} once the cap is reached`,
		caps: []capProbe{{offerID: s.id("status"), early: true, cap: capOfOffers},
			{offerID: s.id("status"), cap: capOfOffers, billable: capOfOffers, closed: true}}}
	for range capOfOffers {
		c.sends = append(c.sends, send{target: s.main.of(s.sale(s.click("status", freshClick))), want: good()})
	}
	s.add(c)
	c = testCase{name: s.main.name + ": rows name the window of a cap that resets", needs: all | needCaps,
		advice: "write cap_window into billable and over_cap rows and into the cap status",
		caps:   []capProbe{{offerID: s.id("yearly"), cap: 1, billable: 1, closed: true}}}
	s.fill(&c, "yearly", 1, s.id("yearly"))
	s.add(c)
}

// fill sends sales up to the cap, and then one more.
func (s *script) fill(c *testCase, offerName string, capacity int, window string) {
	for i := range capacity + 1 {
		f := s.sale(s.click(offerName, freshClick))
		r := row(f, billable)
		if i == capacity {
			r = row(f, overCap)
		}
		r.late, r.window = i == capacity, window
		c.sends = append(c.sends, send{target: s.main.of(f), late: r.late, want: good()})
		c.rows = append(c.rows, r)
	}
}
