package datagram

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

const nowNs = int64(testBootID)

// step gives the receiver a copy: a datagram opened in place cannot be given twice.
func step(r *Receiver, atNs int64, datagram []byte) error {
	_, err := r.Step(atNs, bytes.Clone(datagram))
	return err
}

func wantStep(t *testing.T, r *Receiver, atNs int64, datagram []byte, want error) {
	t.Helper()
	if err := step(r, atNs, datagram); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	body, count := fullBody()
	s := newSealer(t, testEdge(), testBoot())
	s.AskForAcks()
	d := s.Seal(nil, 9, count, body)
	known := newReceiver(t, []Edge{testEdge()})
	wantStep(t, known, nowNs, newSealer(t, testEdge(), testBoot()).Seal(nil, 1, 0, nil), nil)
	receivers := map[string]*Receiver{
		"boot unknown": newReceiver(t, []Edge{testEdge()}),
		"boot known":   known,
		"restarted":    newReceiver(t, []Edge{testEdge()}, known.States()...),
	}
	for name, r := range receivers {
		before := r.States()
		for bit := range len(d) * 8 {
			d[bit/8] ^= 1 << (bit % 8)
			if err := step(r, nowNs, d); err == nil || errors.Is(err, ErrReplay) || errors.Is(err, ErrBadBody) {
				t.Fatalf("%s: bit %d of byte %d flipped: %v", name, bit%8, bit/8, err)
			}
			d[bit/8] ^= 1 << (bit % 8)
		}
		if !slices.Equal(r.States(), before) {
			t.Errorf("%s: refused datagrams changed the state", name)
		}
		c := r.Counts()
		if c.Refused() != int64(len(d)*8) || c.Magic != 32 || c.Version != 8 || c.Forged == 0 {
			t.Errorf("%s: %+v", name, c)
		}
		wantStep(t, r, nowNs, d, nil)
	}
}

func TestRefusals(t *testing.T) {
	edge, stranger, impostor := testEdge(), testEdge(), testEdge()
	stranger.ID++
	impostor.PSK[0]++
	otherSalt := testBoot()
	otherSalt.Salt[3]++
	ack, _ := testAck(t)
	badBody := func(count int, body []byte) []byte {
		return newSealer(t, edge, testBoot()).Seal(nil, 20, count, body)
	}
	tests := []struct {
		name     string
		datagram []byte
		want     error
		counted  func(Counts) int64
	}{
		{"empty", nil, ErrShort, func(c Counts) int64 { return c.Short }},
		{"cut off", sealed(newSealer(t, edge, testBoot()), 1)[:Overhead-1], ErrShort, func(c Counts) int64 { return c.Short }},
		{"too long", make([]byte, MaxBytes+1), ErrLong, func(c Counts) int64 { return c.Long }},
		{"an ack", ack, ErrFlags, func(c Counts) int64 { return c.Flags }},
		{"unknown edge", sealed(newSealer(t, stranger, testBoot()), 1), ErrUnknownEdge, func(c Counts) int64 { return c.UnknownEdge }},
		{"wrong key", sealed(newSealer(t, impostor, testBoot()), 1), ErrForged, func(c Counts) int64 { return c.Forged }},
		{"wrong key, newer boot", sealed(newSealer(t, impostor, laterBoot(1)), 1), ErrForged, func(c Counts) int64 { return c.Forged }},
		{"known boot, other salt", sealed(newSealer(t, edge, otherSalt), 1), ErrForged, func(c Counts) int64 { return c.Forged }},
		{"never known boot", sealed(newSealer(t, edge, laterBoot(-1)), 1), ErrOldBoot, func(c Counts) int64 { return c.OldBoot }},
		{"seq taken", sealed(newSealer(t, edge, testBoot()), 10), ErrReplay, func(c Counts) int64 { return c.Replay }},
		{"count too high", badBody(2, framesOf("x")), ErrBadBody, func(c Counts) int64 { return c.BadBody }},
		{"count too low", badBody(1, framesOf("x", "y")), ErrBadBody, func(c Counts) int64 { return c.BadBody }},
		{"half a frame", badBody(1, framesOf("xyz")[:4]), ErrBadBody, func(c Counts) int64 { return c.BadBody }},
	}
	for _, tt := range tests {
		r := newReceiver(t, []Edge{edge})
		wantStep(t, r, nowNs, sealed(newSealer(t, edge, testBoot()), 10), nil)
		before := r.Counts()
		wantStep(t, r, nowNs, tt.datagram, tt.want)
		c := r.Counts()
		if tt.counted(c) != 1 || c.Refused() != 1 || c.Opened != 1 || c.Records != 1 ||
			c.Bytes != before.Bytes+int64(len(tt.datagram)) {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
}

// A datagram without a record is legal: a probe that asks for an ack.
func TestProbe(t *testing.T) {
	r := newReceiver(t, []Edge{testEdge()})
	opened, err := r.Step(nowNs, newSealer(t, testEdge(), testBoot()).Seal(nil, 1, 0, nil))
	if err != nil || opened.Count != 0 || len(opened.Body) != 0 {
		t.Errorf("%+v, %v", opened, err)
	}
}

// Who sends an authentic datagram again waits for an ack: it is known who that
// is. Of other refused datagrams nothing is known.
func TestReplayTellsItsSender(t *testing.T) {
	r, s := newReceiver(t, []Edge{testEdge()}), newSealer(t, testEdge(), testBoot())
	s.AskForAcks()
	first, far := s.Seal(nil, 1, 1, framesOf("record")), s.Seal(nil, 2, 0, nil)
	newest := s.Seal(nil, WindowBits+10, 0, nil)
	forged := bytes.Clone(first)
	forged[HeaderBytes]++
	for _, d := range [][]byte{first, newest} {
		wantStep(t, r, nowNs, d, nil)
	}
	boot := testBoot()
	for _, tt := range []struct {
		datagram []byte
		seq      uint64
	}{{newest, WindowBits + 10}, {first, 1}, {far, 2}} {
		o, err := r.Step(nowNs, bytes.Clone(tt.datagram))
		if err == nil || o.EdgeID != testEdge().ID || o.KeyID != testEdge().KeyID || o.Boot != boot.ID || o.Salt != boot.Salt ||
			o.Seq != tt.seq || !o.WantsAck || o.Body != nil || o.Count != 0 {
			t.Errorf("seq %d: %+v, %v", tt.seq, o, err)
		}
	}
	if o, err := r.Step(nowNs, forged); !errors.Is(err, ErrForged) || o.WantsAck || o.Boot != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

// Every refusal has a name, and it is FORMAT.md's.
func TestReasons(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, refusal := range []error{ErrShort, ErrLong, ErrMagic, ErrVersion, ErrFlags, ErrUnknownEdge, ErrOldBoot, ErrForged,
		ErrReplay, ErrBehindWindow, ErrBadBody} {
		if name := Reason(fmt.Errorf("wrapped: %w", refusal)); name == "" || !bytes.Contains(doc, []byte(name)) {
			t.Errorf("%v: %q", refusal, name)
		}
	}
	if name := Reason(errors.New("another")); name != "" {
		t.Error(name)
	}
}

func TestReorderedAreTakenOnce(t *testing.T) {
	s, r := newSealer(t, testEdge(), testBoot()), newReceiver(t, []Edge{testEdge()})
	var datagrams [][]byte
	for seq := range uint64(300) {
		datagrams = append(datagrams, sealed(s, seq+1))
	}
	slices.Reverse(datagrams)
	for _, d := range datagrams {
		wantStep(t, r, nowNs, d, nil)
	}
	for _, d := range datagrams {
		wantStep(t, r, nowNs, d, ErrReplay)
	}
}

func TestReplayAfterRestart(t *testing.T) {
	edge := testEdge()
	s, r := newSealer(t, edge, testBoot()), newReceiver(t, []Edge{edge})
	d1, d2, d3, d4 := sealed(s, 1), sealed(s, 2), sealed(s, 3), sealed(s, 4)
	wantStep(t, r, nowNs, d1, nil)
	wantStep(t, r, nowNs, d3, nil)

	r = newReceiver(t, []Edge{edge}, r.States()...)
	otherSalt := testBoot()
	otherSalt.Salt[0]++ // authentic, but the stored boot had another
	wantStep(t, r, nowNs, sealed(newSealer(t, edge, otherSalt), 9), ErrForged)
	wantStep(t, r, nowNs, d1, ErrReplay)
	wantStep(t, r, nowNs, d3, ErrReplay)
	wantStep(t, r, nowNs, d2, ErrReplay) // never taken, but nobody can know that any more
	if got := r.States(); len(got) != 1 || got[0] != (BootState{EdgeID: 7, Boot: testBootID, Salt: testBoot().Salt, HighestSeq: 3}) {
		t.Errorf("states after the restart %+v", got)
	}
	wantStep(t, r, nowNs, d4, nil)
	wantStep(t, r, nowNs, d4, ErrReplay)
	if got := r.States(); got[0].HighestSeq != 4 {
		t.Errorf("states at the end %+v", got)
	}
}

// Of several states of an edge the highest counts, in whatever order they come.
func TestRestoresTheHighestState(t *testing.T) {
	edge := testEdge()
	state := func(bootsLater int, seq uint64) BootState {
		b := laterBoot(bootsLater)
		return BootState{EdgeID: edge.ID, Boot: b.ID, Salt: b.Salt, HighestSeq: seq}
	}
	states := []BootState{state(1, 90), state(2, 5), state(2, 7), state(2, 6), {EdgeID: 999, Boot: 1}}
	for range states {
		states = append(states[1:], states[0])
		r := newReceiver(t, []Edge{edge}, states...)
		if got := r.States(); len(got) != 1 || got[0] != state(2, 7) {
			t.Errorf("restored %+v", got)
		}
		wantStep(t, r, nowNs, sealed(newSealer(t, edge, laterBoot(1)), 91), ErrOldBoot)
	}
}

func TestOldBootsEnd(t *testing.T) {
	edge := testEdge()
	r := newReceiver(t, []Edge{edge})
	older, newer := newSealer(t, edge, testBoot()), newSealer(t, edge, laterBoot(1))
	wantStep(t, r, nowNs, sealed(older, 1), nil)
	wantStep(t, r, nowNs, sealed(newer, 1), nil) // a window of its own
	late := sealed(older, 2)
	wantStep(t, r, nowNs+OldBootNs-1, late, nil)
	wantStep(t, r, nowNs+OldBootNs-1, late, ErrReplay)
	wantStep(t, r, nowNs+OldBootNs, sealed(older, 3), ErrOldBoot)
	wantStep(t, r, nowNs+OldBootNs, late, ErrOldBoot)
	wantStep(t, r, nowNs, sealed(older, 4), ErrOldBoot) // not even if the clock goes back
	wantStep(t, r, nowNs+10*OldBootNs, sealed(newer, 2), nil)

	// A third boot does not give the first one new time.
	r = newReceiver(t, []Edge{edge})
	first, second, third := newSealer(t, edge, testBoot()), newSealer(t, edge, laterBoot(1)), newSealer(t, edge, laterBoot(2))
	wantStep(t, r, nowNs, sealed(first, 1), nil)
	wantStep(t, r, nowNs, sealed(second, 1), nil)
	wantStep(t, r, nowNs+OldBootNs/2, sealed(third, 1), nil)
	wantStep(t, r, nowNs+OldBootNs, sealed(first, 2), ErrOldBoot)
	wantStep(t, r, nowNs+OldBootNs, sealed(second, 2), nil)
	wantStep(t, r, nowNs+OldBootNs*3/2, sealed(second, 3), ErrOldBoot)

	// After a restart only the newest is left.
	r = newReceiver(t, []Edge{edge}, r.States()...)
	wantStep(t, r, nowNs+OldBootNs, sealed(second, 4), ErrOldBoot)
	wantStep(t, r, nowNs+OldBootNs, sealed(third, 2), nil)
}

// A boot first heard of after a newer one may be a replay from long ago.
func TestBootGoingBackwards(t *testing.T) {
	edge := testEdge()
	r := newReceiver(t, []Edge{edge})
	wantStep(t, r, nowNs, sealed(newSealer(t, edge, testBoot()), 1), nil)
	wantStep(t, r, nowNs, sealed(newSealer(t, edge, laterBoot(2)), 1), nil)
	wantStep(t, r, nowNs, sealed(newSealer(t, edge, laterBoot(1)), 1), ErrOldBoot)
	wantStep(t, r, nowNs, sealed(newSealer(t, edge, laterBoot(-1)), 1), ErrOldBoot)
	if got := r.States(); got[0].Boot != laterBoot(2).ID {
		t.Errorf("the newest boot is %+v", got)
	}
}

func TestBootsAreBounded(t *testing.T) {
	edge := testEdge()
	r := newReceiver(t, []Edge{edge})
	var sealers []*Sealer
	for n := range MaxBoots + 1 {
		s := newSealer(t, edge, laterBoot(n))
		wantStep(t, r, nowNs, sealed(s, 1), nil)
		sealers = append(sealers, s)
	}
	wantStep(t, r, nowNs, sealed(sealers[0], 2), ErrOldBoot)
	for _, s := range sealers[1:] {
		wantStep(t, r, nowNs, sealed(s, 2), nil)
	}
}

// While a key is being replaced both are accepted; edges do not disturb each other.
func TestSeveralKeysAndEdges(t *testing.T) {
	oldKey, newKey, other := testEdge(), testEdge(), testEdge()
	newKey.KeyID, newKey.PSK[0] = 2, 99
	other.ID = 8
	r := newReceiver(t, []Edge{other, oldKey, newKey})
	wantStep(t, r, nowNs, sealed(newSealer(t, oldKey, testBoot()), 1), nil)
	wantStep(t, r, nowNs, sealed(newSealer(t, newKey, laterBoot(1)), 1), nil)
	wantStep(t, r, nowNs, sealed(newSealer(t, other, testBoot()), 1), nil)
	states := r.States()
	if len(states) != 2 || states[0].EdgeID != 7 || states[0].Boot != laterBoot(1).ID || states[1].EdgeID != 8 || states[1].Boot != testBootID {
		t.Errorf("states %+v", states)
	}
	// Two sealers of one boot would be the edge's bug; the window is the boot's, not the key's.
	wantStep(t, r, nowNs, sealed(newSealer(t, oldKey, laterBoot(1)), 1), ErrReplay)
}

func TestBootStateRoundTrip(t *testing.T) {
	want := BootState{EdgeID: 0x102, Boot: 1<<63 + 5, Salt: testBoot().Salt, HighestSeq: 1<<64 - 1}
	b := want.Append([]byte("x"))[1:]
	var got BootState
	if err := got.Decode(b); err != nil || got != want || len(b) != stateBytes {
		t.Errorf("%d bytes decode to %+v, %v", len(b), got, err)
	}
	b[0] = 2
	for name, bad := range map[string][]byte{"empty": nil, "version": b, "short": b[:stateBytes-1], "long": append(b, 0)} {
		if err := got.Decode(bad); !errors.Is(err, ErrBadState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
