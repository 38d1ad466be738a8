package scenarios

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
)

// whole uses what sound leaves out.
const whole = `name: whole
arrivals:
  process: diurnal
  rate_per_s: 100
  peak_to_trough: 3
  period: 10s
duration: 20s
partners_zipf: 1
partners:
  - {name: first, profile: signed, region: us}
  - {name: second, profile: impatient}
  - {name: third, profile: plain, region: eu-west}
mix:
  late: 0.01
  unknown_partner: 0.01
  chain_after: 2s
  chains:
    - {events: [lead, sale, rejected], share: 0.02}
    - {events: [sale, refund], share: 0.01}
offers:
  - {id: open, count: 3, zipf: 1, share: 0.6, payout: 12.5, currency: USD, attribution_window: 24h}
  - {id: other, share: 0.4, payout: 3, currency: EUR}
time_scale: 60
grace: 30s
server_slow: {at: 5s, for: 2s, add: 500ms}
expect:
  - p99 < 500ms
  - "first: loss < 0.5%"
`

// brokenWhole lists one mistake each, as broken does.
var brokenWhole = []struct{ old, new, want string }{
	{"partners_zipf: 1", "partners_zipf: 5", "8:16: partners_zipf: want an exponent above 0 and at most 4, got 5"},
	{"second,", "second, share: 0.5,", "11:27: partners[1].share: partners_zipf gives the shares: remove one of the two"},
	{"region: us", "region: u/s", `10:44: partners[0].region: want a name of 1 to 32 letters, digits, -, _ or ., got "u/s"`},
	{"zipf: 1,", "zipf: -1,", "21:32: offers[0].zipf: want an exponent above 0 and at most 4, got -1"},
	{"late: 0.01", "late: 1.5", "14:9: mix.late: want a share of 0 to 1, got 1.5"},
	{", attribution_window: 24h", "", "14:3: mix: cannot make intents: a share of 0.01 is to be late, but only 0 is legitimate, of offers with an attribution window and in no chain"},
	{"chain_after: 2s", "chain_after: 2h", "16:16: mix.chain_after: want at most 1h, got 2h"},
	{"[sale, refund]", "[sael, refund]", `19:17: mix.chains[1].events[0]: unknown event "sael"; allowed: lead, sale, rejected, refund, rebill; did you mean "sale"?`},
	{"[sale, refund]", "[refund, sale]", "19:17: mix.chains[1].events[0]: a chain cannot begin with refund: nothing would be reversed"},
	{"[sale, refund]", "[sale, sale]", "19:23: mix.chains[1].events[1]: a second sale: it would be a duplicate of the first"},
	{"[sale, refund]", "[sale]", "19:16: mix.chains[1].events: want 2 or 3 events, got 1"},
	{"share: 0.01}", "share: 0}", "19:39: mix.chains[1].share: want a share above 0 and at most 1, got 0"},
	{"share: 0.01}", "share: 0.4}", "14:3: mix: cannot make intents: the shares of the chains sum to 0.42, more than a third"},
	{"time_scale: 60", "time_scale: 0", "23:13: time_scale: want 1 (as it is) to 100000, got 0"},
	{"grace: 30s", "grace: 48h", "24:8: grace: want at most 24h, 0s for as long as retries last, got 48h"},
	{"at: 5s", "at: 20s", "25:19: server_slow.at: want less than the duration of 20s, got 20s"},
	{"for: 2s, ", "", "25:14: server_slow.for: want more than 0s and at most 24h, got 0s"},
	{"add: 500ms", "add: 11m", "25:37: server_slow.add: want more than 0s and at most 10m, got 11m"},
	{"first: loss", "frist: loss", `28:5: expect[1]: unknown partner "frist"; allowed: first, second, third; did you mean "first"?`},
	{"p99 < 500ms", "latency < 500ms", `27:5: expect[0]: not an expectation: "latency < 500ms": unknown metric "latency"; there are: METRICS`},
}

func TestParseBrokenHabits(t *testing.T) {
	metrics := ""
	if _, err := Parse("s.yaml", []byte(strings.Replace(whole, "p99 < 500ms", "x < 1", 1))); err != nil {
		_, metrics, _ = strings.Cut(err.Error(), "there are: ")
	}
	for _, test := range brokenWhole {
		test.want = strings.ReplaceAll(test.want, "METRICS", metrics)
		requireBroken(t, whole, test.old, test.new, test.want)
	}
}

func parsed(t *testing.T, text string) Scenario {
	t.Helper()
	s, err := Parse("s.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDescribeWhole(t *testing.T) {
	golden(t, "whole", parsed(t, whole).Describe())
}

// Of 2,500 intents in 5 s a tenth is for the offer, and nearly all of it pays.
func TestDescribeCapEvery(t *testing.T) {
	for _, test := range []struct {
		every string
		scale float64
		want  string
	}{
		{"", 1, "cap 100 (is passed: about 245 paying conversions each)"},
		{"24h", 1, "cap 100 every 24h (is passed: about 245 paying conversions each, unless it resets meanwhile)"},
		{"5s", 1, "cap 100 every 5s (is passed: about 245 paying conversions each, unless it resets meanwhile)"},
		{"24h", 43_200, "cap 100 every 24h (may be passed: about 98 paying conversions each in that time, at the mean rate)"},
		{"1s", 1, "cap 100 every 1s (is not reached: about 49 paying conversions each in that time, at the mean rate)"},
	} {
		text := strings.Replace(sound, "cap: 100", "cap: 100, cap_every: "+cmp.Or(test.every, "0s"), 1) + fmt.Sprintf("time_scale: %v\n", test.scale)
		if got := parsed(t, text).Describe(); !strings.Contains(got, test.want) {
			t.Errorf("every %s, %v times as fast: want %q in\n%s", test.every, test.scale, test.want, got)
		}
	}
}

func TestShares(t *testing.T) {
	s := parsed(t, whole)
	for i, want := range []float64{6.0 / 11, 3.0 / 11, 2.0 / 11} {
		if got := s.Partners[i].Share; math.Abs(got-want) > 1e-12 {
			t.Errorf("partner %d has a share of %v, want %v", i, got, want)
		}
	}
	var got []string
	for _, o := range s.OfferShares() {
		got = append(got, fmt.Sprintf("%s:%.4f", o.ID, o.Share))
	}
	if want := []string{"open-1:0.3273", "open-2:0.1636", "open-3:0.1091", "other:0.4000"}; !slices.Equal(got, want) {
		t.Errorf("offers %v, want %v", got, want)
	}
	for _, exponent := range []float64{0, 0.5, MaxZipf} {
		sum := 0.0
		for _, share := range zipf(MaxOffers, exponent) {
			sum += share
		}
		if math.Abs(sum-1) > shareTolerance {
			t.Errorf("exponent %v: the shares sum to %v", exponent, sum)
		}
	}
}

func TestIntentSpec(t *testing.T) {
	s := parsed(t, whole)
	spec := s.IntentSpec()
	if got := s.ChainLag(); got != 200 || spec.Mix.ChainLag != got { // 2 s at 100/s
		t.Errorf("chain lag %d and %d, want 200", got, spec.Mix.ChainLag)
	}
	if got := spec.Mix.Chains[0].Events; !slices.Equal(got, []postback.Event{postback.EventLead, postback.EventSale, postback.EventRejected}) {
		t.Errorf("chain of %v", got)
	}
	if w := spec.Offers[0].AttributionWindowS; w != 24*60 { // 24 h, sixty times as fast
		t.Errorf("window of %d s, want 1440", w)
	}
	var got []string
	for _, p := range spec.Partners {
		got = append(got, fmt.Sprintf("%s %.2f %v %v", p.Name, p.Share, p.Unauthenticated, p.Anonymous))
	}
	if want := []string{"first 0.55 false false", "second 0.27 false false", "third 0.18 true true"}; !slices.Equal(got, want) {
		t.Errorf("partners %q, want %q", got, want)
	}
	for every, want := range map[time.Duration]int64{0: 0, 24 * time.Hour: 24 * 60, time.Hour: 60, 90 * time.Second: 2, time.Second: 1} {
		s.Offers[1].Cap, s.Offers[1].CapEvery = 100, strictyaml.Duration(every)
		if got := s.IntentSpec().Offers[3].CapWindowS; got != want { // at least a second
			t.Errorf("a cap every %v counts anew every %d s, want %d", every, got, want)
		}
	}
	s.Mix.Chains = nil
	if got := s.ChainLag(); got != 0 {
		t.Errorf("chain lag %d without a chain", got)
	}
}
