package main

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/reports"
	"github.com/postbench/postbench/scenarios"
)

func TestRushVerdict(t *testing.T) {
	for _, test := range []struct {
		name  string
		runs  rush
		holds bool
	}{
		{"as claimed", rush{[]float64{5.5, 6, 6.5}, []float64{2, 2.5, 3}}, true},
		{"the mean counts", rush{[]float64{4.9, 6, 6}, []float64{3, 2, 2}}, true},
		{"too little", rush{[]float64{4.9, 5, 5}, []float64{1, 1, 1}}, false},
		{"too much", rush{[]float64{10, 10, 10.1}, []float64{1, 1, 1}}, false},
		{"udp-batch as bad", rush{[]float64{6, 6, 6}, []float64{3, 3, 3.1}}, false},
		{"nothing measured", rush{}, false},
	} {
		if holds, short := test.runs.verdict(); holds != test.holds || holds != (short == "") {
			t.Errorf("%s: holds %v (%q), want %v", test.name, holds, short, test.holds)
		}
	}
}

// monthOf is a run that lost so many thousandths of 1,000 USD, half of it to
// timeouts and the rest to queues.
func monthOf(thousandths int64) *reports.Variant {
	missing := thousandths * 1e6
	return &reports.Variant{
		Validity: reports.Validity{Verdict: reports.VerdictValid},
		Ledger: reports.Ledger{
			Balanced: true,
			Money:    []reports.Money{{Currency: "USD", PartnerCount: 1000, RecordedCount: 1000 - thousandths, PartnerMicros: 1e9, RecordedMicros: 1e9 - missing, MissingMicros: missing}},
			LostMoney: []reports.LostMoney{
				{Currency: "USD", Mechanism: "timed_out", Count: thousandths / 4, Micros: missing / 4},
				{Currency: "USD", Mechanism: "queue_full", Count: thousandths * 3 / 4, Micros: missing * 3 / 4},
			},
		},
		Partners: []reports.Partner{
			{Name: "calm", Ledger: reports.PartnerLedger{Intents: 900, Fates: reports.NewFates(900, 0, 0, 0, 0, 0)}},
			{Name: "hasty", Ledger: reports.PartnerLedger{Intents: 100, Fates: reports.NewFates(100-thousandths, 0, 0, thousandths, 0, 0)}, Drops: map[string]int64{"timed_out": thousandths / 4, "queue_full": thousandths * 3 / 4}},
		},
	}
}

func TestJudgeMonth(t *testing.T) {
	unexplained, invalid := monthOf(40), monthOf(40)
	unexplained.Ledger.LostMoney[0].Micros--
	invalid.Validity.Verdict = reports.VerdictInvalid
	for _, test := range []struct {
		name  string
		v     *reports.Variant
		holds bool
	}{
		{"4 %", monthOf(40), true},
		{"2.8 %", monthOf(28), false},
		{"5.2 %", monthOf(52), false},
		{"a cent without a mechanism", unexplained, false},
		{"invalid", invalid, false},
		{"no ledger", &reports.Variant{}, false},
	} {
		var f finding
		if f.judgeMonth(test.v); f.holds != test.holds || f.holds != (f.short == "") {
			t.Errorf("%s: holds %v (%q), want %v", test.name, f.holds, f.short, test.holds)
		}
	}
	var f finding
	f.judgeMonth(monthOf(40))
	for _, want := range []string{
		"claim 1,000.00 USD, recorded are 960.00 USD: a discrepancy of −40.00 USD, **-4.00 %** (-40 of 1000 postbacks)",
		"|---|---|---|---|---|\n| queue full | missing | 30 | 30.00 USD | 75.0 % |\n| timed out | missing | 10 | 10.00 USD | 25.0 % |\n",
		"|---|---|---|---|---|---|---|\n| hasty | 100 | 40 | 40.0 % | queue full 30, timed out 10 |  | – |\n| calm |",
	} {
		if !strings.Contains(f.body, want) {
			t.Errorf("the section lacks %q:\n%s", want, f.body)
		}
	}
}

func TestMoney(t *testing.T) {
	for _, test := range []struct {
		micros int64
		want   string
	}{{0, "0.00 USD"}, {999_000_000, "999.00 USD"}, {12_345_678_905_000, "12,345,678.91 USD"}, {-1_234_500_000, "−1,234.50 USD"}} {
		if got := money(test.micros, "USD"); got != test.want {
			t.Errorf("%d micros: %q, want %q", test.micros, got, test.want)
		}
	}
}

func latencyOf(p50Ms float64, count int64) reports.Latency {
	us := p50Ms * 1e3
	return reports.Latency{Count: count, P50Us: &us}
}

func TestRTTRows(t *testing.T) {
	full, resumed, kept := rttKinds()[2], rttKinds()[3], rttKinds()[5]
	partner := func(p50Ms float64, count, handshakes, resumed int64) *reports.Partner {
		return &reports.Partner{Latency: reports.PartnerLatency{Response: latencyOf(p50Ms, count)}, Handshakes: handshakes, Resumed: resumed}
	}
	for _, test := range []struct {
		name    string
		kind    rttKind
		partner *reports.Partner
		holds   bool
	}{
		{"full", full, partner(256, 400, 400, 0), true},
		{"a round trip more", full, partner(341, 400, 400, 0), false},
		{"full, but resumed", full, partner(256, 400, 400, 3), false},
		{"resumed", resumed, partner(256, 400, 400, 396), true},
		{"resumed, but full", resumed, partner(256, 400, 400, 200), false},
		{"few exchanges", resumed, partner(256, 100, 100, 100), false},
		{"unacked", full, &reports.Partner{Latency: reports.PartnerLatency{Response: reports.Latency{Count: 400}}}, false},
		{"kept", kept, partner(86.5, 400, 10, 6), true},
		{"kept, 3 % slower", kept, partner(87.9, 400, 10, 6), false},
	} {
		partners := map[string]*reports.Partner{}
		for _, k := range rttKinds() { // the other rows hold
			partners[k.name] = partner(k.roundTrips*rttMs, 400, 400, map[bool]int64{true: 400}[k.wantResumed])
		}
		partners[test.kind.name] = test.partner
		f := finding{holds: true}
		if f.judgeRTT(partners, 0, 0.3); f.holds != test.holds || strings.Contains(f.body, "falls short") == test.holds {
			t.Errorf("%s: holds %v (%s), want %v:\n%s", test.name, f.holds, f.short, test.holds, f.body)
		}
	}
}

// The documents that the sections write are read by the program under test;
// here they are read by its parsers.
func TestWrittenDocuments(t *testing.T) {
	runs, err := writeRTTFiles(filepath.Join(t.TempDir(), "rtt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if _, err := scenarios.Load(r.scenario); err != nil {
			t.Error(err)
		}
		p, err := profiles.Load(r.profile)
		if err != nil {
			t.Error(err)
		}
		if paths, shaped := p.Region(""); shaped != (nameOf(r.profile) != "no-network") || shaped && float64(paths.EdgeNetwork.RTT) != rttMs*1e6 {
			t.Errorf("%s: shaped %v, %v", r.profile, shaped, paths.EdgeNetwork.RTT)
		}
	}
	file := filepath.Join(t.TempDir(), "every-shape.yaml")
	if err := os.WriteFile(file, []byte(shapedScenario), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := scenarios.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	regions := map[string]bool{}
	for i := range s.Partners {
		regions[s.Partners[i].Region] = true
	}
	if want := map[string]bool{"": true, "us": true, "cis": true}; !maps.Equal(regions, want) {
		t.Errorf("regions %v, want %v", regions, want)
	}
}

func TestLagLimit(t *testing.T) {
	p99 := 60e3
	for _, test := range []struct {
		response reports.Latency
		want     float64
	}{{reports.Latency{}, 1000}, {latencyOf(5, 1), 1000}, {reports.Latency{P99Us: &p99}, 3000}} {
		if got := lagLimitUs(&test.response); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("limit %v µs, want %v", got, test.want)
		}
	}
}
