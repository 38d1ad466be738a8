package netem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const msNs = 1_000_000

// mustCore makes a core that counts one record a datagram.
func mustCore(t *testing.T, c Config) *Core {
	t.Helper()
	c.Records = func([]byte) int { return 1 }
	core, err := NewCore(c)
	if err != nil {
		t.Fatal(err)
	}
	return core
}

func numbered(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// pass sends n numbered datagrams, a microsecond apart, and keeps what comes out.
func pass(core *Core, n int) (out []Delivery) {
	keep := func(deliveries []Delivery) {
		for _, d := range deliveries {
			out = append(out, Delivery{Ordinal: d.Ordinal, Payload: bytes.Clone(d.Payload)})
		}
	}
	for i := range n {
		keep(core.Step(int64(i)*1000, numbered(uint64(i+1))))
	}
	keep(core.Flush())
	return out
}

func ordinals(deliveries []Delivery) (of []uint64) {
	for _, d := range deliveries {
		of = append(of, d.Ordinal)
	}
	return of
}

func checkBalance(t *testing.T, c Counts) {
	t.Helper()
	if c.Sent-c.Dropped+c.Duplicated != c.Forwarded+c.SendFailed+c.Held+c.Delayed+c.Overflowed {
		t.Errorf("the books do not balance: %+v", c)
	}
}

func TestPassesEverythingUnlessTold(t *testing.T) {
	core := mustCore(t, Config{})
	out := pass(core, 100)
	if len(out) != 100 || core.Counts() != (Counts{Sent: 100, Forwarded: 100}) {
		t.Fatalf("%d deliveries, %+v", len(out), core.Counts())
	}
	for i, d := range out {
		if d.Ordinal != uint64(i+1) || !bytes.Equal(d.Payload, numbered(d.Ordinal)) {
			t.Fatalf("delivery %d: %+v", i, d)
		}
	}
}

func TestSharesAreMet(t *testing.T) {
	const n = 200_000
	core := mustCore(t, Config{Seed: 1, Impairment: Impairment{Loss: 0.1, Duplicate: 0.05, Reorder: 0.02, Corrupt: 0.01}})
	out := pass(core, n)
	c := core.Counts()
	checkBalance(t, c)
	const arrive = 0.9 // what is not lost
	for _, share := range []struct {
		name      string
		got, want float64
	}{
		{"loss", float64(c.Dropped) / n, 0.1},
		{"duplicate", float64(c.Duplicated) / n, 0.05 * arrive},
		// Not overtaken at all if every datagram that could do it is lost or held longer.
		{"reorder", float64(c.Reordered) / n, 0.02 * arrive * (1 - (0.12+0.12*0.12+0.12*0.12*0.12)/3)},
		{"corrupt", float64(c.Corrupted) / n, 0.01 * arrive},
	} {
		if sigma := math.Sqrt(share.want / n); math.Abs(share.got-share.want) > 5*sigma {
			t.Errorf("%s: %.5f of the datagrams, want %.5f ± %.5f", share.name, share.got, share.want, 5*sigma)
		}
	}
	if int64(len(out)) != c.Forwarded || c.DroppedRecords != c.Dropped {
		t.Errorf("%d deliveries, %+v", len(out), c)
	}
}

func TestSeedDecides(t *testing.T) {
	all := Impairment{Loss: 0.2, Duplicate: 0.2, Reorder: 0.2, Corrupt: 0.2}
	run := func(seed uint64, impairment Impairment) []Delivery {
		return pass(mustCore(t, Config{Seed: seed, Impairment: impairment}), 1000)
	}
	same := func(a, b Delivery) bool { return a.Ordinal == b.Ordinal && bytes.Equal(a.Payload, b.Payload) }
	if !slices.EqualFunc(run(7, all), run(7, all), same) {
		t.Error("the same seed gave another fate")
	}
	if slices.EqualFunc(run(7, all), run(8, all), same) {
		t.Error("another seed gave the same fate")
	}
	// A share leaves the other fates alone: who is lost does not depend on who is doubled.
	lost := func(impairment Impairment) (lost []uint64) {
		arrived := ordinals(run(7, impairment))
		for n := range uint64(1000) {
			if !slices.Contains(arrived, n+1) {
				lost = append(lost, n+1)
			}
		}
		return lost
	}
	if !slices.Equal(lost(all), lost(Impairment{Loss: 0.2})) {
		t.Error("other shares changed who is lost")
	}
}

func TestListIsExact(t *testing.T) {
	core := mustCore(t, Config{Drop: []uint64{3, 1, 3, 10, 99}})
	if got, want := ordinals(pass(core, 10)), []uint64{2, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("delivered %d, want %d", got, want)
	}
	if c := core.Counts(); c.Dropped != 3 || c.DroppedRecords != 3 {
		t.Errorf("%+v", c)
	}
}

func TestReorderHoldsBehindNextThreeAtMost(t *testing.T) {
	core := mustCore(t, Config{Seed: 3, Impairment: Impairment{Reorder: 0.3}})
	out := ordinals(pass(core, 10_000))
	var overtaken int64
	var passed [MaxHeldBehind + 1]int
	var newest uint64
	for i, ordinal := range out {
		if ordinal < newest {
			overtaken++
			by := 0
			for _, earlier := range out[:i] {
				if earlier > ordinal {
					by++
				}
			}
			if by > MaxHeldBehind {
				t.Fatalf("datagram %d was overtaken by %d", ordinal, by)
			}
			passed[by]++
		}
		newest = max(newest, ordinal)
	}
	if c := core.Counts(); c.Reordered != overtaken || overtaken < 2000 || len(out) != 10_000 || c.Held != 0 {
		t.Errorf("%d overtaken, counted %+v", overtaken, c)
	}
	if slices.Contains(passed[1:], 0) {
		t.Errorf("overtaken by 1, 2, 3: %d", passed[1:])
	}
}

func TestHoldEnds(t *testing.T) {
	core := mustCore(t, Config{Impairment: Impairment{Reorder: 1}})
	if out := core.Step(5*msNs, numbered(1)); len(out) != 0 {
		t.Fatalf("not held: %+v", out)
	}
	deadline, ok := core.Deadline()
	if !ok || deadline != 25*msNs {
		t.Fatalf("deadline %d, %t; want 25 ms", deadline, ok)
	}
	if out := core.Expire(deadline - 1); len(out) != 0 {
		t.Fatalf("too early: %+v", out)
	}
	if out := core.Expire(deadline); !slices.Equal(ordinals(out), []uint64{1}) {
		t.Fatalf("not released: %+v", out)
	}
	if _, ok := core.Deadline(); ok || core.Counts() != (Counts{Sent: 1, Forwarded: 1}) {
		t.Errorf("nobody overtook it, yet %+v", core.Counts())
	}
	// A datagram that comes after the deadline overtakes nobody.
	core.Step(30*msNs, numbered(2))
	if out := core.Step(50*msNs, numbered(3)); len(out) == 0 || out[0].Ordinal != 2 || core.Counts().Reordered != 0 {
		t.Errorf("%+v, %+v", out, core.Counts())
	}
}

// What is held is bounded by MaxHeldBehind, however much arrives at once, and
// does not alias the reader's buffer.
func TestHeldIsBoundedAndCopied(t *testing.T) {
	core := mustCore(t, Config{Impairment: Impairment{Reorder: 1, Duplicate: 1}})
	buffer := make([]byte, 8)
	var out int
	for i := range uint64(10_000) {
		binary.BigEndian.PutUint64(buffer, i+1)
		for _, d := range core.Step(0, buffer) {
			out++
			if !bytes.Equal(d.Payload, numbered(d.Ordinal)) {
				t.Fatalf("datagram %d holds %x", d.Ordinal, d.Payload)
			}
		}
		if c := core.Counts(); c.Held > 2*MaxHeldBehind || c.Held != 2*c.Sent-int64(out) {
			t.Fatalf("%+v, %d out", c, out)
		}
		checkBalance(t, core.Counts())
	}
}

func TestCorruptFlipsOneBitOfOneCopy(t *testing.T) {
	for _, duplicate := range []float64{0, 1} {
		core := mustCore(t, Config{Impairment: Impairment{Corrupt: 1, Duplicate: duplicate}})
		var positions [64]int
		for i := range uint64(1000) {
			sent := numbered(i)
			out := core.Step(0, sent)
			if !bytes.Equal(sent, numbered(i)) {
				t.Fatal("the caller's bytes were changed")
			}
			last := out[len(out)-1].Payload
			difference := binary.BigEndian.Uint64(last) ^ i
			if bits.OnesCount64(difference) != 1 {
				t.Fatalf("%064b differ, want one bit", difference)
			}
			positions[bits.TrailingZeros64(difference)]++
			if duplicate == 1 && (len(out) != 2 || !bytes.Equal(out[0].Payload, sent)) {
				t.Fatalf("no intact copy: %+v", out)
			}
		}
		if slices.Contains(positions[:], 0) {
			t.Errorf("some bits were never flipped: %d", positions)
		}
		c := core.Counts()
		if wantLost := int64(1000 * (1 - duplicate)); c.Corrupted != 1000 || c.CorruptedRecords != wantLost {
			t.Errorf("duplicate %g: %+v, want %d records without an intact copy", duplicate, c, wantLost)
		}
	}
}

func TestEmptyDatagram(t *testing.T) {
	core := mustCore(t, Config{Impairment: Impairment{Corrupt: 1, Reorder: 1, Duplicate: 1}})
	core.Step(0, []byte{})
	if out := core.Flush(); len(out) != 2 || len(out[0].Payload) != 0 || core.Counts().Corrupted != 0 {
		t.Errorf("%+v, %+v", out, core.Counts())
	}
}

// Every seed balances, and delivers all but the dropped.
func TestBooksBalance(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			core := mustCore(t, Config{Seed: seed, Drop: []uint64{2, 5}, Impairment: Impairment{
				Loss: random.Float64(), Duplicate: random.Float64(), Reorder: random.Float64(), Corrupt: random.Float64()}})
			var nowNs, out int64
			for range 300 {
				nowNs += random.Int64N(10 * msNs)
				out += int64(len(core.Step(nowNs, numbered(0))))
				if deadline, ok := core.Deadline(); ok && random.IntN(4) == 0 {
					nowNs = max(nowNs, deadline)
					out += int64(len(core.Expire(nowNs)))
				}
				checkBalance(t, core.Counts())
			}
			out += int64(len(core.Flush()))
			if c := core.Counts(); c.Held != 0 || c.Forwarded != out {
				t.Errorf("%d deliveries, %+v", out, c)
			}
		})
	}
}

func TestNewCoreRefuses(t *testing.T) {
	for want, config := range map[string]Config{
		"loss is -0.1":             {Impairment: Impairment{Loss: -0.1}},
		"duplicate is 1.5":         {Impairment: Impairment{Duplicate: 1.5}},
		"reorder is NaN":           {Impairment: Impairment{Reorder: math.NaN()}},
		"corrupt is +Inf":          {Impairment: Impairment{Corrupt: math.Inf(1)}},
		"datagram 0":               {Drop: []uint64{0}},
		"at most 1048576 are allo": {Drop: make([]uint64, MaxDropList+1)},
	} {
		if _, err := NewCore(config); !errors.Is(err, ErrConfig) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
