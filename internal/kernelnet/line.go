package kernelnet

import (
	"container/heap"
	"math/rand/v2"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/netem"
)

const (
	// MaxWaiting is how many packets may be under way in one direction. What
	// comes then is lost, and counted.
	MaxWaiting = 1 << 16
	// maxFlows is how many connections' order is remembered at once.
	maxFlows = MaxWaiting
	// minHeaderBytes is IPv4's header without options.
	minHeaderBytes = 20
)

// The two ends of a network. A line goes from one to the other and bears the
// name of the one that sends.
const (
	clientEnd = iota
	serverEnd
	ends
)

// line is one direction of a network: it decides what becomes of each packet
// and when. It is a state machine without a clock; equal seeds and equal
// arrivals give equal fates.
type line struct {
	delayNs int64
	jitter  dist.Dist
	loss    netem.GilbertElliott
	drop    func(packet []byte) bool
	random  *rand.Rand
	bad     bool

	waiting packets
	ordinal uint64
	// flows says when a connection's last packet is to arrive: jitter comes
	// from queues, and there packets of a connection do not overtake.
	flows  map[uint32]int64
	counts Counts
}

type packet struct {
	dueNs   int64
	ordinal uint64
	bytes   []byte
}

func newLine(spec *Spec, direction int) *line {
	drop := func([]byte) bool { return false }
	if spec.Drop != nil {
		drop = func(packet []byte) bool { return spec.Drop(direction == clientEnd, packet) }
	}
	return &line{
		delayNs: spec.RTTNs / 2, jitter: spec.Jitter, loss: spec.Loss, drop: drop,
		random: rand.New(rand.NewPCG(spec.Seed, uint64(direction))), flows: map[uint32]int64{},
	}
}

// offer takes a packet that arrived at nowNs. It keeps a copy if it keeps it.
func (l *line) offer(nowNs int64, bytes []byte) {
	if len(bytes) < minHeaderBytes || bytes[0]>>4 != 4 {
		l.counts.Ignored++
		return
	}
	l.counts.Packets++
	lost, delayNs := l.draw() || l.drop(bytes), l.delayNs
	if !l.jitter.Zero() {
		delayNs += l.jitter.At(l.random.Float64())
	}
	switch {
	case lost:
		l.counts.Lost++
		return
	case len(l.waiting) >= MaxWaiting:
		l.counts.Overflowed++
		return
	}
	due := nowNs + delayNs
	if !l.jitter.Zero() {
		due = l.inOrder(nowNs, due, flowOf(bytes))
	}
	l.ordinal++
	heap.Push(&l.waiting, packet{due, l.ordinal, append([]byte(nil), bytes...)})
}

// draw moves the chain on by a packet and says whether that one is lost.
func (l *line) draw() bool {
	share, leave := l.loss.GoodLoss, l.loss.GoodToBad
	if l.bad {
		share, leave = l.loss.BadLoss, l.loss.BadToGood
	}
	lost, leaves := l.random.Float64() < share, l.random.Float64() < leave
	l.bad = l.bad != leaves
	return lost
}

// inOrder puts off a packet until its connection's earlier ones are there.
func (l *line) inOrder(nowNs, dueNs int64, flow uint32) int64 {
	if len(l.flows) >= maxFlows {
		// Only those with a packet under way matter, fewer than MaxWaiting.
		for key, last := range l.flows {
			if last <= nowNs {
				delete(l.flows, key)
			}
		}
		if len(l.flows) >= maxFlows {
			panic("BUG: more connections than packets under way")
		}
	}
	dueNs = max(dueNs, l.flows[flow])
	l.flows[flow] = dueNs
	return dueNs
}

// flowOf is the two ports of a TCP packet.
func flowOf(bytes []byte) uint32 {
	header := int(bytes[0]&15) * 4
	if len(bytes) < header+4 {
		return 0
	}
	p := bytes[header:]
	return uint32(p[0])<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3])
}

// next says when the next packet is due; false if none is under way.
func (l *line) next() (dueNs int64, ok bool) {
	if len(l.waiting) == 0 {
		return 0, false
	}
	return l.waiting[0].dueNs, true
}

// take removes a packet that is due at nowNs; nil if none is.
func (l *line) take(nowNs int64) []byte {
	if len(l.waiting) == 0 || l.waiting[0].dueNs > nowNs {
		return nil
	}
	p := heap.Pop(&l.waiting).(packet)
	l.counts.LateNs += nowNs - p.dueNs
	return p.bytes
}

type packets []packet

func (p packets) Len() int { return len(p) }
func (p packets) Less(i, j int) bool {
	return p[i].dueNs < p[j].dueNs || p[i].dueNs == p[j].dueNs && p[i].ordinal < p[j].ordinal
}
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *packets) Push(x any)   { *p = append(*p, x.(packet)) }
func (p *packets) Pop() any {
	old := *p
	last := old[len(old)-1]
	old[len(old)-1] = packet{}
	*p = old[:len(old)-1]
	return last
}
