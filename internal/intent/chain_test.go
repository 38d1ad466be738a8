package intent

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
)

const (
	lead, sale, rejected, refund = postback.EventLead, postback.EventSale, postback.EventRejected, postback.EventRefund
)

// chainSpec has everything that a mix may have, of partners of every sort.
func chainSpec() Spec {
	spec := testSpec()
	spec.Partners = []Partner{
		{Name: "signs", Share: 0.5}, {Name: "open", Share: 0.2, Unauthenticated: true, Unexpanded: 0.1},
		{Name: "mute", Share: 0.1, NoEvents: true}, {Name: "nobody", Share: 0.2, Unauthenticated: true, Anonymous: true},
	}
	spec.Mix.Chains = []Chain{
		{Events: []postback.Event{lead, sale}, Share: 0.05}, {Events: []postback.Event{sale, refund}, Share: 0.03},
		{Events: []postback.Event{lead, sale, rejected}, Share: 0.04},
	}
	spec.Mix.ChainLag, spec.Mix.Late = 70, 0.02
	return spec
}

func chainSpecs(t *testing.T, seed uint64) map[string]Spec {
	whole := chainSpec()
	whole.Mix = Mix{Chains: []Chain{{Events: []postback.Event{sale, rejected, refund}, Share: 1.0 / 3}}, ChainLag: 1}
	whole.Partners = whole.Partners[:1]
	far := chainSpec()
	far.Mix.ChainLag = 30_011
	own := chainSpec()
	var ids strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&ids, "own-%d,%s\n", i, []string{"", "open", "capped"}[i%3])
	}
	own.Clicks = ownClicks(t, ids.String(), own.Offers)
	specs := map[string]Spec{"mixed": chainSpec(), "nothing but chains": whole, "far apart": far, "own clicks": own}
	for name, spec := range specs {
		spec.Seed = seed
		specs[name] = spec
	}
	return specs
}

// Steps of a chain share the ids and what goes with them, events tell them
// apart, and FindEvent leads from any row back to its intent. The test groups
// intents by their ids and knows nothing of blocks.
func TestChains(t *testing.T) {
	const n = 100_000
	for seed := range uint64(3) {
		for name, spec := range chainSpecs(t, seed) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				g := newGenerator(t, spec)
				groups := map[string][]Intent{}
				for i := range uint64(n) {
					var it Intent
					g.At(i, &it)
					if index, owner := g.FindEvent(it.ClickID, it.TxID, it.Event); index != i || owner != ThisRun {
						t.Fatalf("%s is found at %d, owner %d", textOf(&it), index, owner)
					}
					if index, _ := g.Find(it.ClickID, it.TxID); index != it.Origin {
						t.Fatalf("%s of chain %d is found at %d", textOf(&it), it.Origin, index)
					}
					if it.Kind.Legitimate() != g.Legitimate(i) {
						t.Fatalf("%s, and Legitimate says %v", textOf(&it), g.Legitimate(i))
					}
					groups[string(it.TxID)] = append(groups[string(it.TxID)], it)
				}
				for _, steps := range groups {
					requireChain(t, g, steps, n)
				}
			})
		}
	}
}

// requireChain takes all intents of one txid, in the order of their indexes.
func requireChain(t *testing.T, g *Generator, steps []Intent, n uint64) {
	t.Helper()
	spec, first := g.Spec(), &steps[0]
	lag := spec.Mix.ChainLag
	var events []postback.Event
	for i := range steps {
		it := &steps[i]
		events = append(events, it.Event)
		if it.Origin != first.Index || it.Index != first.Index+uint64(i)*lag || !bytes.Equal(it.ClickID, first.ClickID) ||
			it.Partner != first.Partner || it.Offer != first.Offer || it.Currency != first.Currency {
			t.Fatalf("%s does not go with %s", textOf(it), textOf(first))
		}
		if len(steps) > 1 && (it.Kind != Legitimate || it.Late || spec.Partners[it.Partner].NoEvents || g.ClickUnixS(it.Index) != g.ClickUnixS(first.Index)) {
			t.Fatalf("%s is a step of a chain", textOf(it))
		}
	}
	matches := func(c Chain) bool {
		within := len(c.Events)
		for within > 1 && first.Index+uint64(within-1)*lag >= n {
			within-- // the last steps lie past the end
		}
		return slices.Equal(events, c.Events[:within])
	}
	if len(steps) > 1 && !slices.ContainsFunc(spec.Mix.Chains, matches) {
		t.Fatalf("%s begins a chain of %v", textOf(first), events)
	}
}

func TestSharesOfChainsAndLate(t *testing.T) {
	const n = 90_300 // whole blocks
	for seed := range uint64(3) {
		spec := chainSpec()
		spec.Seed = seed
		g := newGenerator(t, spec)
		counts := map[string]int{}
		var it Intent
		for i := range uint64(n) {
			g.At(i, &it)
			counts[it.Kind.String()]++
			if it.Late {
				counts["late"]++
				if spec.Offers[it.Offer].AttributionWindowS == 0 || it.Kind != Legitimate {
					t.Fatalf("%s is late", textOf(&it))
				}
			}
			if it.Kind == BadSignature && spec.Partners[it.Partner].Unauthenticated || it.Kind == UnknownPartner && spec.Partners[it.Partner].Anonymous {
				t.Fatalf("%s of partner %+v", textOf(&it), spec.Partners[it.Partner])
			}
			if it.Kind == UnexpandedMacro && it.Partner != 1 {
				t.Fatalf("%s leaves no macros unexpanded", textOf(&it))
			}
			if r := g.role(i); r.chain != alone {
				counts[fmt.Sprint("chain ", r.chain, " step ", r.step)]++
			} else if it.Partner == 1 {
				counts["open"]++
			}
		}
		for what, want := range map[string]float64{
			"chain 0 step 0": 0.05, "chain 0 step 1": 0.05, "chain 1 step 0": 0.03, "chain 1 step 1": 0.03,
			"chain 2 step 0": 0.04, "chain 2 step 1": 0.04, "chain 2 step 2": 0.04, "late": 0.02,
			"unknown_click": 0.05, "malformed": 0.03, "bad_signature": 0.04 * 0.6, "unknown_partner": 0.02 * 0.8,
			// of partner 1's share of the intents that are no later steps
			"unexpanded_macro": 0.1 * 0.2 * (1 - 0.05 - 0.03 - 0.04*2),
		} {
			requireShare(t, fmt.Sprintf("seed %d: %s", seed, what), counts[what], n, want)
		}
	}
}

// With shares that leave no room for anything else, there is nothing else.
func TestSharesThatFillUp(t *testing.T) {
	spec := chainSpec()
	spec.Partners, spec.Offers = []Partner{{Name: "p", Share: 1, Unexpanded: 0.25}}, spec.Offers[1:2]
	spec.Mix = Mix{UnknownClicks: 0.5, Late: 0.25}
	g := newGenerator(t, spec)
	var it Intent
	for i := range uint64(1_000) {
		if g.At(i, &it); it.Kind == Legitimate && !it.Late {
			t.Fatalf("%s is neither late nor unknown nor unexpanded", textOf(&it))
		}
	}
}

func TestLateClicks(t *testing.T) {
	g := newGenerator(t, chainSpec())
	epoch, late := g.Spec().EpochUnixS, 0
	var it Intent
	for i := range uint64(5_000) {
		g.At(i, &it)
		offer := g.Spec().Offers[it.Offer]
		beyond := epoch - g.ClickUnixS(i) - offer.AttributionWindowS
		if it.Late != (offer.AttributionWindowS > 0 && beyond > 0) {
			t.Fatalf("%s: late %v, %d s beyond the window", textOf(&it), it.Late, beyond)
		}
		if it.Late {
			late++
			if got := g.Admissible(&it, epoch, epoch+1); got != SetOf(Late) || beyond < 60 || beyond > 3_600 {
				t.Fatalf("%s, %d s beyond the window, is admissible as %s", textOf(&it), beyond, got)
			}
		}
	}
	if late == 0 {
		t.Error("nothing is late")
	}
}

func TestEventsAndTheirPayouts(t *testing.T) {
	g := newGenerator(t, chainSpec())
	seen := map[postback.Event]bool{}
	var it Intent
	for i := range uint64(5_000) {
		g.At(i, &it)
		seen[it.Event] = true
		full := g.Spec().Offers[it.Offer].Payout
		want := map[postback.Event]postback.Money{lead: 0, sale: full, rejected: 0, refund: -full}[it.Event]
		if it.Payout != want || it.Payable() != (it.Kind.Legitimate() && it.Event == sale && full > 0) {
			t.Fatalf("%s, payable %v, of an offer that pays %s", textOf(&it), it.Payable(), full)
		}
		if got := g.Admissible(&it, 0, 0); it.Event.Reverses() && got != SetOf(Reversal) {
			t.Fatalf("%s is admissible as %s", textOf(&it), got)
		}
	}
	if len(seen) != 4 {
		t.Errorf("only the events %v", seen)
	}
}

func TestFindEvent(t *testing.T) {
	spec := chainSpec()
	spec.Mix.Chains = []Chain{{Events: []postback.Event{lead, sale, rejected}, Share: 0.1}}
	g := newGenerator(t, spec)
	other := spec
	other.RunNumber++
	otherRun := newGenerator(t, other)
	var it, single Intent
	for g.At(it.Index, &it); g.role(it.Index).chain == alone; {
		g.At(it.Index+1, &it)
	}
	for g.At(0, &single); g.role(single.Index).chain != alone; {
		g.At(single.Index+1, &single)
	}
	begin, lag := it.Index, spec.Mix.ChainLag
	for _, c := range []struct {
		name    string
		clickID []byte
		event   postback.Event
		index   uint64
		owner   Owner
	}{
		{"beginning", it.ClickID, lead, begin, ThisRun},
		{"second step", it.ClickID, sale, begin + lag, ThisRun},
		{"third step", it.ClickID, rejected, begin + 2*lag, ThisRun},
		{"no event", it.ClickID, postback.EventNone, begin, ThisRun},
		{"an event that the chain has not", it.ClickID, refund, begin, ThisRun},
		{"in no chain", single.ClickID, sale, single.Index, ThisRun},
		{"an id that no step carries", g.clickIDs.Append(nil, spec.RunNumber, begin+lag), sale, begin + lag, ThisRun},
		{"past the end", g.clickIDs.Append(nil, spec.RunNumber, MaxIndex), sale, MaxIndex, ThisRun},
		{"another run", otherRun.clickIDs.Append(nil, other.RunNumber, begin), sale, begin, OtherRun},
		{"nobody's", []byte("x"), sale, 0, Foreign},
	} {
		index, owner := g.FindEvent(c.clickID, nil, c.event)
		if owner != c.owner || owner != Foreign && index != c.index {
			t.Errorf("%s: %d, owner %d; want %d, owner %d", c.name, index, owner, c.index, c.owner)
		}
	}
}

// The user's click at the place of a later step is never sent: no row with it
// is ours.
func TestOwnClicksOfLaterSteps(t *testing.T) {
	g := newGenerator(t, chainSpecs(t, 1)["own clicks"])
	steps := 0
	var it Intent
	for i := range uint64(5_000) {
		if g.At(i, &it); it.Origin == i {
			continue
		}
		steps++
		unused, _ := g.ownClick(i)
		if _, owner := g.FindEvent(unused, nil, it.Event); owner != Foreign {
			t.Fatalf("%s: click %s is found, too", textOf(&it), unused)
		}
		if index, owner := g.FindEvent(it.ClickID, nil, it.Event); index != i || owner != ThisRun {
			t.Fatalf("%s is found by its click alone at %d, owner %d", textOf(&it), index, owner)
		}
	}
	if steps == 0 {
		t.Error("no later steps")
	}
}

// A chain has one click, whatever it reports of it.
func TestWriteClicksOfChains(t *testing.T) {
	const n = 20_000
	g := newGenerator(t, chainSpec())
	var text bytes.Buffer
	if err := g.WriteClicks(&text, n); err != nil {
		t.Fatal(err)
	}
	listed := map[string]int{}
	for line := range strings.Lines(text.String()) {
		id, _, _ := strings.Cut(line, ",")
		listed[id]++
	}
	want := map[string]bool{"click_id": true}
	var it Intent
	for i := range uint64(n) {
		if g.At(i, &it); it.Kind != UnknownClick {
			want[string(it.ClickID)] = true
		}
	}
	for id := range want {
		if listed[id] != 1 {
			t.Fatalf("click %s is listed %d times", id, listed[id])
		}
	}
	if len(listed) != len(want) {
		t.Errorf("%d clicks are listed, want %d", len(listed), len(want))
	}
}

func TestNewRefusesMixes(t *testing.T) {
	pair := []postback.Event{lead, sale}
	for want, change := range map[string]func(*Spec){
		"a chain of 1 events":            func(s *Spec) { s.Mix.Chains[0].Events = pair[:1] },
		"a chain of 4 events":            func(s *Spec) { s.Mix.Chains[0].Events = []postback.Event{lead, sale, refund, rejected} },
		"has an event that is none":      func(s *Spec) { s.Mix.Chains[0].Events = []postback.Event{lead, 0} },
		"has the event sale twice":       func(s *Spec) { s.Mix.Chains[1].Events = []postback.Event{sale, lead, sale} },
		"in the mix is -0.1":             func(s *Spec) { s.Mix.Chains[1].Share = -0.1 },
		"sum to 0.37, more than a third": func(s *Spec) { s.Mix.Chains[0].Share = 0.3 },
		"sum to 0.27, more than 0.24":    func(s *Spec) { s.Mix.Chains[0].Share = 0.2 },
		"chains sum to 0.12, more than":  func(s *Spec) { s.Partners = s.Partners[2:3] }, // sends no events
		"0 intents between two steps":    func(s *Spec) { s.Mix.ChainLag = 0 },
		"1099511627776 intents between":  func(s *Spec) { s.Mix.ChainLag = MaxIndex + 1 },
		"17 kinds of chains":             func(s *Spec) { s.Mix.Chains = make17(pair) },
		"in the mix is 1.5":              func(s *Spec) { s.Mix.Late = 1.5 },
		"of 0.9 is to be late, but only": func(s *Spec) { s.Mix.Late = 0.9 },
		"sum to 0.89, more than 0.84":    func(s *Spec) { s.Mix.UnknownClicks = 0.8 }, // what later steps leave
		`"open" leaves the macro`:        func(s *Spec) { s.Partners[1].Unexpanded = 1.1 },
		`"open": a share of 0.9 with`:    func(s *Spec) { s.Partners[1].Unexpanded = 0.9 },
	} {
		spec := chainSpec()
		change(&spec)
		if _, err := New(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func make17(events []postback.Event) []Chain {
	chains := make([]Chain, MaxChains+1)
	for i := range chains {
		chains[i] = Chain{Events: events, Share: 0.001}
	}
	return chains
}
