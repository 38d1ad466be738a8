package datagram

import (
	"bytes"
	"errors"
	"testing"
)

func collectorBoot(n int) Boot { return Boot{ID: 500 + uint64(n), Salt: [16]byte{0xcc, byte(n)}} }

func newAckSealer(t testing.TB, e Edge, edge, collector Boot) *AckSealer {
	t.Helper()
	s, err := NewAckSealer(e, edge, collector)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newAckOpener(t testing.TB) *AckOpener {
	t.Helper()
	o, err := NewAckOpener(testEdge(), testBoot())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func anAck(counter uint64) *Ack {
	a := &Ack{
		Counter: counter, HighestSeq: 2000, WindowBytes: 1 << 20, CapsEpoch: 3, CapsTotal: 9, CapsFirst: 7,
		ClosedCount: 2, Closed: framesOf("offer-1", "offer-22"),
	}
	for _, seq := range []uint64{2000, 1998, 977} {
		behind := a.HighestSeq - seq
		a.Committed[behind/8] |= 1 << (behind % 8)
	}
	return a
}

// testAck is a sealed ack for the example's edge, and what it says.
func testAck(t testing.TB) ([]byte, *Ack) {
	t.Helper()
	a := anAck(1)
	return newAckSealer(t, testEdge(), testBoot(), collectorBoot(0)).AppendAck(nil, a), a
}

func openAck(o *AckOpener, datagram []byte) (Ack, error) { return o.OpenAck(bytes.Clone(datagram)) }

func TestAckRoundTrip(t *testing.T) {
	d, want := testAck(t)
	got, err := openAck(newAckOpener(t), d)
	if err != nil || !got.Newest || !bytes.Equal(got.Closed, want.Closed) {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Newest, got.Closed = false, nil
	plain := *want
	plain.Closed = nil
	if !equalAcks(&got, &plain) {
		t.Errorf("got %+v, want %+v", got, plain)
	}
	for seq, has := range map[uint64]bool{2001: false, 2000: true, 1999: false, 1998: true, 977: true, 976: false, 1: false, 0: false} {
		if want.Has(seq) != has {
			t.Errorf("seq %d: %v", seq, !has)
		}
	}
}

func equalAcks(a, b *Ack) bool {
	return a.Counter == b.Counter && a.HighestSeq == b.HighestSeq && a.Committed == b.Committed &&
		a.WindowBytes == b.WindowBytes && a.CapsEpoch == b.CapsEpoch && a.CapsTotal == b.CapsTotal &&
		a.CapsFirst == b.CapsFirst && a.ClosedCount == b.ClosedCount && bytes.Equal(a.Closed, b.Closed)
}

// Below seq 1 there is nothing to be acked, whatever bits an ack has.
func TestAckBeforeTheFirst(t *testing.T) {
	a := Ack{HighestSeq: 2}
	for i := range a.Committed {
		a.Committed[i] = 0xff
	}
	if !a.Has(1) || !a.Has(2) || a.Has(0) || a.Has(3) || a.Has(1<<64-1) {
		t.Error("an ack for a seq that does not exist")
	}
}

// A forged ack would make an edge forget what central never had.
func TestAckEveryFlippedBitIsRefused(t *testing.T) {
	d, _ := testAck(t)
	known := newAckOpener(t)
	if _, err := openAck(known, d); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]*AckOpener{"collector unknown": newAckOpener(t), "collector known": known} {
		for bit := range len(d) * 8 {
			d[bit/8] ^= 1 << (bit % 8)
			if _, err := openAck(o, d); err == nil || errors.Is(err, ErrBadBody) {
				t.Fatalf("%s: bit %d of byte %d flipped: %v", name, bit%8, bit/8, err)
			}
			d[bit/8] ^= 1 << (bit % 8)
		}
		if _, err := openAck(o, d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAckRefusals(t *testing.T) {
	edge, impostor, stranger := testEdge(), testEdge(), testEdge()
	impostor.PSK[1]++
	stranger.ID++
	otherSalt := collectorBoot(1)
	otherSalt.Salt[5]++
	short := newAckSealer(t, edge, testBoot(), collectorBoot(1))
	tests := []struct {
		name     string
		datagram []byte
		want     error
	}{
		{"empty", nil, ErrShort},
		{"too long", make([]byte, MaxBytes+1), ErrLong},
		{"data", sealed(newSealer(t, edge, testBoot()), 1), ErrFlags},
		{"for another edge", newAckSealer(t, stranger, testBoot(), collectorBoot(1)).AppendAck(nil, anAck(1)), ErrUnknownEdge},
		{"for another boot", newAckSealer(t, edge, laterBoot(1), collectorBoot(1)).AppendAck(nil, anAck(1)), ErrForged},
		{"wrong key", newAckSealer(t, impostor, testBoot(), collectorBoot(1)).AppendAck(nil, anAck(1)), ErrForged},
		{"wrong key, newer collector", newAckSealer(t, impostor, testBoot(), collectorBoot(2)).AppendAck(nil, anAck(1)), ErrForged},
		{"other salt", newAckSealer(t, edge, testBoot(), otherSalt).AppendAck(nil, anAck(1)), ErrForged},
		{"older collector", newAckSealer(t, edge, testBoot(), collectorBoot(0)).AppendAck(nil, anAck(1)), ErrOldBoot},
		{"too short a body", short.seal(nil, 1, 0, make([]byte, ackBodyBytes-1)), ErrBadBody},
		{"list too short", short.seal(nil, 2, 2, append(make([]byte, ackBodyBytes), framesOf("o")...)), ErrBadBody},
		{"list too long", short.seal(nil, 3, 0, append(make([]byte, ackBodyBytes), framesOf("o")...)), ErrBadBody},
		{"offer id too long", short.seal(nil, 4, 1, AppendFrame(make([]byte, ackBodyBytes), make([]byte, 65))), ErrBadBody},
	}
	o := newAckOpener(t)
	if _, err := o.OpenAck(newAckSealer(t, edge, testBoot(), collectorBoot(1)).AppendAck(nil, anAck(1))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if _, err := openAck(o, tt.datagram); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := o.OpenAck(newAckSealer(t, edge, testBoot(), collectorBoot(1)).AppendAck(nil, anAck(9))); err != nil {
		t.Errorf("after all the refused ones: %v", err)
	}
}

// Late and repeated acks say what is true, but their state is stale.
func TestAckNewest(t *testing.T) {
	o, s := newAckOpener(t), newAckSealer(t, testEdge(), testBoot(), collectorBoot(0))
	first, second, third := s.AppendAck(nil, anAck(1)), s.AppendAck(nil, anAck(2)), s.AppendAck(nil, anAck(3))
	restarted := newAckSealer(t, testEdge(), testBoot(), collectorBoot(1)).AppendAck(nil, anAck(1))
	for i, tt := range []struct {
		datagram []byte
		newest   bool
		err      error
	}{
		{second, true, nil}, {first, false, nil}, {second, false, nil}, {third, true, nil},
		{restarted, true, nil}, {restarted, false, nil}, {third, false, ErrOldBoot},
	} {
		if got, err := openAck(o, tt.datagram); !errors.Is(err, tt.err) || got.Newest != tt.newest {
			t.Errorf("ack %d: newest %v, %v", i, got.Newest, err)
		}
	}
}
