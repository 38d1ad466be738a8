package netem

import "math"

const (
	// headerBytes is what IPv4, TCP and its timestamps add to every segment on
	// a path with a limited rate.
	headerBytes = 20 + 20 + 12

	// Streams of one path's chances. Every chance is a hash of the seed, the
	// stream and the segment's ordinal: none depends on how many others were drawn.
	streamChain = iota
	streamLoss
	streamJitter
	streamAckJitter
	streamLookup
	streamDatagram
)

// cause is why a segment is on its way.
type cause int

const (
	causeFirst     cause = iota
	causeTimeout         // a retransmission timer expired
	causeProbe           // nothing was heard of a tail (tail loss probe)
	causeFast            // later ones arrived before it
	causeFollowing       // behind one that had to wait for a timeout
)

// segment is one TCP segment of a flow and what its sender and its receiver
// know of it.
type segment struct {
	serial int64 // in its flow, from 0
	bytes  int   // payload; 0 of a SYN, SYN-ACK or FIN

	firstNs    int64 // first sent
	sentNs     int64 // last sent
	arriveNs   int64 // neverNs while every transmission was lost
	ackDelayNs int64 // how long the answer to it travels
	reachNs    int64 // handed to the receiver, in order; neverNs while it is not known
	ackNs      int64 // the sender hears that it arrived; neverNs while it is not known
	heard      bool  // ackNs is past, and was taken in
	early      bool  // it arrived before one that was sent before it

	// The medium's own notes:
	ordinal  uint64 // of its first transmission on the path, from 1
	attempts uint64
	bad      bool   // the chain's state at its last transmission
	seen     uint64 // first transmissions on the path until then
}

// neverNs stands for a time that is not known yet.
const neverNs = math.MaxInt64

// medium is one direction of a path: what it does to segments. It has no clock
// and no lock.
//
// First transmissions step the chain and take their chances by their ordinal:
// the n-th one has the same fate whenever it comes. A retransmission continues
// from the state in which its segment was lost, over as many steps as others
// were sent since, without moving the chain itself; so that what is a matter of
// timing never changes the fate of first transmissions.
type medium struct {
	seed  uint64
	spec  *PathSpec
	count uint64 // first transmissions
	bad   bool
	busy  int64 // ns until which the last bits leave, on a path with a limited rate

	truth Truth // Segments and what concerns them
}

// transmit sends a segment at nowNs for the attempt that comes next: it sets
// arriveNs (neverNs if it is lost), sentNs and ackDelayNs.
func (m *medium) transmit(nowNs int64, s *segment, why cause) {
	s.attempts++
	if s.attempts == 1 {
		m.count++
		s.ordinal, s.firstNs = m.count, nowNs
		m.bad = m.chance(streamChain, s) < m.toBad(m.bad, 1)
		s.bad = m.bad
	} else {
		s.bad = m.chance(streamChain, s) < m.toBad(s.bad, m.count-s.seen+1)
	}
	s.seen, s.sentNs, s.arriveNs = m.count, nowNs, neverNs
	share := m.spec.Loss.GoodLoss
	if s.bad {
		share = m.spec.Loss.BadLoss
	}
	lost := m.chance(streamLoss, s) < share
	leaves := m.leave(nowNs, s.bytes)
	half := m.spec.RTTNs / 2
	s.ackDelayNs = half + m.jitter(streamAckJitter, s)
	if !lost {
		s.arriveNs = leaves + half + m.jitter(streamJitter, s)
	}
	m.note(s, why)
}

// note keeps the books.
func (m *medium) note(s *segment, why cause) {
	t := &m.truth
	t.Segments++
	if s.arriveNs == neverNs {
		t.Lost++
	} else {
		t.DelayNs += s.arriveNs - s.sentNs
		t.RecoveryNs += s.sentNs - s.firstNs
	}
	switch why {
	case causeTimeout:
		t.Timeouts++
	case causeProbe:
		t.Probes++
	case causeFast:
		t.FastRetransmits++
	}
	if why != causeFirst {
		t.Retransmissions++
	}
}

// toBad is the probability of the bad state after some steps from a state:
// the two-state chain in closed form.
func (m *medium) toBad(bad bool, steps uint64) float64 {
	in, out := m.spec.Loss.GoodToBad, m.spec.Loss.BadToGood
	from := 0.0
	if bad {
		from = 1
	}
	if in+out == 0 {
		return from
	}
	settled := in / (in + out)
	return settled + (from-settled)*math.Pow(1-in-out, float64(steps))
}

// leave is when the last bit of a segment is on its way.
func (m *medium) leave(nowNs int64, bytes int) int64 {
	if m.spec.RateBitsPerS == 0 {
		return nowNs
	}
	m.busy = max(m.busy, nowNs) + int64(float64(bytes+headerBytes)*8*1e9/m.spec.RateBitsPerS)
	return m.busy
}

func (m *medium) jitter(stream uint64, s *segment) int64 {
	if m.spec.Jitter.Zero() {
		return 0
	}
	return m.spec.Jitter.At(m.chance(stream, s))
}

func (m *medium) chance(stream uint64, s *segment) float64 {
	return chance(m.seed, stream, s.ordinal, s.attempts)
}

// chance is uniform in [0,1): a hash of its arguments.
func chance(seed, stream, ordinal, attempt uint64) float64 {
	h := scramble(scramble(scramble(seed^stream)+ordinal) + attempt)
	return float64(h>>11) / (1 << 53)
}

// scramble is the output function of SplitMix64 (Steele, Lea, Flood: "Fast
// splittable pseudorandom number generators", 2014).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
