package batch

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver/datagram"
)

func testEdge() datagram.Edge { return datagram.Edge{ID: 1, KeyID: 1, PSK: [32]byte{1}} }

func newBatcher(t testing.TB, maxDatagrams int) *Batcher[int] {
	t.Helper()
	sealer, err := datagram.NewSealer(testEdge(), datagram.Boot{ID: 1, Salt: [16]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New[int](sealer, Options{MaxDatagramsPerTick: maxDatagrams})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newReceiver(t *testing.T) *datagram.Receiver {
	t.Helper()
	r, err := datagram.NewReceiver([]datagram.Edge{testEdge()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// add adds records of the given lengths, with tokens that count from first on.
func add(t *testing.T, b *Batcher[int], first int, lengths ...int) {
	t.Helper()
	for i, n := range lengths {
		if err := b.Add(bytes.Repeat([]byte{'r'}, n), first+i); err != nil {
			t.Fatal(err)
		}
	}
}

func tokensOf(datagrams []Datagram[int]) (tokens [][]int) {
	for _, d := range datagrams {
		tokens = append(tokens, d.Tokens)
	}
	return tokens
}

func TestPacksGreedily(t *testing.T) {
	// The body is 1140 bytes and a record costs 2 more than its length.
	tests := []struct {
		name    string
		lengths []int
		want    [][]int
	}{
		{"nothing", nil, nil},
		{"one", []int{100}, [][]int{{0}}},
		{"exactly full", []int{378, 378, 378}, [][]int{{0, 1, 2}}},
		{"one byte too many", []int{378, 378, 379}, [][]int{{0, 1}, {2}}},
		{"the longest", []int{480, 480, 480}, [][]int{{0, 1}, {2}}},
		{"never out of order", []int{480, 480, 480, 10}, [][]int{{0, 1}, {2, 3}}},
		{"the rest waits", []int{480, 480, 480, 480, 480, 480, 480}, [][]int{{0, 1}, {2, 3}, {4, 5}}},
	}
	for _, tt := range tests {
		b := newBatcher(t, 3)
		add(t, b, 0, tt.lengths...)
		datagrams := b.Tick()
		if got := tokensOf(datagrams); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: tokens %v, want %v", tt.name, got, tt.want)
		}
		packed := 0
		for i, d := range datagrams {
			if d.Seq != uint64(i+1) || len(d.Bytes) > datagram.MaxBytes {
				t.Errorf("%s: datagram %d has seq %d and %d bytes", tt.name, i, d.Seq, len(d.Bytes))
			}
			packed += len(d.Tokens)
		}
		b.Sent(len(datagrams))
		if b.Pending() != len(tt.lengths)-packed {
			t.Errorf("%s: %d pending", tt.name, b.Pending())
		}
	}
}

// What the kernel did not take is sent on the next tick, before anything newer
// and under a number of its own.
func TestUnsentStayPending(t *testing.T) {
	b := newBatcher(t, 2)
	add(t, b, 0, 480, 480, 480, 480, 480)
	if got := tokensOf(b.Tick()); fmt.Sprint(got) != "[[0 1] [2 3]]" {
		t.Fatal(got)
	}
	b.Sent(1)
	if c := b.Counts(); c.Records != 2 || c.Datagrams != 1 || c.Bytes != int64(datagram.Overhead+2*482) {
		t.Errorf("%+v", c)
	}
	add(t, b, 5, 10)
	datagrams := b.Tick()
	if fmt.Sprint(tokensOf(datagrams)) != "[[2 3] [4 5]]" || datagrams[0].Seq != 3 || datagrams[1].Seq != 4 {
		t.Errorf("%+v", datagrams)
	}
	b.Sent(0)
	if b.Pending() != 4 {
		t.Errorf("%d pending", b.Pending())
	}
	again := b.Tick()
	if again[0].Seq != 5 {
		t.Errorf("seq %d", again[0].Seq)
	}
	b.Sent(2)
	if c := b.Counts(); c.Records != 6 || c.Datagrams != 3 || b.Pending() != 0 || len(b.Tick()) != 0 {
		t.Errorf("%+v, %d pending", c, b.Pending())
	}
}

func TestRefuses(t *testing.T) {
	b := newBatcher(t, 1)
	for _, n := range []int{0, datagram.MaxRecordBytes + 1} {
		if err := b.Add(make([]byte, n), 0); !errors.Is(err, ErrRecordLength) || strings.Contains(err.Error(), "\n") {
			t.Errorf("record of %d bytes: %v", n, err)
		}
	}
	for range b.Room() {
		add(t, b, 0, 1)
	}
	if err := b.Add([]byte("one too many"), 0); !errors.Is(err, ErrFull) || b.Room() != 0 {
		t.Errorf("%v, room %d", err, b.Room())
	}
	b.Tick()
	b.Sent(1)
	if b.Room() == 0 {
		t.Error("no room after a tick")
	}
	for _, n := range []int{-1, LimitDatagramsPerTick + 1} {
		if _, err := New[int](nil, Options{MaxDatagramsPerTick: n}); !errors.Is(err, ErrOptions) {
			t.Errorf("%d datagrams: %v", n, err)
		}
	}
}

// Whatever is added and however much of it the kernel takes: every record
// arrives once, in order, and every number is used once.
func TestEveryRecordArrivesOnce(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		b, r := newBatcher(t, 1+rng.IntN(8)), newReceiver(t)
		var want, got, freed []string
		records := make(map[int]string)
		lastSeq := uint64(0)
		for round := 0; round < 300 || b.Pending() > 0; round++ {
			for n := rng.IntN(100); n > 0 && b.Room() > 0 && round < 300; n-- {
				record := fmt.Sprintf("%d%s", len(want), strings.Repeat("x", rng.IntN(470)))
				if err := b.Add([]byte(record), len(want)); err != nil {
					t.Fatal(err)
				}
				records[len(want)] = record
				want = append(want, record)
			}
			datagrams := b.Tick()
			taken := rng.IntN(len(datagrams) + 1)
			for i, d := range datagrams {
				if d.Seq <= lastSeq {
					t.Fatalf("seq %d after %d", d.Seq, lastSeq)
				}
				lastSeq = d.Seq
				if i >= taken {
					continue
				}
				opened, err := r.Step(0, d.Bytes)
				if err != nil || opened.Count != len(d.Tokens) {
					t.Fatalf("%d records, %d tokens, %v", opened.Count, len(d.Tokens), err)
				}
				for frames := datagram.Frames(opened.Body); frames.Next(); {
					got = append(got, string(frames.Record()))
				}
				for _, token := range d.Tokens {
					freed = append(freed, records[token])
				}
			}
			b.Sent(taken)
		}
		if !slices.Equal(got, want) || !slices.Equal(freed, want) || b.Counts().Records != int64(len(want)) {
			t.Errorf("seed %d: %d added, %d arrived, %d freed, %+v", seed, len(want), len(got), len(freed), b.Counts())
		}
	}
}
