package datagram

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// arrival is one copy of a datagram on its way through the channel.
type arrival struct {
	atNs     int64
	order    int // of copies that arrive at the same time
	edgeID   uint16
	boot     uint64
	seq      uint64
	damaged  bool
	datagram []byte
}

type arrivals []arrival

func (a arrivals) Len() int { return len(a) }
func (a arrivals) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(a[i].atNs, a[j].atNs), cmp.Compare(a[i].order, a[j].order)) < 0
}
func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(x any)   { *a = append(*a, x.(arrival)) }
func (a *arrivals) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// simulation is two edges, a channel that loses, doubles, delays and damages,
// and a collector, in virtual time. Beside the receiver it keeps books that
// forget nothing.
type simulation struct {
	t         *testing.T
	rng       *rand.Rand
	nowNs     int64
	channel   arrivals
	copies    int
	edges     []Edge
	sealers   []*Sealer
	boots     []int
	seqs      []uint64
	receiver  *Receiver
	delivered map[string]int // record → times

	// What the receiver must know, by edge.
	newest map[uint16]uint64            // highest boot heard of
	heard  map[uint16]map[uint64]bool   // boots still accepted
	taken  map[uint16]map[uint64]uint64 // boot → highest seq
	floor  map[uint16]map[uint64]uint64 // boot → highest seq before the last restart
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), nowNs: nowNs, boots: make([]int, 2), seqs: make([]uint64, 2),
		delivered: make(map[string]int),
		newest:    make(map[uint16]uint64), heard: make(map[uint16]map[uint64]bool),
		taken: make(map[uint16]map[uint64]uint64), floor: make(map[uint16]map[uint64]uint64),
	}
	for i := range s.boots {
		e := testEdge()
		e.ID = uint16(i + 1)
		s.edges = append(s.edges, e)
		s.sealers = append(s.sealers, newSealer(t, e, laterBoot(0)))
		s.taken[e.ID] = make(map[uint64]uint64)
		s.heard[e.ID] = make(map[uint64]bool)
		s.floor[e.ID] = make(map[uint64]uint64)
	}
	s.receiver = newReceiver(t, s.edges)
	return s
}

func recordOf(edgeID uint16, boot, seq uint64, n int) string {
	return fmt.Sprintf("edge %d boot %d seq %d record %d", edgeID, boot, seq, n)
}

// send gives the channel the next datagram of an edge.
func (s *simulation) send(edge int) {
	s.seqs[edge]++
	e, boot, seq := s.edges[edge], laterBoot(s.boots[edge]).ID, s.seqs[edge]
	var body []byte
	count := s.rng.IntN(4)
	for n := range count {
		body = AppendFrame(body, []byte(recordOf(e.ID, boot, seq, n)))
	}
	d := s.sealers[edge].Seal(nil, seq, count, body)
	for range s.rng.IntN(4) { // none: lost; two, three: doubled
		c := arrival{
			atNs: s.nowNs + s.rng.Int64N(int64(2*time.Second)), order: s.copies,
			edgeID: e.ID, boot: boot, seq: seq, datagram: bytes.Clone(d),
		}
		if c.damaged = s.rng.IntN(10) == 0; c.damaged {
			c.datagram[s.rng.IntN(len(d))] ^= 1 << s.rng.IntN(8)
		}
		s.copies++
		heap.Push(&s.channel, c)
	}
}

// arrive gives the receiver a copy and holds its answer against the books.
func (s *simulation) arrive(c arrival) {
	opened, err := s.receiver.Step(c.atNs, c.datagram)
	want, known := error(nil), s.heard[c.edgeID][c.boot]
	first := recordOf(c.edgeID, c.boot, c.seq, -1)
	switch {
	case c.damaged:
		if err == nil {
			s.t.Fatalf("%s: damaged, yet opened", first)
		}
		return
	case c.boot < s.newest[c.edgeID] && !known:
		want = ErrOldBoot
	case s.delivered[first] > 0, c.seq <= s.floor[c.edgeID][c.boot]:
		want = ErrReplay
	}
	if !errors.Is(err, want) {
		s.t.Fatalf("%s: %v, want %v", first, err, want)
	}
	if err != nil {
		return
	}
	s.newest[c.edgeID] = max(s.newest[c.edgeID], c.boot)
	s.heard[c.edgeID][c.boot] = true
	s.taken[c.edgeID][c.boot] = max(s.taken[c.edgeID][c.boot], c.seq)
	s.delivered[first]++
	for n, frames := 0, Frames(opened.Body); frames.Next(); n++ {
		if got, want := string(frames.Record()), recordOf(c.edgeID, c.boot, c.seq, n); got != want {
			s.t.Fatalf("got %q, want %q", got, want)
		}
		s.delivered[string(frames.Record())]++
	}
}

func (s *simulation) rebootEdge(edge int) {
	s.boots[edge]++
	s.seqs[edge] = 0
	s.sealers[edge] = newSealer(s.t, s.edges[edge], laterBoot(s.boots[edge]))
}

// restartCollector keeps what was stored with the last commit: all but the
// newest boot of an edge is over.
func (s *simulation) restartCollector() {
	var persisted []BootState
	for _, state := range s.receiver.States() {
		var again BootState
		if err := again.Decode(state.Append(nil)); err != nil {
			s.t.Fatal(err)
		}
		persisted = append(persisted, again)
	}
	s.receiver = newReceiver(s.t, s.edges, persisted...)
	for id, boot := range s.newest {
		s.heard[id] = map[uint64]bool{boot: true}
		s.floor[id][boot] = s.taken[id][boot]
	}
}

// Whatever the channel does, every record that arrives intact, in time and not
// across a restart is delivered, none twice and none that was not sent.
func TestLossyChannel(t *testing.T) {
	for seed := range uint64(10) {
		s := newSimulation(t, seed)
		for range 3000 {
			s.nowNs += s.rng.Int64N(int64(10 * time.Millisecond))
			for len(s.channel) > 0 && s.channel[0].atNs <= s.nowNs {
				s.arrive(heap.Pop(&s.channel).(arrival))
			}
			edge := s.rng.IntN(2)
			s.send(edge)
			switch s.rng.IntN(800) {
			case 0:
				s.rebootEdge(edge)
			case 1:
				s.restartCollector()
			}
		}
		for len(s.channel) > 0 {
			s.arrive(heap.Pop(&s.channel).(arrival))
		}
		for record, times := range s.delivered {
			if times != 1 {
				t.Errorf("seed %d: %s delivered %d times", seed, record, times)
			}
		}
		c := s.receiver.Counts()
		if len(s.delivered) < 1000 || c.Opened == 0 || c.Replay == 0 || c.Forged == 0 {
			t.Errorf("seed %d: too little happened: %d delivered, %+v", seed, len(s.delivered), c)
		}
	}
}
