package netem

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const halfNs = 42_500_000 // one way of the tests' 85 ms

// script is a carrier that loses listed transmissions, by their ordinal from 0
// in order of sending, and takes 42.5 ms for the others.
type script struct {
	lose   []int
	sent   int
	causes []cause
}

func (s *script) transmit(nowNs int64, seg *segment, why cause) {
	if seg.attempts == 0 {
		seg.firstNs = nowNs
	}
	seg.attempts++
	seg.sentNs, seg.ackDelayNs, seg.arriveNs = nowNs, halfNs, nowNs+halfNs
	if slices.Contains(s.lose, s.sent) {
		seg.arriveNs = neverNs
	}
	s.sent++
	s.causes = append(s.causes, why)
}

// play steps a flow along its deadlines and returns when bytes were complete.
func play(t *testing.T, f *flow, fromNs int64, bytes int) (doneNs int64) {
	t.Helper()
	nowNs := fromNs
	for range 1000 {
		n, _ := f.take(nowNs)
		if bytes -= n; bytes <= 0 {
			return nowNs
		}
		next := f.deadline()
		if next == neverNs {
			t.Fatalf("%d bytes are missing and nothing is due", bytes)
		}
		if next <= nowNs && n == 0 {
			t.Fatalf("at %d: nothing happens, next at %d", nowNs, next)
		}
		nowNs = max(nowNs, next)
	}
	t.Fatal("it never ends")
	return 0
}

// What one loss costs, as it was measured with Linux 6.18 at 85 ms; the range
// is the coarseness of the kernel's timers.
func TestRecoveryTakesAsLongAsLinux(t *testing.T) {
	for _, c := range []struct {
		name     string
		segments int
		lose     []int
		fromMs   int64
		toMs     int64
		causes   []cause
	}{
		{"nothing lost", 1, nil, 0, 0, nil},
		{"single segment", 1, []int{0}, 286, 324, []cause{causeProbe}},
		{"single segment, and its probe", 1, []int{0, 1}, 572, 648, []cause{causeProbe, causeTimeout}},
		{"single segment, three times", 1, []int{0, 1, 2}, 1142, 1290, []cause{causeProbe, causeTimeout, causeTimeout}},
		{"first of two: RACK", 2, []int{0}, 106, 116, []cause{causeFast}},
		{"second of two: the timer begins again", 2, []int{1}, 371, 410, []cause{causeProbe}},
		{"first of four: three duplicates", 4, []int{0}, 85, 85, []cause{causeFast}},
		{"second of four", 4, []int{1}, 106, 116, []cause{causeFast}},
		{"both of two", 2, []int{0, 1}, 257, 272, []cause{causeProbe, causeFast}},
		{"first of two, twice", 2, []int{0, 2}, 391, 440, []cause{causeFast, causeTimeout}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for phase := range int64(64) { // of the kernel's timer wheel
				s := &script{lose: c.lose}
				f := newFlow(s, 2*halfNs, initialWindow)
				fromNs := phase * 2 * msNs
				f.send(fromNs, c.segments*mssBytes)
				took := (play(t, &f, fromNs, c.segments*mssBytes) - fromNs - halfNs) / msNs
				if took < c.fromMs || took > c.toMs {
					t.Errorf("phase %d: %d ms more, want %d to %d", phase, took, c.fromMs, c.toMs)
				}
				if got := s.causes[c.segments:]; !slices.Equal(got, c.causes) {
					t.Errorf("phase %d: sent again because of %v, want %v", phase, got, c.causes)
				}
			}
		})
	}
}

// A client's last handshake message and its request, one behind the other.
func TestLostRequestBehindADelayedAcknowledgement(t *testing.T) {
	s := &script{lose: []int{2}}
	f := newFlow(s, 2*halfNs, initialWindow)
	f.send(0, 300)
	play(t, &f, 0, 300)
	f.receiver.reply(&f, halfNs) // the server answers: from now on it delays
	f.send(100*msNs, 64)
	f.send(100*msNs, 350)
	took := (play(t, &f, 100*msNs, 64+350) - 100*msNs - halfNs) / msNs
	if took < 125+285 || took > 125+285+4+36 {
		t.Errorf("%d ms more", took)
	}
}

// Later segments, sent meanwhile, bring the news of a loss before the timer.
func TestLaterSegmentsSpeedUp(t *testing.T) {
	s := &script{lose: []int{0}}
	f := newFlow(s, 2*halfNs, initialWindow)
	f.send(0, 100)
	f.send(50*msNs, 100)
	if took := play(t, &f, 50*msNs, 200) / msNs; took < 135+42 || took > 135+42+6 {
		t.Errorf("complete after %d ms", took)
	}
}

// The window opens by one for each segment heard of.
func TestSlowStart(t *testing.T) {
	for _, c := range []struct{ window, segments, roundTrips int }{
		{10, 10, 0}, {10, 11, 1}, {10, 30, 1}, {10, 31, 2}, {1, 2, 1}, {1, 4, 2},
	} {
		f := newFlow(&script{}, 2*halfNs, c.window)
		bytes := c.segments * mssBytes
		f.send(0, bytes)
		if took := play(t, &f, 0, bytes); took != int64(halfNs+c.roundTrips*2*halfNs) {
			t.Errorf("%d segments with a window of %d: %d ns", c.segments, c.window, took)
		}
	}
}

// Nothing overtakes: what arrived behind a gap waits for it.
func TestHeadOfLine(t *testing.T) {
	s := &script{lose: []int{0}}
	f := newFlow(s, 2*halfNs, initialWindow)
	f.send(0, 2*mssBytes)
	if n, _ := f.take(100 * msNs); n != 0 {
		t.Errorf("%d bytes overtook a lost segment", n)
	}
	if n, fin := f.take(400 * msNs); n != 2*mssBytes || fin {
		t.Errorf("%d bytes, FIN %v", n, fin)
	}
	f.send(400*msNs, 10)
	f.send(400*msNs, 0)
	if n, fin := f.take(500 * msNs); n != 10 || !fin {
		t.Errorf("%d bytes, FIN %v", n, fin)
	}
	f.step(2000 * msNs)
	if len(f.segments) != 0 {
		t.Errorf("%d segments are kept for nothing", len(f.segments))
	}
}

// Whatever is lost, everything arrives once and in order, and nothing is kept.
func TestEverythingArrives(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		spec := &PathSpec{RTTNs: 2 * halfNs, Loss: GilbertElliott{GoodLoss: 0.2, BadLoss: 0.9, GoodToBad: 0.1, BadToGood: 0.3}, RateBitsPerS: 1e6}
		there, back := &medium{seed: seed, spec: spec}, &medium{seed: seed + 1, spec: spec}
		flows := [2]flow{newFlow(there, spec.RTTNs, initialWindow), newFlow(back, spec.RTTNs, 1)}
		var sent, got [2]int
		nowNs := int64(0)
		take := func() {
			for i := range flows {
				n, _ := flows[i].take(nowNs)
				got[i] += n
			}
		}
		for range 200 {
			nowNs += random.Int64N(60 * msNs)
			to := random.IntN(2)
			flows[1-to].receiver.reply(&flows[1-to], nowNs)
			n := 1 + random.IntN(4*mssBytes)
			flows[to].send(nowNs, n)
			sent[to] += n
			take()
		}
		for flows[0].deadline() != neverNs || flows[1].deadline() != neverNs {
			nowNs = max(nowNs, min(flows[0].deadline(), flows[1].deadline()))
			take()
		}
		nowNs += 10_000 * msNs
		take()
		if got != sent || len(flows[0].segments)+len(flows[1].segments) > 0 {
			t.Fatalf("seed %d: sent %v, got %v, kept %d and %d", seed, sent, got, len(flows[0].segments), len(flows[1].segments))
		}
		for _, truth := range []Truth{there.truth, back.truth} {
			if truth.Lost != truth.Retransmissions || truth.Lost == 0 {
				t.Fatalf("seed %d: %+v", seed, truth)
			}
		}
	}
}

func TestHandshake(t *testing.T) {
	for _, c := range []struct {
		name         string
		loseOut, in  []int
		fromMs, toMs int64
		fails        bool
	}{
		{"nothing lost", nil, nil, 85, 85, false},
		{"SYN", []int{0}, nil, 1085, 1085 + 36, false},
		{"SYN-ACK", nil, []int{0}, 1085, 1085 + 36, false},
		{"two SYNs", []int{0, 1}, nil, 2085, 2085 + 72, false},
		{"SYN, then SYN-ACK", []int{0}, []int{0}, 2085, 2085 + 72, false},
		{"all SYNs", []int{0, 1, 2, 3, 4, 5, 6}, nil, 11_000, 12_000, true},
		{"all SYN-ACKs", nil, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 11_000, 12_000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, in := &script{lose: c.loseOut}, &script{lose: c.in}
			h := newHandshake(0, out, in)
			nowNs := int64(0)
			for range 100 {
				next, arrived, done, failed := h.step(nowNs)
				switch {
				case done || failed:
					if ms := nowNs / msNs; failed != c.fails || ms < c.fromMs || ms > c.toMs {
						t.Errorf("failed: %v after %d ms", failed, ms)
					}
					if cost := nowNs - 2*halfNs; done && h.delayedNs() != cost {
						t.Errorf("the losses cost %d ns, counted %d", cost, h.delayedNs())
					}
					return
				case arrived:
					h.accept(nowNs)
				case next <= nowNs:
					t.Fatalf("nothing happens at %d", nowNs)
				default:
					nowNs = next
				}
			}
			t.Error("it never ends")
		})
	}
}
