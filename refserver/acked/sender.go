package acked

import (
	"fmt"

	"github.com/postbench/postbench/refserver/batch"
	"github.com/postbench/postbench/refserver/datagram"
)

// MaxRecordsPerDatagram is a little more than a datagram holds of the shortest
// sensible records.
const MaxRecordsPerDatagram = 42

// Options bound a Sender. Zero means the default.
type Options struct {
	// MaxDatagramsPerTick paces the sender: batch.DefaultMaxDatagramsPerTick,
	// at most batch.LimitDatagramsPerTick. What is sent again counts.
	MaxDatagramsPerTick int
}

// Kind tells events apart.
type Kind int

// Tick comes every 10 ms: all that waits is sent, as far as window and pace
// allow, and what was not acked in time is sent again. AckArrived brings a
// datagram of the way back: only full datagrams are sent at once.
const (
	Tick Kind = iota
	AckArrived
)

// Event is what a Sender is told. Its zero value is a Tick.
type Event struct {
	Kind Kind
	Ack  []byte // of AckArrived; opened in place
}

// Actions are what its caller is to do. They are valid until the next call.
type Actions[T any] struct {
	Free []T      // tokens of records that central has committed and synced
	Send [][]byte // datagrams, in this order
}

// Sender is one boot of an edge. Records go in with a token each; a token comes
// out once, when central has the record for good.
type Sender[T any] struct {
	sealer *datagram.Sealer
	opener *datagram.AckOpener

	seq     uint64    // the last one used
	sent    []mapping // of the last AckBits seqs, by seq modulo that
	oldest  uint64    // no seq below is in flight
	unacked uint64    // every seq below is acked or off the map
	records []held[T] // all that are not acked
	vacant  []uint32  // indices in records
	again   queue     // lost, to be sent first
	fresh   queue     // never sent
	waiting int       // bytes of frames in both queues

	inFlight    int    // datagrams
	highest     uint64 // seq that central has seen
	windowBytes int
	timing      timing

	pace    int // datagrams per tick
	budget  int // what is left of it
	buffers []byte
	actions Actions[T]
	counts  Counts
}

// held is a record that is not acked yet.
type held[T any] struct {
	record     []byte // nil if there is none
	token      T
	generation uint32 // rises with every record that had this place
	sends      uint32
	queued     bool
}

// ref is a record as a mapping or queue remembers it: it may be acked by now,
// and its place another's.
type ref struct{ index, generation uint32 }

// state of a datagram that was sent.
type state uint8

const (
	unused   state = iota
	inFlight       // may yet be acked in time
	lost           // not acked in time; its records were queued again. It may be acked yet
	acked
)

// mapping says what a datagram carried.
type mapping struct {
	seq    uint64
	sentNs int64
	state  state
	count  uint8
	refs   [MaxRecordsPerDatagram]ref
}

// New makes the sender of a boot that has sent nothing yet. Its error is
// batch.ErrOptions or one of package datagram.
func New[T any](edge datagram.Edge, boot datagram.Boot, o Options) (*Sender[T], error) {
	if o.MaxDatagramsPerTick == 0 {
		o.MaxDatagramsPerTick = batch.DefaultMaxDatagramsPerTick
	}
	pace := o.MaxDatagramsPerTick
	if pace < 0 || pace > batch.LimitDatagramsPerTick {
		return nil, fmt.Errorf("%d datagrams per tick, want 1 to %d: %w", pace, batch.LimitDatagramsPerTick, batch.ErrOptions)
	}
	sealer, err := datagram.NewSealer(edge, boot)
	if err != nil {
		return nil, err
	}
	sealer.AskForAcks()
	opener, err := datagram.NewAckOpener(edge, boot)
	if err != nil {
		return nil, err
	}
	// What may be in flight, and what the next tick may add to it.
	places := (MaxInFlight + pace) * MaxRecordsPerDatagram
	s := &Sender[T]{
		sealer: sealer, opener: opener, windowBytes: InitialWindowBytes, pace: pace,
		sent: make([]mapping, datagram.AckBits), oldest: 1, unacked: 1,
		records: make([]held[T], places), vacant: make([]uint32, 0, places),
		again: newQueue(places), fresh: newQueue(places),
		buffers: make([]byte, (pace+1)*datagram.MaxBytes), // one for a probe
		actions: Actions[T]{Free: make([]T, 0, places), Send: make([][]byte, 0, pace+1)},
		counts:  Counts{AcksRefused: make(map[string]int64)},
	}
	for i := range places {
		s.vacant = append(s.vacant, uint32(places-1-i))
	}
	return s, nil
}

// Room is how many records may be added.
func (s *Sender[T]) Room() int { return len(s.vacant) }

// Held is how many records were added and not acked.
func (s *Sender[T]) Held() int { return len(s.records) - len(s.vacant) }

// Add takes a record, which must not change until its token is told to be
// free. The errors are batch.ErrFull and batch.ErrRecordLength; the record is
// then not taken.
func (s *Sender[T]) Add(record []byte, token T) error {
	if len(record) == 0 || len(record) > datagram.MaxRecordBytes {
		return fmt.Errorf("%d bytes, want 1 to %d: %w", len(record), datagram.MaxRecordBytes, batch.ErrRecordLength)
	}
	if s.Room() == 0 {
		return batch.ErrFull
	}
	last := len(s.vacant) - 1
	index := s.vacant[last]
	s.vacant = s.vacant[:last]
	h := &s.records[index]
	h.record, h.token, h.sends = record, token, 0
	s.enqueue(&s.fresh, index)
	return nil
}

func (s *Sender[T]) enqueue(q *queue, index uint32) {
	h := &s.records[index]
	h.queued = true
	s.waiting += datagram.FrameBytes + len(h.record)
	q.push(ref{index, h.generation})
}

// Step takes an event of nowNs, on a clock that never goes back. It does not
// allocate, except when an ack is the first of a boot of the collector.
func (s *Sender[T]) Step(nowNs int64, e Event) Actions[T] {
	s.actions.Free, s.actions.Send = s.actions.Free[:0], s.actions.Send[:0]
	switch e.Kind {
	case Tick:
		s.budget = s.pace
		s.expire(nowNs)
		s.fill(nowNs, 1)
		s.probe(nowNs)
	case AckArrived:
		if s.ack(nowNs, e.Ack) {
			s.fill(nowNs, datagram.MaxBodyBytes)
		}
	}
	return s.actions
}

// expire gives up waiting for what was sent too long ago.
func (s *Sender[T]) expire(nowNs int64) {
	timeout := s.timing.timeoutNs()
	for ; s.oldest <= s.seq; s.oldest++ {
		m := s.mapping(s.oldest)
		if m.state != inFlight {
			continue
		}
		if nowNs-m.sentNs < timeout {
			return // what follows was sent later
		}
		s.timing.silence(nowNs)
		s.lose(m)
	}
}

// lose queues what a datagram carried and nobody has acked.
func (s *Sender[T]) lose(m *mapping) {
	m.state = lost
	s.inFlight--
	for _, r := range m.refs[:m.count] {
		if s.records[r.index].generation == r.generation {
			s.enqueue(&s.again, r.index)
		}
	}
}

// window is how many datagrams may be in flight.
func (s *Sender[T]) window() int { return min(s.windowBytes/datagram.MaxBytes, MaxInFlight) }

// fill sends while at least so many bytes wait, and window and pace allow it.
// What central may not have taken from its receive buffer yet, lost ones
// included, stays within two windows: that is the whole buffer.
func (s *Sender[T]) fill(nowNs int64, atLeast int) {
	window := s.window()
	for s.waiting >= atLeast && s.budget > 0 && s.inFlight < window && s.seq-s.highest < uint64(2*window) {
		s.pack(nowNs)
		s.budget--
	}
}

// probe asks for an ack when nothing is under way and nothing may be sent, as
// often as the timeout lets the last probe be given up.
func (s *Sender[T]) probe(nowNs int64) {
	if s.waiting > 0 && s.inFlight == 0 && s.budget > 0 {
		s.seal(s.next(nowNs), nil)
		s.counts.Probes++
	}
}

// next takes a new seq, and its place on the map from the one that had it.
func (s *Sender[T]) next(nowNs int64) *mapping {
	s.seq++
	m := s.mapping(s.seq)
	if m.state == inFlight {
		s.lose(m)
	}
	onMap := s.seq - min(s.seq-1, datagram.AckBits-1)
	s.oldest, s.unacked = max(s.oldest, onMap), max(s.unacked, onMap)
	if s.inFlight == 0 {
		s.timing.begin(nowNs)
	}
	m.seq, m.sentNs, m.state, m.count = s.seq, nowNs, inFlight, 0
	s.inFlight++
	return m
}

func (s *Sender[T]) mapping(seq uint64) *mapping { return &s.sent[seq%datagram.AckBits] }

// pack seals what is first in line, as much as fits. The body is built where
// its sealed form will be.
func (s *Sender[T]) pack(nowNs int64) {
	m := s.next(nowNs)
	buffer := s.buffer()
	body := buffer[datagram.HeaderBytes:datagram.HeaderBytes]
	resent := false
	for m.count < MaxRecordsPerDatagram {
		q := s.first()
		if q == nil {
			break
		}
		r := q.front()
		h := &s.records[r.index]
		if !datagram.Room(len(body), len(h.record)) {
			break
		}
		q.pop()
		body = datagram.AppendFrame(body, h.record)
		h.queued = false
		s.waiting -= datagram.FrameBytes + len(h.record)
		if h.sends++; h.sends == 1 {
			s.counts.Records++
		} else {
			resent = true
			s.counts.ResentRecords++
			s.counts.ResentBytes += int64(datagram.FrameBytes + len(h.record))
		}
		m.refs[m.count] = r
		m.count++
	}
	if resent {
		s.counts.ResentDatagrams++
	}
	s.seal(m, body)
}

// first is the queue to be served; nil if both are empty.
func (s *Sender[T]) first() *queue {
	for s.again.len() > 0 {
		r := s.again.front()
		if s.records[r.index].generation == r.generation {
			return &s.again
		}
		s.again.pop() // acked while it waited
	}
	if s.fresh.len() > 0 {
		return &s.fresh
	}
	return nil
}

func (s *Sender[T]) buffer() []byte {
	start := len(s.actions.Send) * datagram.MaxBytes
	return s.buffers[start : start : start+datagram.MaxBytes]
}

func (s *Sender[T]) seal(m *mapping, body []byte) {
	d := s.sealer.Seal(s.buffer(), m.seq, int(m.count), body)
	s.actions.Send = append(s.actions.Send, d)
	s.counts.Datagrams++
	s.counts.Bytes += int64(len(d))
}
