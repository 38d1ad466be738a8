package audit

import (
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/intent"
)

// ownClicksRun sends intent i for click ids[i]; the first partner's template
// carries a txid if asked to.
func ownClicksRun(t *testing.T, carriesTxID bool, ids ...string) *history {
	spec := testSpec()
	spec.Mix = intent.Mix{}
	spec.Partners = spec.Partners[:1]
	spec.Offers = []intent.Offer{{ID: "o", Share: 1, Payout: 1, Currency: eur}}
	list, err := intent.ReadClicks("clicks", strings.NewReader(strings.Join(ids, "\n")), spec.Offers)
	if err != nil {
		t.Fatal(err)
	}
	spec.Clicks = list
	h := newHistory(t, spec, 3)
	h.cfg.Carries = []Carries{{TxID: carriesTxID, Payout: true, Currency: true}}
	for i := range uint64(3) {
		h.play(i, intent.Acked)
		row := h.row(i, intent.Billable)
		if !carriesTxID {
			row.TxID = []byte("the server's own")
		}
		h.add(row)
	}
	return h
}

func TestOwnClicks(t *testing.T) {
	for _, c := range []struct {
		name   string
		txID   bool
		inject func(*history)
		want   string
	}{
		{"all well", true, func(*history) {}, ""},
		{"all well, no txid", false, func(*history) {}, ""},
		{"the txid of another intent", true, func(h *history) { h.rows[0].TxID = h.rows[1].TxID },
			"EUR missing +1, EUR missing µ +1, EUR surplus +1, EUR surplus µ +1, lost_after_ack +1, phantom +1, recorded -1, rows billable -1"},
		{"the click of another intent", true, func(h *history) { h.rows[0].ClickID = h.rows[1].ClickID },
			"EUR missing +1, EUR missing µ +1, EUR surplus +1, EUR surplus µ +1, lost_after_ack +1, phantom +1, recorded -1, rows billable -1"},
		{"the ledger has no txid", true, func(h *history) { h.rows[0].TxID = nil }, ""},
		{"an earlier conversion of the same click", true, func(h *history) {
			row := h.rows[0]
			row.TxID, row.RecordedUnixNs = []byte("older"), startUnixNs-1
			h.add(row)
		}, "filtered +1"},
		{"a conversion of the same click meanwhile", true, func(h *history) {
			row := h.rows[0]
			row.TxID = []byte("stranger")
			h.add(row)
		}, "EUR recorded +1, EUR recorded µ +1, EUR surplus +1, EUR surplus µ +1, phantom +1"},
		{"an earlier conversion, no txid", false, func(h *history) {
			row := h.rows[0]
			row.RecordedUnixNs, row.ReceivedUnixNs = startUnixNs-ownClickSlackNs-1, 0
			h.add(row)
		}, "filtered +1"},
		{"a clock that is a little slow is no earlier conversion", false, func(h *history) {
			h.rows[0].RecordedUnixNs, h.rows[0].ReceivedUnixNs = startUnixNs-ownClickSlackNs, 0
		}, ""},
		{"an earlier conversion of a click not used yet", false, func(h *history) {
			row := h.rows[0]
			row.ClickID, row.RecordedUnixNs = []byte("spare"), startUnixNs-1
			h.add(row)
		}, "filtered +1"},
		{"a conversion of a click not used yet", false, func(h *history) {
			row := h.rows[0]
			row.ClickID = []byte("spare")
			h.add(row)
		}, "EUR recorded +1, EUR recorded µ +1, EUR surplus +1, EUR surplus µ +1, phantom +1"},
		{"another run", true, func(h *history) {
			spec := *h.cfg.Intents.Spec()
			spec.RunNumber++
			row := newHistory(t, spec, 3).row(0, intent.Billable)
			h.add(row)
		}, "filtered +1"},
	} {
		clicks := []string{"a", "b", "c", "spare"}
		base := ownClicksRun(t, c.txID, clicks...)
		h := ownClicksRun(t, c.txID, clicks...)
		c.inject(h)
		if got := difference(base.judge(), h.judge()); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// One click with several conversions: the txid tells them apart.
func TestOwnClickUsedTwice(t *testing.T) {
	h := ownClicksRun(t, true, "a", "a", "b")
	if s := h.judge(); s.Fates.Recorded != 3 || s.Repeats != 0 {
		t.Errorf("%+v", s.Fates)
	}
	h.rows = h.rows[1:]
	if s := h.judge(); s.Fates.Recorded != 2 || s.Worst[0].Index != 0 {
		t.Errorf("%+v", s.Fates)
	}
}
