package intent

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
)

var (
	eur = postback.Currency{'E', 'U', 'R'}
	usd = postback.Currency{'U', 'S', 'D'}
)

func testSpec() Spec {
	return Spec{
		Seed: 1, RunNumber: 3, EpochUnixS: 1_700_000_000,
		Partners: []Partner{{Name: "big", Share: 0.7}, {Name: "small", Share: 0.25}, {Name: "rare", Share: 0.05}},
		Offers: []Offer{
			{ID: "open", Share: 0.6, Payout: 12_500_000, Currency: usd},
			{ID: "capped", Share: 0.3, Payout: 40_000_000, Currency: eur, Cap: 100, AttributionWindowS: 86_400, CapWindowS: 3_600},
			{ID: "free", Share: 0.1, Currency: eur},
		},
		Mix: Mix{Duplicates: 0.1, UnknownClicks: 0.05, BadSignatures: 0.04, Malformed: 0.03, UnknownPartner: 0.02,
			Leads: 0.2, DuplicateAfterNs: 50_000_000},
	}
}

func newGenerator(t testing.TB, spec Spec) *Generator {
	t.Helper()
	g, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// text is an intent as a value that can be compared, buffers left out.
func text(g *Generator, index uint64) string {
	var it Intent
	g.At(index, &it)
	return textOf(&it) + fmt.Sprint(" ", g.ClickUnixS(index))
}

func textOf(it *Intent) string {
	return fmt.Sprintf("%d %s/%d partner %d offer %d %s %s %s %s %s duplicate %d", it.Index, it.Kind, it.Malformation, it.Partner,
		it.Offer, it.Event, it.Payout, it.Currency, it.ClickID, it.TxID, it.DuplicateAfterNs)
}

// An intent depends on its index alone, not on those made before it nor on
// what the struct held.
func TestAtIsPure(t *testing.T) {
	g := newGenerator(t, testSpec())
	indices := append([]uint64{}, edgeIndices...)
	for i := range uint64(500) {
		indices = append(indices, i)
	}
	want := map[uint64]string{}
	for _, i := range indices {
		want[i] = text(g, i)
	}
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(indices), func(a, b int) { indices[a], indices[b] = indices[b], indices[a] })
	again := newGenerator(t, testSpec())
	var it Intent
	for _, i := range indices {
		again.At(i, &it)
		if got := textOf(&it) + fmt.Sprint(" ", again.ClickUnixS(i)); got != want[i] {
			t.Fatalf("intent %d: %s, first %s", i, got, want[i])
		}
		if again.Legitimate(i) != it.Kind.Legitimate() {
			t.Fatalf("intent %d is a %s, and Legitimate says %v", i, it.Kind, again.Legitimate(i))
		}
	}
}

// The golden holds equal seeds to equal traffic on every machine and in every
// later version. The delay of duplicates is left out: logarithms may differ in
// the last bit.
func TestTrafficOfASeed(t *testing.T) {
	g := newGenerator(t, testSpec())
	requireGolden(t, "traffic.txt", func(w io.Writer) error {
		var it Intent
		for i := range uint64(30) {
			g.At(i, &it)
			it.DuplicateAfterNs = min(it.DuplicateAfterNs, 1)
			fmt.Fprintln(w, textOf(&it))
		}
		return nil
	})
}

func TestRunNumberAndSeedChangeEverything(t *testing.T) {
	const n = 2_000
	base := newGenerator(t, testSpec())
	for name, change := range map[string]func(*Spec){
		"run number": func(s *Spec) { s.RunNumber++ },
		"seed":       func(s *Spec) { s.Seed++ },
		"both":       func(s *Spec) { s.Seed, s.RunNumber = s.Seed+1, s.RunNumber-1 },
	} {
		spec := testSpec()
		change(&spec)
		other := newGenerator(t, spec)
		var a, b Intent
		same := map[string]int{}
		for i := range uint64(n) {
			base.At(i, &a)
			other.At(i, &b)
			if string(a.ClickID) == string(b.ClickID) || string(a.TxID) == string(b.TxID) {
				t.Fatalf("%s: intent %d keeps an id", name, i)
			}
			for what, equal := range map[string]bool{
				"partner": a.Partner == b.Partner, "offer": a.Offer == b.Offer, "kind": a.Kind == b.Kind, "event": a.Event == b.Event,
				"duplicate": (a.DuplicateAfterNs > 0) == (b.DuplicateAfterNs > 0), "click": base.ClickUnixS(i) == other.ClickUnixS(i),
			} {
				if equal {
					same[what]++
				}
			}
		}
		for what, independent := range map[string]float64{ // chance that two independent draws agree
			"partner": 0.7*0.7 + 0.25*0.25 + 0.05*0.05, "offer": 0.46, "kind": 0.86*0.86 + 0.0054, "event": 0.68, "duplicate": 0.82, "click": 1.0 / 3540,
		} {
			requireShare(t, name+": equal "+what, same[what], n, independent)
		}
	}
}

// requireShare allows five standard deviations, which one seed in two million
// misses by chance.
func requireShare(t *testing.T, what string, count, n int, want float64) {
	t.Helper()
	if margin := 5 * math.Sqrt(want*(1-want)*float64(n)); math.Abs(float64(count)-want*float64(n)) > margin {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, count, n, want*float64(n), margin)
	}
}

func TestShares(t *testing.T) {
	const n = 50_000
	for seed := range uint64(4) {
		spec := testSpec()
		spec.Seed = seed
		g := newGenerator(t, spec)
		counts, delays, ages := map[string]int{}, 0.0, 0.0
		var it Intent
		for i := range uint64(n) {
			g.At(i, &it)
			counts["partner "+spec.Partners[it.Partner].Name]++
			counts["offer "+spec.Offers[it.Offer].ID]++
			counts["kind "+it.Kind.String()]++
			counts["event "+it.Event.String()]++
			if it.Kind == Malformed {
				counts[fmt.Sprint("malformation ", it.Malformation)]++
			}
			if it.DuplicateAfterNs > 0 {
				counts["duplicate"]++
				delays += float64(it.DuplicateAfterNs)
			}
			if it.Kind == UnknownClick && it.Event == postback.EventLead && it.DuplicateAfterNs > 0 {
				counts["all at once"]++
			}
			age := spec.EpochUnixS - g.ClickUnixS(i)
			if age < 60 || age > 3600 {
				t.Fatalf("click %d is %d s old", i, age)
			}
			ages += float64(age)
		}
		for what, want := range map[string]float64{
			"partner big": 0.7, "partner small": 0.25, "partner rare": 0.05, "offer open": 0.6, "offer capped": 0.3, "offer free": 0.1,
			"kind legitimate": 0.86, "kind unknown_click": 0.05, "kind bad_signature": 0.04, "kind malformed": 0.03, "kind unknown_partner": 0.02,
			"event lead": 0.2, "event sale": 0.8, "duplicate": 0.1, "malformation 0": 0.015, "malformation 1": 0.015, "all at once": 0.001,
		} {
			requireShare(t, fmt.Sprintf("seed %d: %s", seed, what), counts[what], n, want)
		}
		if mean := delays / float64(counts["duplicate"]); math.Abs(mean-50e6) > 5*50e6/math.Sqrt(0.1*n) {
			t.Errorf("seed %d: duplicates come after %.0f ns on average, want 50 ms", seed, mean)
		}
		if mean := ages / n; math.Abs(mean-1830) > 5*1022/math.Sqrt(n) {
			t.Errorf("seed %d: clicks are %.1f s old on average, want 1830", seed, mean)
		}
	}
}

func TestFieldsFollowTheOffer(t *testing.T) {
	g := newGenerator(t, testSpec())
	var it Intent
	for i := range uint64(2_000) {
		g.At(i, &it)
		offer := g.Spec().Offers[it.Offer]
		want := offer.Payout
		if it.Event == postback.EventLead {
			want = 0
		}
		if it.Index != i || it.Payout != want || it.Currency != offer.Currency {
			t.Fatalf("%s does not fit %+v", textOf(&it), offer)
		}
		if it.Payable() != (it.Kind.Legitimate() && it.Payout > 0) {
			t.Fatalf("%s: payable %v", textOf(&it), it.Payable())
		}
		if it.DuplicateAfterNs > 10*g.Spec().Mix.DuplicateAfterNs+1 {
			t.Fatalf("%s: a duplicate after more than ten times the mean", textOf(&it))
		}
	}
}

func TestExtremeShares(t *testing.T) {
	spec := testSpec()
	spec.Partners = []Partner{{Name: "never"}, {Name: "a", Share: 1}, {Name: "b", Share: 1e-300}, {Name: "neither"}}
	spec.Mix = Mix{Duplicates: 1, UnknownClicks: 1}
	g := newGenerator(t, spec)
	var it Intent
	for i := range uint64(1_000) {
		g.At(i, &it)
		if it.Partner != 1 || it.Kind != UnknownClick || it.Event != postback.EventSale || it.DuplicateAfterNs != 1 {
			t.Fatalf("%s", textOf(&it))
		}
	}
	// The largest u there is must not fall through to a weight of 0, however
	// the sums are rounded.
	for n := 1; n < 100; n++ {
		weights := make([]float64, n+2)
		for i := range n {
			weights[i] = 1
		}
		if got := pick(cumulative(weights), math.Nextafter(1, 0)); got != n-1 {
			t.Errorf("%d equal weights and two of 0: just below 1 gives entry %d", n, got)
		}
	}
	if got := pick(cumulative([]float64{0, 1}), 0); got != 1 {
		t.Errorf("pick of 0 gives entry %d, which has no weight", got)
	}
}

func TestNewRefuses(t *testing.T) {
	nan := math.NaN()
	for want, change := range map[string]func(*Spec){
		"no partners":                  func(s *Spec) { s.Partners = nil },
		"no offers":                    func(s *Spec) { s.Offers = []Offer{{ID: "o"}} },
		"share 1 of the partners":      func(s *Spec) { s.Partners[1].Share = -0.1 },
		"share 0 of the offers":        func(s *Spec) { s.Offers[0].Share = nan },
		"share 2 of the offers is +In": func(s *Spec) { s.Offers[2].Share = math.Inf(1) },
		`offer "open" is there twice`:  func(s *Spec) { s.Offers[2].ID = "open" },
		"cap -1":                       func(s *Spec) { s.Offers[0].Cap = -1 },
		"cap window -1 s":              func(s *Spec) { s.Offers[0].CapWindowS = -1 },
		"attribution window -1 s":      func(s *Spec) { s.Offers[0].AttributionWindowS = -1 },
		"run number 16777216":          func(s *Spec) { s.RunNumber = MaxRunNumber + 1 },
		"mix is 1.5":                   func(s *Spec) { s.Mix.Duplicates = 1.5 },
		"mix is -0.5":                  func(s *Spec) { s.Mix.Leads = -0.5 },
		"mix is NaN":                   func(s *Spec) { s.Mix.Malformed = nan },
		"sum to 1.09":                  func(s *Spec) { s.Mix.UnknownClicks = 1 },
		"duplicates come after -1 ns":  func(s *Spec) { s.Mix.DuplicateAfterNs = -1 },
		"after 9223372036854775807 ns": func(s *Spec) { s.Mix.DuplicateAfterNs = math.MaxInt64 },
		"0 click ids":                  func(s *Spec) { s.Clicks = &ClickList{} },
		"offer number 7 of 3":          func(s *Spec) { s.Clicks = &ClickList{text: []byte("a"), ends: []uint32{1}, offers: []int32{7}} },
	} {
		spec := testSpec()
		change(&spec)
		_, err := New(spec)
		if !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an ErrSpec with %q", err, want)
		}
	}
}

func TestSharesMaySumToOneByRounding(t *testing.T) {
	spec := testSpec()
	spec.Mix = Mix{UnknownClicks: 0.7, BadSignatures: 0.1, Malformed: 0.1, UnknownPartner: 0.1 + 1e-12}
	newGenerator(t, spec)
}

func TestFind(t *testing.T) {
	g := newGenerator(t, testSpec())
	spec := testSpec()
	spec.RunNumber = 4
	otherRun := newGenerator(t, spec)
	spec.Seed = 2
	foreign := newGenerator(t, spec)
	for _, index := range edgeIndices {
		for _, c := range []struct {
			from *Generator
			want Owner
		}{{g, ThisRun}, {otherRun, OtherRun}, {foreign, Foreign}} {
			var it Intent
			c.from.At(index, &it)
			for _, txID := range [][]byte{it.TxID, nil, []byte("another")} { // the click id decides
				if got, owner := g.Find(it.ClickID, txID); owner != c.want || owner != Foreign && got != index {
					t.Errorf("intent %d: found %d, owner %d, want owner %d", index, got, owner, c.want)
				}
			}
			if _, owner := g.Find(it.TxID, it.ClickID); owner != Foreign {
				t.Errorf("intent %d: a txid is taken for a click id", index)
			}
		}
	}
}
