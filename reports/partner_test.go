package reports

import (
	"slices"
	"testing"
)

func TestMergePartnersAddsUp(t *testing.T) {
	one, two := run("a", 1, 4000, 2, 0), run("a", 2, 4000, 1, 0)
	two.Partners[0].QueueDepthPerS = []int64{9, 0, 0, 4}
	two.Partners[0].Deactivated = false
	p := merged(t, one, two).Partners[0]
	if p.Network != "eu-us-east" || p.Handshakes != 80 || p.Resumed != 60 || !p.Deactivated {
		t.Errorf("%+v", p)
	}
	if want := []int64{2, 2014, 4}; !slices.Equal(p.AttemptsPerIntent, want) {
		t.Errorf("attempts per intent %v, want %v", p.AttemptsPerIntent, want)
	}
	if want := []int64{9, 1, 1, 4}; !slices.Equal(p.QueueDepthPerS, want) {
		t.Errorf("queue %v, want %v", p.QueueDepthPerS, want)
	}
	if len(p.Money) != 1 || p.Money[0].MissingCount != 3 || p.Money[0].PartnerCount != 1800 {
		t.Errorf("money %+v", p.Money)
	}
	if p.Phases.Wait.Count != 1997 || p.Phases.Wait.Hdr != "" {
		t.Errorf("phases %+v", p.Phases.Wait)
	}
}

func TestMergeNetworksAndCosts(t *testing.T) {
	one, two := run("a", 1, 4000, 0, 0), run("a", 2, 4000, 0, 0)
	two.Networks = append(two.Networks, Network{Name: "loopback", Connections: 1})
	two.Costs[0].Requests, two.Costs[0].WaitMeanUs, two.Costs[0].MaxQueue = 3000, 2200, 40
	v := merged(t, one, two)
	if len(v.Networks) != 2 || v.Networks[0].Segments != 4200 || v.Networks[0].Lookups != 8 || v.Networks[1].Name != "loopback" {
		t.Errorf("%+v", v.Networks)
	}
	want := StageCost{Stage: "php", Requests: 4000, Refused: 6, MaxQueue: 40, WaitMeanUs: 1950, ServeMeanUs: 70_000}
	if len(v.Costs) != 1 || v.Costs[0] != want {
		t.Errorf("%+v, want %+v", v.Costs, want)
	}
}

func TestMergeLostMoney(t *testing.T) {
	usd := func(mechanism string, surplus bool, count, micros int64) LostMoney {
		return LostMoney{Currency: "USD", Mechanism: mechanism, Surplus: surplus, Count: count, Micros: micros}
	}
	got := mergeLostMoney([]Ledger{
		{LostMoney: []LostMoney{usd("timed_out", false, 1, 5), usd("double_counted", true, 1, 9)}},
		{LostMoney: []LostMoney{usd("timed_out", false, 2, 6), {Currency: "EUR", Mechanism: "timed_out", Count: 1, Micros: 1}}},
	})
	want := []LostMoney{{Currency: "EUR", Mechanism: "timed_out", Count: 1, Micros: 1}, usd("timed_out", false, 3, 11), usd("double_counted", true, 1, 9)}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestSpark(t *testing.T) {
	for _, test := range []struct {
		series  []int64
		columns int
		want    string
	}{
		{[]int64{0, 0}, 10, "▁▁"},
		{[]int64{0, 7, 14}, 10, "▁▄█"},
		{[]int64{0, 0, 0, 14, 7, 0}, 3, "▁█▄"}, // two seconds a column: the deeper one
	} {
		if got := spark(test.series, test.columns); got != test.want {
			t.Errorf("%v in %d columns: %s, want %s", test.series, test.columns, got, test.want)
		}
	}
}

func TestExpectationsText(t *testing.T) {
	if got := Expectations(nil); got != "" {
		t.Errorf("%q", got)
	}
	golden(t, "expectations.txt", Expectations([]Expectation{
		{Variant: "a", Text: "p99 < 500ms", Observed: "120ms", Holds: true},
		{Variant: "b", Text: "tune: loss = 0%", Observed: "0.2%"},
	}))
}
