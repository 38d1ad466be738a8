package intent

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

var edgeIndices = []uint64{0, 1, 2, 31, 32, 1<<32 - 1, 1 << 32, MaxIndex - 1, MaxIndex}

func TestIDsAreReversible(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, seed := range []uint64{0, 1, 2, 1 << 63, random.Uint64()} {
		for _, domain := range []Domain{DomainClick, DomainTx} {
			c := NewCodec(seed, domain)
			check := func(run uint32, index uint64) {
				id := c.Append(nil, run, index)
				gotRun, gotIndex, ok := c.Decode(id)
				if !ok || gotRun != run || gotIndex != index || len(id) != IDBytes {
					t.Fatalf("seed %d, domain %d: (%d, %d) became %q and then (%d, %d, %v)", seed, domain, run, index, id, gotRun, gotIndex, ok)
				}
			}
			for _, run := range []uint32{0, 1, MaxRunNumber} {
				for _, index := range edgeIndices {
					check(run, index)
				}
			}
			for range 2_000 {
				check(random.Uint32N(MaxRunNumber+1), random.Uint64N(MaxIndex+1))
			}
		}
	}
}

// The block itself is permuted over all 64 bits, and every output bit depends
// on every part of the input.
func TestPermutation(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	c := NewCodec(5, DomainClick)
	seen := map[uint64]bool{}
	for x := range uint64(100_000) {
		y := c.permute(x)
		if seen[y] || c.unpermute(y) != x {
			t.Fatalf("permute(%d) = %d, which unpermutes to %d (seen before: %v)", x, y, c.unpermute(y), seen[y])
		}
		seen[y] = true
	}
	flips := [64]int{}
	for range 10_000 {
		x, bit := random.Uint64(), random.UintN(64)
		if c.permute(c.unpermute(x)) != x {
			t.Fatalf("%d does not come back", x)
		}
		for b, y := 0, c.permute(x)^c.permute(x^1<<bit); b < 64; b, y = b+1, y>>1 {
			flips[b] += int(y & 1)
		}
	}
	for bit, n := range flips {
		if n < 4_700 || n > 5_300 { // 6 standard deviations
			t.Errorf("output bit %d flips with one input bit in %d of 10,000 cases", bit, n)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	c := NewCodec(1, DomainClick)
	id := string(c.Append(nil, 3, 7))
	for name, foreign := range map[string]string{
		"empty":          "",
		"too short":      id[:IDBytes-1],
		"too long":       id + "0",
		"upper case":     strings.ToUpper(id),
		"line break":     id[:IDBytes-1] + "\n",
		"padding":        id[:IDBytes-1] + "=",
		"not the digits": id[:IDBytes-1] + "z",
		"all zero":       strings.Repeat("0", IDBytes),
	} {
		if run, index, ok := c.Decode([]byte(foreign)); ok {
			t.Errorf("%s: %q is taken for (%d, %d)", name, foreign, run, index)
		}
	}
	for i := range id { // every other spelling of every character, spare bits included
		for _, digit := range "0123456789abcdefghijklmnopqrstuv" {
			other := id[:i] + string(digit) + id[i+1:]
			if _, _, ok := c.Decode([]byte(other)); ok != (other == id) {
				t.Errorf("%q: %v", other, ok)
			}
		}
	}
}

// Neighbouring seeds and the other domain have nothing in common.
func TestDecodeRefusesOtherCodecs(t *testing.T) {
	domains := []Domain{DomainClick, DomainTx}
	for seed := range uint64(8) {
		for _, domain := range domains {
			own := NewCodec(seed, domain)
			id := own.Append(nil, 1, 1)
			for otherSeed := range uint64(8) {
				for _, otherDomain := range domains {
					other := NewCodec(otherSeed, otherDomain)
					if _, _, ok := other.Decode(id); ok != (seed == otherSeed && domain == otherDomain) {
						t.Errorf("an id of seed %d, domain %d, read with seed %d, domain %d: %v", seed, domain, otherSeed, otherDomain, ok)
					}
				}
			}
		}
	}
}

func TestAppendPanicsOutsideItsLimits(t *testing.T) {
	c := NewCodec(1, DomainClick)
	for _, id := range []struct {
		run   uint32
		index uint64
	}{{MaxRunNumber + 1, 0}, {0, MaxIndex + 1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", id)
				}
			}()
			c.Append(nil, id.run, id.index)
		}()
	}
}

func FuzzDecode(f *testing.F) {
	c := NewCodec(9, DomainTx)
	f.Add(c.Append(nil, 0, 0))
	f.Add(c.Append(nil, MaxRunNumber, MaxIndex))
	f.Add([]byte("00000000000000000000000000"))
	f.Add([]byte("\n\r\n"))
	f.Fuzz(func(t *testing.T, id []byte) {
		run, index, ok := c.Decode(id)
		if ok && !bytes.Equal(c.Append(nil, run, index), id) {
			t.Fatalf("%q is taken for (%d, %d), which is %q", id, run, index, c.Append(nil, run, index))
		}
	})
}
