package intent

import (
	"math"
	"testing"

	"github.com/postbench/postbench/internal/postback"
)

func TestVerdictWords(t *testing.T) {
	words := []string{"unknown", "billable", "non_billable", "reversal", "over_cap", "unattributed", "late", "duplicate", "conflict"}
	if len(words) != int(Verdicts) {
		t.Fatalf("%d verdicts, %d words", Verdicts, len(words))
	}
	for v, word := range words {
		got, ok := ParseVerdict([]byte(word))
		if Verdict(v).String() != word || got != Verdict(v) || ok != (v > 0) {
			t.Errorf("%d is %q; %q is read as %d, %v", v, Verdict(v), word, got, ok)
		}
	}
	for _, word := range []string{"", "Billable", "billable ", "bill"} {
		if _, ok := ParseVerdict([]byte(word)); ok {
			t.Errorf("%q is read as a verdict", word)
		}
	}
	if got := Verdicts.String(); got != "unknown" {
		t.Errorf("a number that is no verdict is called %q", got)
	}
}

func TestVerdictSet(t *testing.T) {
	s := SetOf(Billable, Conflict)
	if !s.Has(Billable) || !s.Has(Conflict) || s.Has(Late) || s.Has(VerdictUnknown) || s.Has(200) || VerdictSet(0).Has(Billable) {
		t.Errorf("%b has the wrong members", s)
	}
	if s.String() != "billable|conflict" || VerdictSet(0).String() != "" {
		t.Errorf("%q and %q", s, VerdictSet(0))
	}
}

func TestAdmissible(t *testing.T) {
	const (
		capped = iota
		windowed
		both
		neither
	)
	const window = 1_000
	spec := testSpec()
	spec.Offers = []Offer{
		capped:   {ID: "capped", Share: 1, Cap: 10},
		windowed: {ID: "windowed", Share: 1, AttributionWindowS: window},
		both:     {ID: "both", Share: 1, Cap: 10, AttributionWindowS: window},
		neither:  {ID: "neither", Share: 1},
	}
	g := newGenerator(t, spec)
	const index = 5
	end := g.ClickUnixS(index) + window
	type when struct{ first, last int64 }
	inTime, touches, straddles, within, late := when{end - 9, end - 1}, when{end - 1, end}, when{end - 1, end + 1}, when{end, end}, when{end + 1, end + 2}
	for _, c := range []struct {
		name   string
		kind   Kind
		offer  int
		event  postback.Event
		payout postback.Money
		when   when
		want   string
	}{
		{"plain sale", Legitimate, neither, postback.EventSale, 1, late, "billable"},
		{"rebill", Legitimate, neither, postback.EventRebill, 1, late, "billable"},
		{"nothing to pay", Legitimate, neither, postback.EventSale, 0, late, "non_billable"},
		{"negative payout", Legitimate, neither, postback.EventSale, -1, late, "non_billable"},
		{"lead", Legitimate, capped, postback.EventLead, 0, late, "non_billable"},
		{"paid lead", Legitimate, neither, postback.EventLead, 1, late, "billable"},
		{"capped", Legitimate, capped, postback.EventSale, 1, late, "billable|over_cap"},
		{"rejected", Legitimate, both, postback.EventRejected, 1, late, "reversal"},
		{"refund", Legitimate, both, postback.EventRefund, 0, straddles, "reversal"},

		{"in time", Legitimate, windowed, postback.EventSale, 1, inTime, "billable"},
		{"until the last second", Legitimate, windowed, postback.EventSale, 1, touches, "billable|late"},
		{"straddling", Legitimate, windowed, postback.EventSale, 1, straddles, "billable|late"},
		{"within the last second", Legitimate, windowed, postback.EventSale, 1, within, "billable|late"},
		{"too late", Legitimate, windowed, postback.EventSale, 1, late, "late"},
		{"lead in time", Legitimate, windowed, postback.EventLead, 0, inTime, "non_billable"},
		{"lead straddling", Legitimate, windowed, postback.EventLead, 0, straddles, "non_billable|late"},
		{"lead too late", Legitimate, windowed, postback.EventLead, 0, late, "late"},
		{"capped in time", Legitimate, both, postback.EventSale, 1, inTime, "billable|over_cap"},
		{"capped straddling", Legitimate, both, postback.EventSale, 1, straddles, "billable|over_cap|late"},
		{"capped too late", Legitimate, both, postback.EventSale, 1, late, "late"},

		{"unknown click", UnknownClick, both, postback.EventSale, 1, late, "unattributed"},
		{"refund of an unknown click", UnknownClick, both, postback.EventRefund, 0, late, "unattributed"},
		{"bad signature", BadSignature, neither, postback.EventSale, 1, inTime, ""},
		{"malformed", Malformed, both, postback.EventSale, 1, straddles, ""},
		{"unknown partner", UnknownPartner, both, postback.EventRefund, 0, inTime, ""},
		{"unexpanded macro", UnexpandedMacro, neither, postback.EventSale, 1, inTime, ""},
	} {
		it := Intent{Index: index, Kind: c.kind, Offer: c.offer, Event: c.event, Payout: c.payout}
		if got := g.Admissible(&it, c.when.first, c.when.last).String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Nobody told us how old the user's own clicks are.
func TestAdmissibleOfOwnClicks(t *testing.T) {
	spec := testSpec()
	spec.Clicks = ownClicks(t, "a\nb\n", spec.Offers)
	g := newGenerator(t, spec)
	for offer, want := range []string{"billable", "billable|over_cap|late"} {
		it := Intent{Offer: offer, Event: postback.EventSale, Payout: 1}
		for _, at := range []int64{0, spec.EpochUnixS, math.MaxInt64} {
			if got := g.Admissible(&it, at, at).String(); got != want {
				t.Errorf("offer %d at %d: %q, want %q", offer, at, got, want)
			}
		}
	}
}

func TestKinds(t *testing.T) {
	for kind, want := range map[Kind]string{Legitimate: "legitimate", UnknownClick: "unknown_click", BadSignature: "bad_signature",
		Malformed: "malformed", UnknownPartner: "unknown_partner", UnexpandedMacro: "unexpanded_macro", kinds: "invalid"} {
		if kind.String() != want {
			t.Errorf("%d is %q, want %q", kind, kind, want)
		}
		if legitimate := kind <= UnknownClick; kind.Legitimate() != legitimate {
			t.Errorf("%s: legitimate %v", kind, kind.Legitimate())
		}
	}
}
