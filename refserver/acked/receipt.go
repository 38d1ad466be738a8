package acked

import "github.com/postbench/postbench/refserver/datagram"

// Counts is what a Sender has done.
type Counts struct {
	Records   int64 // sent at least once
	Datagrams int64 // sent, whatever they carried
	Bytes     int64 // of those, without UDP and IP headers
	Acked     int64 // records
	// ResentRecords are further sendings of records, ResentBytes their bytes
	// with the lengths in front. ResentDatagrams carried one of them at least.
	ResentRecords   int64
	ResentDatagrams int64
	ResentBytes     int64
	Probes          int64            // datagrams without a record
	Acks            int64            // authentic ones, repetitions included
	AcksRefused     map[string]int64 // by the reasons of datagram.Reason
}

// Counts is what has been done so far. Its map is the sender's own.
func (s *Sender[T]) Counts() Counts { return s.counts }

// InFlight is how many datagrams are waited for.
func (s *Sender[T]) InFlight() int { return s.inFlight }

// SmoothedRTTNs is how long an ack takes, from sending to the ack, central's
// commit included; 0 before the first.
func (s *Sender[T]) SmoothedRTTNs() int64 { return s.timing.smoothedNs }

// ack takes an ack's bytes; false if it is none.
func (s *Sender[T]) ack(nowNs int64, bytes []byte) bool {
	a, err := s.opener.OpenAck(bytes)
	if err != nil {
		s.counts.AcksRefused[datagram.Reason(err)]++
		return false
	}
	s.counts.Acks++
	if a.Newest {
		s.windowBytes = int(a.WindowBytes)
	}
	s.highest = max(s.highest, min(a.HighestSeq, s.seq))
	newest := int64(-1) // sending time of the newest datagram with records that is acked only now
	for seq := s.unacked; seq <= min(a.HighestSeq, s.seq); seq++ {
		m := s.mapping(seq)
		if m.state == acked || !a.Has(seq) {
			continue
		}
		s.settle(m)
		s.timing.progress(nowNs)
		if m.count > 0 {
			newest = m.sentNs
		}
	}
	for s.unacked <= s.seq && s.mapping(s.unacked).state == acked {
		s.unacked++
	}
	if a.Newest && newest >= 0 {
		s.timing.sample(nowNs - newest)
	}
	return true
}

// settle frees what a datagram carried: central has it. Nothing else frees.
func (s *Sender[T]) settle(m *mapping) {
	if m.state == inFlight {
		s.inFlight--
	}
	m.state = acked
	for _, r := range m.refs[:m.count] {
		h := &s.records[r.index]
		if h.generation != r.generation {
			continue // by another datagram, before
		}
		s.actions.Free = append(s.actions.Free, h.token)
		s.counts.Acked++
		if h.queued {
			s.waiting -= datagram.FrameBytes + len(h.record)
		}
		*h = held[T]{generation: h.generation + 1}
		s.vacant = append(s.vacant, r.index)
	}
}

// Unsent says that of the datagrams of the last Step the last n did not leave:
// nobody can ack them. It must follow that Step.
func (s *Sender[T]) Unsent(n int) {
	for seq := s.seq - uint64(n) + 1; seq <= s.seq; seq++ {
		m := s.mapping(seq)
		s.lose(m)
		s.forget(m)
	}
	for _, d := range s.actions.Send[len(s.actions.Send)-n:] {
		s.counts.Datagrams--
		s.counts.Bytes -= int64(len(d))
	}
}

// forget takes a datagram out of the counts.
func (s *Sender[T]) forget(m *mapping) {
	if m.count == 0 {
		s.counts.Probes--
	}
	resent := false
	for _, r := range m.refs[:m.count] {
		h := &s.records[r.index]
		if h.sends--; h.sends == 0 {
			s.counts.Records--
			continue
		}
		resent = true
		s.counts.ResentRecords--
		s.counts.ResentBytes -= int64(datagram.FrameBytes + len(h.record))
	}
	if resent {
		s.counts.ResentDatagrams--
	}
}
