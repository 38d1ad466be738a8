package decide

import (
	"fmt"
	"math"
	"testing"

	"github.com/postbench/postbench/internal/postback"
)

const (
	clickedUnixS = int64(1_000)
	windowS      = int64(60)
	windowEndNs  = (clickedUnixS + windowS) * 1e9
)

// TestDecideExhaustive goes through every combination of the inputs' classes
// and compares with the rules written a second time, as one sentence each.
func TestDecideExhaustive(t *testing.T) {
	events := []postback.Event{postback.EventNone, postback.EventLead, postback.EventSale,
		postback.EventRejected, postback.EventRefund, postback.EventRebill}
	seen := map[Verdict]int{}
	forEach(events, func(in Input) {
		got := Decide(in)
		seen[got]++
		fresh := in.Existing == None
		attributed := fresh && in.Click.Found
		reverses := in.Event == postback.EventRejected || in.Event == postback.EventRefund
		isLate := in.Offer.AttributionWindowS == windowS && in.ReceivedUnixNs > windowEndNs
		inTime := attributed && !reverses && !isLate
		full := in.Offer.Cap > 0 && in.Offer.Billable >= in.Offer.Cap
		want := map[Verdict]bool{
			Duplicate:    in.Existing == SamePayload,
			Conflict:     in.Existing == OtherPayload,
			Unattributed: fresh && !in.Click.Found,
			Reversal:     attributed && reverses,
			Late:         attributed && !reverses && isLate,
			NonBillable:  inTime && in.Payout == 0,
			OverCap:      inTime && in.Payout > 0 && full,
			Billable:     inTime && in.Payout > 0 && !full,
		}
		rules := 0
		for _, holds := range want {
			if holds {
				rules++
			}
		}
		if rules != 1 || !want[got] {
			t.Errorf("%s: got %s, %d rules hold: %v", describe(in), got, rules, want)
		}
	})
	if len(seen) != 8 {
		t.Errorf("only these verdicts were reached: %v", seen)
	}
}

func forEach(events []postback.Event, visit func(Input)) {
	offers := []Offer{{}, {Cap: 3, Billable: 2}, {Cap: 3, Billable: 3}, {Cap: 3, Billable: 4}, {Billable: 9}}
	for _, event := range events {
		for _, payout := range []postback.Money{0, 1, 12_500_000} {
			for _, existing := range []Existing{None, SamePayload, OtherPayload} {
				for _, click := range []Click{{}, {Found: true, ClickedUnixS: clickedUnixS}} {
					for _, offer := range offers {
						for _, window := range []int64{0, windowS} {
							offer.AttributionWindowS = window
							for _, receivedNs := range []int64{windowEndNs - 1, windowEndNs, windowEndNs + 1, windowEndNs + 5e9} {
								visit(Input{event, payout, receivedNs, existing, click, offer})
							}
						}
					}
				}
			}
		}
	}
}

func describe(in Input) string { return fmt.Sprintf("%+v", in) }

func TestLateEdges(t *testing.T) {
	for _, test := range []struct {
		name              string
		clickedS, windowS int64
		receivedNs        int64
		want              Verdict
	}{
		{"a nanosecond before the end", clickedUnixS, windowS, windowEndNs - 1, Billable},
		{"exactly at the end", clickedUnixS, windowS, windowEndNs, Billable},
		{"a nanosecond after the end", clickedUnixS, windowS, windowEndNs + 1, Late},
		{"clicked in the server's future", clickedUnixS + 7, windowS, clickedUnixS * 1e9, Billable},
		{"no window", 0, 0, math.MaxInt64, Billable},
		{"a window longer than time", clickedUnixS, math.MaxInt64, math.MaxInt64, Billable},
		{"a click time beyond nanoseconds", 253402300799, windowS, windowEndNs, Billable},
	} {
		got := Decide(Input{Event: postback.EventSale, Payout: 1, ReceivedUnixNs: test.receivedNs,
			Click: Click{true, test.clickedS}, Offer: Offer{AttributionWindowS: test.windowS}})
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestClosed(t *testing.T) {
	for _, test := range []struct {
		offer Offer
		want  bool
	}{
		{Offer{}, false},
		{Offer{Billable: 5}, false},
		{Offer{Cap: 5, Billable: 4}, false},
		{Offer{Cap: 5, Billable: 5}, true},
		{Offer{Cap: 5, Billable: 6}, true},
	} {
		if got := test.offer.Closed(); got != test.want {
			t.Errorf("%+v: closed %v, want %v", test.offer, got, test.want)
		}
	}
}
