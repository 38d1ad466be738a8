package datagram

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func TestWindowEdges(t *testing.T) {
	if WindowBits != 8128 {
		t.Errorf("%d bits, FORMAT.md says 8,128", WindowBits)
	}
	tests := []struct {
		name string
		take []uint64 // all but the last succeed
		want error
	}{
		{"zero", []uint64{0}, ErrReplay},
		{"first", []uint64{1}, nil},
		{"again", []uint64{1, 1}, ErrReplay},
		{"last of the window", []uint64{WindowBits + 1, 2}, nil},
		{"first behind it", []uint64{WindowBits + 1, 1}, ErrBehindWindow},
		{"last of the window, full word", []uint64{2*WindowBits + 63, WindowBits + 64}, nil},
		{"slid by one", []uint64{5, WindowBits + 4, WindowBits + 5, 6, 5}, ErrBehindWindow},
		{"still there after a slide", []uint64{5, WindowBits + 4, 5}, ErrReplay},
		{"jump over the whole ring", []uint64{64, 64 + 64*windowWords, 65 + 64*windowWords}, nil},
		{"bits of an old lap do not stay", []uint64{100, 100 + 64*windowWords*5, 100 + 64*(windowWords*5-1)}, nil},
		{"a leap clears the oldest word too", []uint64{69, 64 * 256, 64*129 + 5}, nil},
		{"highest of all", []uint64{1, math.MaxUint64, math.MaxUint64}, ErrReplay},
		{"behind the highest of all", []uint64{math.MaxUint64, math.MaxUint64 - WindowBits}, ErrBehindWindow},
		{"within the highest of all", []uint64{math.MaxUint64, math.MaxUint64 - WindowBits + 1}, nil},
	}
	for _, tt := range tests {
		var w window
		for i, seq := range tt.take {
			want := tt.want
			if i < len(tt.take)-1 {
				want = nil
			}
			if err := w.take(seq); !errors.Is(err, want) {
				t.Errorf("%s: seq %d: %v, want %v", tt.name, seq, err, want)
			}
		}
	}
}

// Against a set that forgets nothing: every number is taken at most once, and
// every number within the window that was not taken yet is.
func TestWindowAgainstSet(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var w window
		taken, top := make(map[uint64]bool), uint64(0)
		for range 20_000 {
			var seq uint64
			switch rng.IntN(20) {
			case 0: // a leap, sometimes beyond the ring
				seq = top + rng.Uint64N(3*64*windowWords)
			case 1, 2, 3, 4: // something old
				seq = top - min(top, rng.Uint64N(WindowBits+200))
			default:
				seq = top + 1 + rng.Uint64N(3)
			}
			var want error
			switch {
			case taken[seq] && top-seq < WindowBits || seq == 0:
				want = ErrReplay
			case seq < top && top-seq >= WindowBits:
				want = ErrBehindWindow
			}
			if err := w.take(seq); !errors.Is(err, want) {
				t.Fatalf("seed %d: seq %d with top %d: %v, want %v", seed, seq, top, err, want)
			}
			if want == nil {
				taken[seq], top = true, max(top, seq)
			}
		}
	}
}
