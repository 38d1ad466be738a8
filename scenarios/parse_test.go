package scenarios

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/profiles"
)

const sound = `name: sound
about: a scenario without a mistake
arrivals:
  process: poisson
  rate_per_s: 500
duration: 5s
warmup: 1s
partners:
  - name: big
    profile: signed
    share: 0.75
  - name: small
    profile: impatient
    share: 0.25
mix:
  duplicates: 0.01
  bad_signatures: 0.01
  unknown_partner: 0.01
offers:
  - {id: open, count: 10, share: 0.9, payout: 12.5, currency: USD}
  - {id: capped, share: 0.1, payout: 3, currency: EUR, cap: 100, attribution_window: 24h}
router_poll: 20ms
`

// broken lists one mistake each: a text of the sound document, what stands in
// its place, and the message.
var broken = []struct{ old, new, want string }{
	{"name: sound", "name: so und", `1:7: name: want a name of 1 to 32 letters, digits, -, _ or ., got "so und"`},
	{"about: a", "about: |\n  a\n  b\n# ", "2:8: about: want one line of at most 200 bytes"},
	{"  rate_per_s", "  raet_per_s", `5:3: unknown field "raet_per_s"; allowed: process, rate_per_s, points, peak_to_trough, period, states, file, even, surges; did you mean "rate_per_s"?`},
	{"duration:", "durration:", `6:1: unknown field "durration"; allowed: name, about, arrivals, duration, warmup, partners, partners_zipf, router_poll, time_scale, grace, server_slow, expect, mix, offers; did you mean "duration"?`},
	{"process: poisson", "process: possion", `4:12: arrivals.process: unknown process "possion"; allowed: constant, poisson, ramp, diurnal, mmpp, trace; did you mean "poisson"?`},
	{"rate_per_s: 500", "rate_per_s: 0", "5:15: arrivals.rate_per_s: want more than 0 and at most 1000000, got 0"},
	{"rate_per_s: 500", "rate_per_s: -5", "5:15: arrivals.rate_per_s: want more than 0 and at most 1000000, got -5"},
	{"rate_per_s: 500", "rate_per_s: 2e6", "5:15: arrivals.rate_per_s: want more than 0 and at most 1000000, got 2e+06"},
	{"\n  rate_per_s: 500", "", "4:3: arrivals.rate_per_s: want more than 0 and at most 1000000, got 0"},
	{"duration: 5s", "duration: 0s", "6:11: duration: want more than 0s and at most 24h, got 0s"},
	{"duration: 5s", "duration: 25h", "6:11: duration: want more than 0s and at most 24h, got 25h"},
	{"500\nduration: 5s", "1e6\nduration: 24h", "6:11: duration: 1e+06/s for 24h are more than 4294967296 postbacks"},
	{"warmup: 1s", "warmup: 5s", "7:9: warmup: want less than the duration of 5s, which includes it, got 5s"},
	{"warmup: 1s", "warmup: 1", `7:9: warmup: "1" has no unit: write 1s or 1ms`},
	{"router_poll: 20ms", "router_poll: 0s", "22:14: router_poll: want 1ms to 10s, got 0s"},

	{"name: small", "name: big", `12:11: partners[1].name: a second partner "big"`},
	{"name: small", "name: stranger", `12:11: partners[1].name: "stranger" is the key id of unknown partners: choose another name`},
	{"- name: big\n    profile", "- profile", `9:5: partners[0].name: want a name of 1 to 32 letters, digits, -, _ or ., got ""`},
	{"    profile: signed\n", "", "9:5: partners[0].profile: want a partner profile: PARTNERS or a path"},
	{"profile: signed", "profile: singed", `10:14: partners[0].profile: unknown partner profile "singed"; allowed: PARTNERS; did you mean "signed"? (a file is given by its path, such as ./mine.yaml)`},
	{"share: 0.75", "share: 0.7", "9:3: partners: the shares sum to 0.95, want 1"},
	{"share: 0.25", "share: 0.2500001", "9:3: partners: the shares sum to 1.0000001, want 1"},
	{"share: 0.75", "share: 75 %", `11:12: partners[0].share: want a number, got "75 %"`},
	{"  bad_signatures: 0.01", "  bad_signatures: 1.01", "16:3: mix: unknown_clicks, bad_signatures, malformed and unknown_partner sum to 1.02, want at most 1\n" +
		"17:19: mix.bad_signatures: want a share of 0 to 1, got 1.01"},
	{"  duplicates: 0.01", "  duplicates: -0.01", "16:15: mix.duplicates: want a share of 0 to 1, got -0.01"},
	{"  duplicates: 0.01", "  malformed: 0.99", "16:3: mix: unknown_clicks, bad_signatures, malformed and unknown_partner sum to 1.01, want at most 1"},
	{"  duplicates: 0.01", "  duplicate_after: 61s", "16:20: mix.duplicate_after: want at most 1m, got 1m1s"},

	{"id: open", "id: o/pen", `20:10: offers[0].id: want a name of 1 to 32 letters, digits, -, _ or ., got "o/pen"`},
	{"id: capped", "id: open-03", `21:10: offers[1].id: offer "open-03" is in offers[0] already`},
	{"count: 10", "count: 0", "20:23: offers[0].count: want 1 to 10000 offers in all groups together, got 0"},
	{"count: 10", "count: 10000", "21:5: offers[1].count: want 1 to 10000 offers in all groups together, got 1"},
	{"share: 0.9", "share: 0.8", "20:3: offers: the shares sum to 0.9, want 1"},
	{"share: 0.9", "share: 1.9", "20:3: offers: the shares sum to 2, want 1\n20:34: offers[0].share: want a share above 0 and at most 1, got 1.9"},
	{"payout: 12.5", "payout: 12,5", `20:50: unknown field "5"; allowed: id, share, zipf, cap, cap_every, attribution_window, count, payout, currency`},
	{"payout: 12.5", "payout: 1e3", `20:47: offers[0].payout: want an amount such as 12.5 with at most 6 decimals, got "1e3"`},
	{"payout: 12.5", "payout: -1", "20:47: offers[0].payout: want 0 to 1000000, got -1"},
	{"currency: EUR", "currency: eur", `21:51: offers[1].currency: want a currency such as EUR (ISO 4217, upper case), got "eur"`},
	{"currency: EUR, ", "", "21:5: offers[1].currency: want a currency such as EUR"},
	{"cap: 100", "cap: -1", "21:61: offers[1].cap: want 0 (none) to 1000000000, got -1"},
	{"cap: 100", "cap: 100, cap_every: 1500ms", "21:77: offers[1].cap_every: want whole seconds of at most 8760h, 0s for a cap that never resets, got 1.5s"},
	{"cap: 100", "cap: 100, cap_every: 8761h", "21:77: offers[1].cap_every: want whole seconds of at most 8760h, 0s for a cap that never resets, got 8761h"},
	{"cap: 100", "cap_every: 24h", "21:67: offers[1].cap_every: there is no cap that could reset: set cap or remove this"},
	{"window: 24h", "window: 1500ms", "21:86: offers[1].attribution_window: want whole seconds of at most 8760h, 0s for no limit, got 1.5s"},
	{"offers:", "mix: {}\noffers:", `19:1: duplicate key "mix"; it is set in line 15 already`},
}

func TestParseSound(t *testing.T) {
	if _, err := Parse("s.yaml", []byte(sound)); err != nil {
		t.Fatal(err)
	}
}

func TestParseBroken(t *testing.T) {
	for _, test := range broken {
		requireBroken(t, sound, test.old, test.new, test.want)
	}
}

// requireBroken puts one mistake into a sound document; want is its message
// without the file's name.
func requireBroken(t *testing.T, document, old, new, want string) {
	t.Helper()
	t.Run(new, func(t *testing.T) {
		if !strings.Contains(document, old) {
			t.Fatalf("the sound document has no %q", old)
		}
		_, err := Parse("s.yaml", []byte(strings.Replace(document, old, new, 1)))
		var positioned *strictyaml.Error
		want := "s.yaml:" + strings.NewReplacer("\n", "\ns.yaml:", "PARTNERS", strings.Join(profiles.PartnerNames(), ", ")).Replace(want)
		if !errors.As(err, &positioned) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

func TestParseListsEveryMistake(t *testing.T) {
	document := "name: sound\narrivals: {process: uniform, rate_per_s: 0}\nduration: 1s\nwarmup: 2s\n" +
		"partners:\n  - {name: a, profile: plan, share: 0.5, region: a b}\nmix: {malformed: 2, chains: [{events: [refund, refund]}]}\n" +
		"time_scale: 0.5\nserver_slow: {at: 1s}\nexpect: [p99 < 1]\n"
	_, err := Parse("s.yaml", []byte(document))
	// Not the list itself: it grows.
	golden(t, "every-mistake", strings.ReplaceAll(fmt.Sprintln(err), strings.Join(profiles.PartnerNames(), ", "), "PARTNERS"))
}

// Mistakes of form and of meaning stand together; what only follows from
// another is left out.
func TestParseListsFormAndMeaning(t *testing.T) {
	for name, document := range map[string]string{
		"misspelt": "name: s\narrivals: {proces: ramp, points: [{at: 1s, rate_per_s: 5}]}\nduraton: 1s\nwarmup: 2s\nserver_slow: {at: 1s, for: 1s}\n" +
			"partners:\n  - {nmae: a, profile: plian, share: 1}\nofers: []\nexpect: [\"b: p99 < 1s\"]\n",
		"mistyped": "name: s\narrivals: {process: mmpp, states: [{rate_per_s: x, mean: 5s}, {rate_per_s: 0, mean: 0s}]}\nduration: soon\ntime_scale: 0.5\n" +
			"partners:\n  - {name: a, profile: 7, share: half}\n  - {name: a b, profile: signed, share: 0.7}\nmix: {duplicates: 2, bad_signatures: 0.1, chains: [{events: [leed, sale]}]}\n" +
			"offers:\n  - {id: o, count: x, share: 0.5, payout: a lot, currency: eur}\nexpect:\n  - b: p99 < 5ms\n  - \"c: p99 < 5ms\"\n  - p99 << 5ms\n",
		"zipf": "name: s\narrivals: {rate_per_s: 5}\nduration: 1s\npartners_zipf: x\npartners:\n  - {name: a, profile: plain}\noffers: all\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("s.yaml", []byte(document))
			golden(t, "form-and-meaning-"+name, strings.ReplaceAll(fmt.Sprintln(err), strings.Join(profiles.PartnerNames(), ", "), "PARTNERS"))
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sound))
	f.Add([]byte(whole))
	for _, arrivals := range []string{rampText, diurnalText, mmppText, traceText} {
		f.Add([]byte(withArrivals(arrivals)))
	}
	for _, test := range broken {
		f.Add([]byte(strings.Replace(sound, test.old, test.new, 1)))
	}
	for _, name := range Names() {
		s, err := Load(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(s.Source()))
	}
	// A fuzzer must not open the files that it makes up.
	presetsOnly := files{
		partner: func(name string) (profiles.Partner, error) {
			if strictyaml.IsPath(name) {
				return profiles.Partner{}, errors.New("no files here")
			}
			return profiles.LoadPartner(name)
		},
		trace: func(string) (schedule.Curve, error) { return nil, errors.New("no files here") },
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse("s.yaml", data, presetsOnly)
		var positioned *strictyaml.Error
		switch {
		case err == nil && s.Validate() != nil:
			t.Fatalf("parsed, yet %v", s.Validate())
		case err == nil && strings.Count(s.Describe(), "\n") < 4+len(s.Partners)+len(s.Offers):
			t.Fatalf("described as %q", s.Describe())
		case err != nil && !errors.As(err, &positioned):
			t.Fatalf("%v has no position", err)
		}
	})
}
