package reports

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestMergeRunsAddsUp(t *testing.T) {
	v := merged(t, run("m", 1, 4000, 2, 7), run("m", 2, 8000, 30, 3))
	for _, tt := range []struct {
		name      string
		got, want int64
	}{
		{"response count", v.Latency.Response.Count, 997 + 969},
		{"response censored", v.Latency.Response.Censored, 34},
		{"intents", v.Ledger.Intents, 2020},
		{"attempts", v.Ledger.Acked + v.Ledger.Refused + v.Ledger.TimedOut + v.Ledger.Errored, v.Ledger.Attempts},
		{"fates", v.Ledger.sum(), v.Ledger.Intents},
		{"lost", v.Ledger.Lost(), 32},
		{"double counted", *v.Ledger.DoubleCounted, 4},
		{"billable", v.Ledger.Verdicts["billable"], 1800},
		{"missing", v.Ledger.Money[0].MissingMicros, 320_000_000},
		{"worst, bounded", int64(len(v.Ledger.Worst)), MaxWorst},
		{"overshoot", v.Caps.BilledOvershoot, 10},
		{"worst overshoot", v.Caps.BilledOvershootMax, 7},
		{"capped offers", int64(v.Caps.Offers), 2},
		{"conflicts", *v.Ledger.Conflicts, 2},
		{"filtered rows", *v.Ledger.FilteredRows, 8},
		{"cap rows dropped", *v.Ledger.CapRowsDropped, 0},
		{"duplicates dropped", v.Ledger.DuplicatesDropped, 4},
		{"partner's intents", v.Partners[0].Ledger.Intents, 2020},
		{"partner's drops", v.Partners[0].Drops["timed_out"], 32},
		{"deepest queue", *v.Partners[0].QueueDepth, 2},
		{"status 200", v.Responses[0].Count, 1968},
		{"timeline", int64(len(v.Timeline)), 4},
		{"rounds", int64(len(v.Rounds)), 2},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %d, want %d", tt.name, tt.got, tt.want)
		}
	}
	for _, tt := range []struct {
		name string
		got  *float64
		want float64
	}{
		{"loss rate", v.Ledger.LossRate, 0.016},
		{"discrepancy", v.Ledger.DiscrepancyRate, -28. / 1800},
		{"response max", v.Latency.Response.MaxUs, 8000},
		{"traffic overshoot", v.Caps.TrafficOvershootMeanPct, 2.5},
		{"server cpu", v.Resources.ServerCPUS, 3},
		{"longest stop", v.Resources.ServerGCStopMaxUs, 200},
		{"allocations", v.Resources.AllocsPerRequest, 12},
		{"offered", &v.OfferedPerS, 101},
	} {
		if tt.got == nil || *tt.got != tt.want {
			t.Errorf("%s = %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if v.Phases.Wait.Hdr != "" || v.Phases.Wait.Count == 0 {
		t.Errorf("phases: %+v, want entries without histogram", v.Phases.Wait)
	}
	if v.Timeline[2].Round != 2 || v.Ledger.Worst[0].RunNumber != 7 {
		t.Errorf("round of the timeline %d, run number of the worst %d", v.Timeline[2].Round, v.Ledger.Worst[0].RunNumber)
	}
}

// A lost ack is worse than any payout, and a dear one worse than an early one.
func TestMergeOrdersTheWorst(t *testing.T) {
	runs := []Variant{run("m", 1, 4000, 0, 0), run("m", 2, 4000, 0, 0)}
	runs[0].Rounds[0].Ledger.Worst = []LostPostback{{Index: 1, Fate: FateLostAtPartner, PayoutMicros: 9}, {Index: 2, Fate: FateLostAtPartner, PayoutMicros: 5}}
	runs[1].Rounds[0].Ledger.Worst = []LostPostback{{Index: 3, Fate: FateLostAfterAck, PayoutMicros: 1}, {Index: 4, Fate: FateLostAtPartner, PayoutMicros: 7}}
	var order []int64
	for _, lost := range merged(t, runs...).Ledger.Worst {
		order = append(order, lost.Index)
	}
	if want := []int64{3, 1, 4, 2}; !reflect.DeepEqual(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestMergeOfOneRunChangesNothing(t *testing.T) {
	single := run("m", 1, 4000, 2, 7)
	v := merged(t, single)
	if !reflect.DeepEqual(v.Latency, single.Latency) {
		t.Errorf("latency %+v, want %+v", v.Latency, single.Latency)
	}
	if !reflect.DeepEqual(v.Ledger, single.Ledger) {
		t.Errorf("ledger %+v, want %+v", v.Ledger, single.Ledger)
	}
	if !reflect.DeepEqual(v.Caps, single.Caps) {
		t.Errorf("caps %+v, want %+v", v.Caps, single.Caps)
	}
	if !v.Validity.Valid() || len(v.Validity.Reasons) != 0 {
		t.Errorf("validity %+v", v.Validity)
	}
}

func TestSpoiltRoundsAreInNoFigure(t *testing.T) {
	spoilt := run("m", 1, 900_000, 500, 99)
	spoilt.Rounds[0].Counted = false
	spoilt.Rounds[0].Validity = Validity{Verdict: VerdictInvalid, Reasons: []string{"starved"}}
	good := run("m", 1, 4000, 2, 7)
	got := merged(t, spoilt, good)
	want := merged(t, good)
	if len(got.Rounds) != 2 {
		t.Errorf("%d rounds kept, want 2", len(got.Rounds))
	}
	got.Rounds = want.Rounds
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestMergedValidity(t *testing.T) {
	bad := run("m", 2, 4000, 0, 0)
	bad.Rounds[0].Validity = Validity{Verdict: VerdictInvalid, Reasons: []string{"starved"}}
	v := merged(t, run("m", 1, 4000, 0, 0), bad).Validity
	if v.Valid() || len(v.Reasons) != 1 || v.Reasons[0] != "round 2: starved" {
		t.Errorf("got %+v, want invalid for round 2", v)
	}
	for name, runs := range map[string][]Variant{"no runs": {}, "none counted": {bad}} {
		bad.Rounds[0].Counted = false
		if v := merged(t, runs...); v.Validity.Valid() || len(v.Validity.Reasons) == 0 || v.Ledger.Judged() || v.Caps != nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// What one round does not know is not known of all rounds.
func TestMergeKeepsTheUnknownUnknown(t *testing.T) {
	blind := run("m", 2, 4000, 0, 0)
	r := &blind.Rounds[0]
	r.Ledger = Ledger{Intents: 1010, Attempts: 1010, Acked: 1010, Balanced: true}
	r.Caps = nil
	r.Latency.Recorded = Latency{}
	v := merged(t, run("m", 1, 4000, 2, 7), blind)
	l := v.Ledger
	if l.Judged() || l.LossRate != nil || l.DoubleCounted != nil || l.Verdicts != nil || l.Money != nil || l.DiscrepancyRate != nil || v.Caps != nil {
		t.Errorf("got %+v, %+v; want nil fates and caps", l, v.Caps)
	}
	if l.Intents != 2020 || l.Acked != 998+1010 {
		t.Errorf("got %+v, want the client's books all the same", l)
	}
}

// Without a duplicate row in a round, that round knows of no false duplicate;
// it does not make those of the others unknown.
func TestMergeFalseDuplicates(t *testing.T) {
	none, two := int64(0), int64(2)
	for _, tt := range []struct{ a, b, want *int64 }{{nil, nil, nil}, {nil, &two, &two}, {&two, nil, &two}, {&none, &two, &two}} {
		got := mergeLedgers([]Ledger{{FalseDuplicate: tt.a}, {FalseDuplicate: tt.b}}).FalseDuplicate
		if (got == nil) != (tt.want == nil) || known(got) != known(tt.want) {
			t.Errorf("%v and %v give %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestMergeImbalance(t *testing.T) {
	bad := run("m", 2, 4000, 0, 0)
	bad.Rounds[0].Ledger.Balanced = false
	if merged(t, run("m", 1, 4000, 0, 0), bad).Ledger.Balanced {
		t.Error("balanced although a round is not")
	}
}

// The rows and the percent of the worst window stay together.
func TestMergeKeepsTheWorstPair(t *testing.T) {
	type pair struct {
		rows int64
		pct  float64
	}
	for _, tt := range []struct{ a, b, want pair }{
		{pair{97, 9.7}, pair{31, 1550}, pair{31, 1550}},
		{pair{31, 1550}, pair{97, 9.7}, pair{31, 1550}},
		{pair{5, 50}, pair{10, 50}, pair{10, 50}},
		{pair{}, pair{}, pair{}},
	} {
		c := mergeCaps([]*Caps{{BilledOvershootMax: tt.a.rows, BilledOvershootMaxPct: tt.a.pct}, {BilledOvershootMax: tt.b.rows, BilledOvershootMaxPct: tt.b.pct}})
		if got := (pair{c.BilledOvershootMax, c.BilledOvershootMaxPct}); got != tt.want {
			t.Errorf("%v and %v give %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestMergeKeepsTheWorstClock(t *testing.T) {
	same, near, far := &Clock{SameBoot: true}, &Clock{OffsetUs: 900, ErrorUs: 10}, &Clock{OffsetUs: -5, ErrorUs: 400}
	for _, tt := range []struct{ a, b, want *Clock }{
		{nil, nil, nil}, {nil, near, near}, {near, nil, near}, {near, far, far}, {far, near, far}, {same, near, near}, {same, &Clock{}, &Clock{}},
	} {
		a, b := run("m", 1, 4000, 0, 0), run("m", 2, 4000, 0, 0)
		a.Clock, b.Clock = tt.a, tt.b
		spoilt := run("m", 3, 4000, 0, 0)
		spoilt.Clock, spoilt.Rounds[0].Counted = &Clock{ErrorUs: 1e6}, false
		if got := merged(t, a, b, spoilt).Clock; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v and %+v give %+v, want %+v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestMergeOverflowOfAnyRound(t *testing.T) {
	for _, list := range [][]Ledger{{{AmountsOverflowed: true}, {}}, {{}, {AmountsOverflowed: true}}} {
		if !mergeLedgers(list).AmountsOverflowed {
			t.Errorf("%+v: the overflow is forgotten", list)
		}
	}
	if mergeLedgers([]Ledger{{}, {}}).AmountsOverflowed {
		t.Error("an overflow out of nothing")
	}
}

func TestMergeMeansWeigh(t *testing.T) {
	a, b := run("m", 1, 4000, 0, 0), run("m", 2, 4000, 0, 0)
	a.Rounds[0].Caps.Offers, *a.Rounds[0].Caps.TrafficOvershootMeanPct = 1, 8
	b.Rounds[0].Caps.Offers, *b.Rounds[0].Caps.TrafficOvershootMeanPct = 3, 4
	b.Rounds[0].DurationNs *= 3
	b.OfferedPerS = 201
	v := merged(t, a, b)
	if got := *v.Caps.TrafficOvershootMeanPct; got != 5 {
		t.Errorf("mean overshoot %v %%, want 5", got)
	}
	if v.OfferedPerS != 176 {
		t.Errorf("offered %v/s, want 176", v.OfferedPerS)
	}
}

func TestMergeRunsRefuses(t *testing.T) {
	noHdr := run("m", 2, 4000, 0, 0)
	noHdr.Rounds[0].Latency.Delivery.Hdr = ""
	noPartnerHdr := run("m", 2, 4000, 0, 0)
	noPartnerHdr.Partners[0].Latency.Response.Hdr = ""
	for _, tt := range []struct {
		name   string
		second Variant
		want   error
		text   string
	}{
		{"another variant", run("other", 2, 4000, 0, 0), ErrNotOneVariant, "other"},
		{"without a round", Variant{Name: "m"}, ErrNotOneRound, "not 0"},
		{"without a histogram", noHdr, ErrNoHistogram, "delivery"},
		{"without a partner's histogram", noPartnerHdr, ErrNoHistogram, "north"},
	} {
		_, err := MergeRuns([]Variant{run("m", 1, 4000, 0, 0), tt.second})
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %v with %q", tt.name, err, tt.want, tt.text)
		}
	}
}

func TestNewResponsesSorts(t *testing.T) {
	got := NewResponses(map[int]int64{503: 1, 200: 2, 429: 3, 0: 6}, map[string]int64{"timed out": 4, "refused": 5})
	want := []Response{{Status: 200, Count: 2}, {Status: 429, Count: 3}, {Status: 503, Count: 1},
		{Error: "no status", Count: 6}, {Error: "refused", Count: 5}, {Error: "timed out", Count: 4}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
