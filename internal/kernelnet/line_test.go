package kernelnet

import (
	"math"
	"slices"
	"testing"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/netem"
)

const ms = 1_000_000

// tcp is as much of a packet as a line looks at.
func tcp(port byte, mark byte) []byte {
	p := make([]byte, 41)
	p[0], p[21], p[40] = 0x45, port, mark
	return p
}

func TestLineDelaysInOrder(t *testing.T) {
	l := newLine(&Spec{RTTNs: 80 * ms}, clientEnd)
	l.offer(1*ms, tcp(1, 'a'))
	l.offer(1*ms, tcp(2, 'b'))
	l.offer(2*ms, tcp(1, 'c'))
	if due, ok := l.next(); !ok || due != 41*ms {
		t.Fatalf("next at %d, %v; want 41 ms", due, ok)
	}
	if l.take(41*ms-1) != nil {
		t.Error("came early")
	}
	for i, want := range "abc" {
		if p := l.take(43 * ms); p == nil || p[40] != byte(want) {
			t.Errorf("packet %d: %v, want %c", i, p, want)
		}
	}
	if l.take(math.MaxInt64) != nil {
		t.Error("a packet out of nothing")
	}
	if want := (Counts{Packets: 3, LateNs: 2*ms + 2*ms + 1*ms}); l.counts != want {
		t.Errorf("%+v, want %+v", l.counts, want)
	}
}

func TestLineIgnoresWhatIsNoIPv4(t *testing.T) {
	l := newLine(&Spec{}, clientEnd)
	for _, p := range [][]byte{nil, {0x45}, append([]byte{0x60}, make([]byte, 60)...)} {
		l.offer(0, p)
	}
	if want := (Counts{Ignored: 3}); l.counts != want {
		t.Errorf("%+v, want %+v", l.counts, want)
	}
}

func TestJitterKeepsTheOrderOfAConnection(t *testing.T) {
	jitter, err := dist.New([]dist.Point{{Percentile: 50, Ns: 5 * ms}, {Percentile: 95, Ns: 50 * ms}})
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(&Spec{Jitter: jitter}, clientEnd)
	for i := range 200 {
		l.offer(int64(i), tcp(byte(i%2), byte(i)))
	}
	last, overtaken := [2]int{-1, -1}, 0
	for p := l.take(math.MaxInt64); p != nil; p = l.take(math.MaxInt64) {
		port, mark := p[21], int(p[40])
		if mark < last[port] {
			t.Fatalf("connection %d: %d after %d", port, mark, last[port])
		}
		if mark < last[1-port] {
			overtaken++
		}
		last[port] = mark
	}
	if overtaken == 0 {
		t.Error("connections wait for each other, or there is no jitter")
	}
}

// fates of n packets: true is lost.
func fates(spec Spec, direction, n int) []bool {
	l, lost := newLine(&spec, direction), make([]bool, n)
	for i := range lost {
		before := l.counts.Lost
		l.offer(0, tcp(0, 0))
		lost[i] = l.counts.Lost > before
		l.take(math.MaxInt64)
	}
	return lost
}

func TestLossIsDrawnFromTheSeed(t *testing.T) {
	spec := Spec{Seed: 3, Loss: netem.GilbertElliott{GoodLoss: 0.01}}
	a := fates(spec, clientEnd, 5_000)
	if !slices.Equal(a, fates(spec, clientEnd, 5_000)) {
		t.Error("equal seeds, other fates")
	}
	if slices.Equal(a, fates(spec, serverEnd, 5_000)) {
		t.Error("both directions share their draws")
	}
	spec.Seed++
	if slices.Equal(a, fates(spec, clientEnd, 5_000)) {
		t.Error("other seeds, equal fates")
	}
}

func TestLossComesInBursts(t *testing.T) {
	// A tenth of all packets is in the bad state, ten in a row.
	lost := fates(Spec{Loss: netem.GilbertElliott{BadLoss: 1, GoodToBad: 1.0 / 90, BadToGood: 0.1}}, clientEnd, 200_000)
	total, bursts := 0, 0
	for i, l := range lost {
		if l {
			total++
			if i == 0 || !lost[i-1] {
				bursts++
			}
		}
	}
	if share := float64(total) / float64(len(lost)); math.Abs(share-0.1) > 0.01 {
		t.Errorf("%.3f lost, want 0.1", share)
	}
	if length := float64(total) / float64(bursts); math.Abs(length-10) > 1 {
		t.Errorf("bursts of %.1f packets, want 10", length)
	}
}

func TestAFullLineLosesAndCounts(t *testing.T) {
	l := newLine(&Spec{RTTNs: 2 * ms}, clientEnd)
	for range MaxWaiting + 2 {
		l.offer(0, tcp(0, 0))
	}
	if want := (Counts{Packets: MaxWaiting + 2, Overflowed: 2}); l.counts != want {
		t.Errorf("%+v, want %+v", l.counts, want)
	}
}

func TestMoreConnectionsThanRemembered(t *testing.T) {
	l := newLine(&Spec{Jitter: dist.Constant(1)}, clientEnd)
	for i := range maxFlows + 10 {
		p := tcp(byte(i), 0)
		p[20], p[22] = byte(i>>8), byte(i>>16)
		l.offer(int64(i), p)
		l.take(int64(i))
	}
	if l.counts.Overflowed != 0 || len(l.flows) > maxFlows {
		t.Errorf("%d connections remembered, %+v", len(l.flows), l.counts)
	}
}

func TestSpecIsChecked(t *testing.T) {
	for _, spec := range []Spec{{RTTNs: -1}, {Loss: netem.GilbertElliott{GoodLoss: 1.5}}, {Loss: netem.GilbertElliott{GoodToBad: math.NaN()}}} {
		if _, err := New(spec); err == nil {
			t.Errorf("%+v is taken", spec)
		}
	}
}
