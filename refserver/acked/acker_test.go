package acked

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/postbench/postbench/refserver/datagram"
)

func opened(boot int, seq uint64) *datagram.Opened {
	b := edgeBoot(boot)
	return &datagram.Opened{EdgeID: 7, KeyID: 2, Boot: b.ID, Salt: b.Salt, Seq: seq, WantsAck: true}
}

func newOpener(t testing.TB, boot int) *datagram.AckOpener {
	t.Helper()
	o, err := datagram.NewAckOpener(testEdge(), edgeBoot(boot))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func ticketOf(t testing.TB, a *Acker, o *datagram.Opened, port uint16) Ticket {
	t.Helper()
	ticket, wanted := a.Opened(o, testAddr(port))
	if !wanted {
		t.Fatalf("boot %d, datagram %d wants no ack", o.Boot, o.Seq)
	}
	return ticket
}

// Whatever is committed in whatever order, with whatever gaps, an ack says so
// of the last 1,024 numbers and of nothing else.
func TestAcksSayWhatIsCommitted(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a, opener := newAcker(t, 1), newOpener(t, 1)
		committed, highest := make(map[uint64]bool), uint64(0)
		var open []Ticket
		seqOf := make(map[Ticket]uint64)
		for range 300 {
			seq := highest + 1 + rng.Uint64N(3)
			if rng.IntN(100) == 0 {
				seq += rng.Uint64N(3 * recordBits)
			}
			highest = seq
			ticket := ticketOf(t, a, opened(1, seq), 1)
			open, seqOf[ticket] = append(open, ticket), seq
			if rng.IntN(3) > 0 && len(open) > 0 {
				i := rng.IntN(len(open))
				a.Committed(open[i])
				if at := seqOf[open[i]]; highest-at < datagram.AckBits {
					committed[at] = true
				}
				open = slices.Delete(open, i, i+1)
			}
			for _, ack := range a.Flush() {
				got, err := opener.OpenAck(bytes.Clone(ack.Bytes))
				if err != nil || got.HighestSeq != highest || !got.Newest {
					t.Fatalf("%v, highest %d, want %d", err, got.HighestSeq, highest)
				}
				for seq := highest - min(highest, datagram.AckBits+10); seq <= highest; seq++ {
					if want := committed[seq] && highest-seq < datagram.AckBits; got.Has(seq) != want {
						t.Fatalf("seed %d: seq %d of %d: acked %v, committed %v", seed, seq, highest, !want, want)
					}
				}
			}
		}
	}
}

func TestAcksArePaced(t *testing.T) {
	a := newAcker(t, 1)
	step := func(nowNs int64, wantAcks int, wantNextNs int64) {
		t.Helper()
		if acks, nextNs := a.Step(nowNs); len(acks) != wantAcks || nextNs != wantNextNs {
			t.Errorf("at %d: %d acks, next at %d; want %d, %d", nowNs, len(acks), nextNs, wantAcks, wantNextNs)
		}
	}
	first, second := ticketOf(t, a, opened(1, 1), 1), ticketOf(t, a, opened(1, 2), 1)
	step(0, 0, NeverNs) // nothing is committed
	a.Committed(first)
	step(5, 1, NeverNs)
	a.Committed(second)
	a.Replayed(opened(1, 1))
	step(6, 0, 5+AckEveryNs)
	step(5+AckEveryNs, 1, NeverNs)
	a.Replayed(opened(1, 1))
	if acks := a.Flush(); len(acks) != 1 {
		t.Errorf("%d acks at the end", len(acks))
	}
	a.Replayed(opened(3, 1)) // a boot that this life has not heard of
	step(10*AckEveryNs, 0, NeverNs)
}

// Acks go where the highest number came from: late copies come from anywhere.
func TestAcksFollowTheSender(t *testing.T) {
	a := newAcker(t, 1)
	ticketOf(t, a, opened(1, 5), 1)
	late := ticketOf(t, a, opened(1, 4), 2)
	a.Committed(late)
	if acks := a.Flush(); acks[0].To != testAddr(1) {
		t.Errorf("to %v", acks[0].To)
	}
	moved := ticketOf(t, a, opened(1, 6), 3)
	a.Committed(moved)
	if acks := a.Flush(); acks[0].To != testAddr(3) {
		t.Errorf("to %v", acks[0].To)
	}
}

// An edge whose key is replaced gets acks under the key that it uses.
func TestAcksUseTheSendersKey(t *testing.T) {
	next := datagram.Edge{ID: 7, KeyID: 3, PSK: [32]byte{8}}
	a, err := NewAcker([]datagram.Edge{testEdge(), next}, centralBoot(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	a.Committed(ticketOf(t, a, opened(1, 1), 1))
	a.Flush()
	o := opened(1, 2)
	o.KeyID = 3
	a.Committed(ticketOf(t, a, o, 1))
	opener, err := datagram.NewAckOpener(next, edgeBoot(1))
	if err != nil {
		t.Fatal(err)
	}
	if ack, err := opener.OpenAck(a.Flush()[0].Bytes); err != nil || !ack.Has(1) || !ack.Has(2) {
		t.Errorf("%+v, %v", ack, err)
	}
}

func TestBootsAreBounded(t *testing.T) {
	a := newAcker(t, 1)
	var tickets []Ticket
	for boot := range datagram.MaxBoots + 1 {
		tickets = append(tickets, ticketOf(t, a, opened(boot+2, 1), 1))
		a.Replayed(opened(boot+2, 1))
	}
	if n := len(a.edges[7]); n != datagram.MaxBoots {
		t.Errorf("%d boots known", n)
	}
	a.Committed(tickets[0]) // forgotten
	if acks := a.Flush(); len(acks) != datagram.MaxBoots {
		t.Errorf("%d acks", len(acks))
	}
	if _, wanted := a.Opened(opened(1, 1), testAddr(1)); wanted {
		t.Error("a boot older than all of a full list is admitted")
	}
	o := opened(20, 1)
	o.WantsAck = false
	if _, wanted := a.Opened(o, testAddr(1)); wanted || len(a.edges[7]) != datagram.MaxBoots {
		t.Error("a datagram that wants no ack is to get one")
	}
	if _, err := NewAcker([]datagram.Edge{{ID: 1}}, centralBoot(1), 0); !errors.Is(err, datagram.ErrNoKey) {
		t.Error(err)
	}
	if _, err := NewAcker([]datagram.Edge{testEdge()}, datagram.Boot{}, 0); !errors.Is(err, datagram.ErrNoBoot) {
		t.Error(err)
	}
}
