package netem

import (
	"math"
	"testing"

	"github.com/postbench/postbench/internal/dist"
)

// fates sends n first transmissions and marks the lost ones.
func fates(m *medium, n int) (lost []bool) {
	for range n {
		var s segment
		m.transmit(0, &s, causeFirst)
		lost = append(lost, s.arriveNs == neverNs)
	}
	return lost
}

func TestLossHasItsShareAndItsBursts(t *testing.T) {
	const n = 400_000
	for _, loss := range []GilbertElliott{
		{GoodLoss: 0.01},
		{GoodLoss: 0.001, BadLoss: 0.5, GoodToBad: 0.01, BadToGood: 0.2},
	} {
		lost := fates(&medium{seed: 3, spec: &PathSpec{Loss: loss}}, n)
		total, pairs := 0, 0
		for i, l := range lost {
			if l {
				total++
				if i > 0 && lost[i-1] {
					pairs++
				}
			}
		}
		share, again := float64(total)/n, float64(pairs)/float64(total)
		if want := loss.Mean(); math.Abs(share/want-1) > 0.1 {
			t.Errorf("%+v: lost %v, want %v", loss, share, want)
		}
		// Behind a lost one: still bad with 1 - BadToGood, and then lost with BadLoss.
		if want := (1 - loss.BadToGood) * loss.BadLoss; loss.BadLoss > 0 && math.Abs(again/want-1) > 0.1 {
			t.Errorf("%+v: %v of them behind another, want %v", loss, again, want)
		}
	}
}

// Retransmissions leave the fates of what others send as they are.
func TestFatesGoByOrder(t *testing.T) {
	spec := &PathSpec{Loss: GilbertElliott{GoodLoss: 0.1, BadLoss: 0.8, GoodToBad: 0.1, BadToGood: 0.3}}
	plain, busy := &medium{seed: 9, spec: spec}, &medium{seed: 9, spec: spec}
	want := fates(plain, 1000)
	for i := range 1000 {
		var s segment
		busy.transmit(int64(i), &s, causeFirst)
		if got := s.arriveNs == neverNs; got != want[i] {
			t.Fatalf("segment %d: lost %v, want %v", i, got, want[i])
		}
		for range i % 3 {
			busy.transmit(int64(i), &s, causeTimeout)
		}
	}
}

// Even on a path that only loses while it is bad, what is sent again arrives in the end.
func TestRetransmissionsLeaveTheBurst(t *testing.T) {
	m := &medium{seed: 9, spec: &PathSpec{Loss: GilbertElliott{BadLoss: 1, GoodToBad: 0.1, BadToGood: 0.5}}}
	sum := 0.0
	const n = 10_000
	for range n {
		var s segment
		m.transmit(0, &s, causeFirst)
		for s.arriveNs == neverNs {
			m.transmit(0, &s, causeTimeout)
			sum++
		}
	}
	// Each lost one, of in/(in+out), waits for 1/out steps.
	if want := 0.1 / 0.6 / 0.5 * n; math.Abs(sum/want-1) > 0.1 {
		t.Errorf("%v retransmissions, want %v", sum, want)
	}
}

func TestDelayIsHalfTheRoundTripAndJitter(t *testing.T) {
	jitter, err := dist.New([]dist.Point{{Percentile: 50, Ns: 2 * msNs}, {Percentile: 95, Ns: 8 * msNs}})
	if err != nil {
		t.Fatal(err)
	}
	m := &medium{seed: 1, spec: &PathSpec{RTTNs: 80 * msNs, Jitter: jitter}}
	below, n := 0, 20_000
	for range n {
		var s segment
		m.transmit(5, &s, causeFirst)
		if s.arriveNs < 5+40*msNs {
			t.Fatalf("arrived at %d", s.arriveNs)
		}
		if s.arriveNs < 5+42*msNs {
			below++
		}
	}
	if share := float64(below) / float64(n); math.Abs(share-0.5) > 0.02 {
		t.Errorf("%v are below the median", share)
	}
}
