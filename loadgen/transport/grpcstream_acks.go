package transport

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/postbench/postbench/internal/ingestpb"
)

// message is a postback on a stream. It is settled once, by its ack, the
// stream's end or its sender, who gives up; the fields below settled are
// written before.
type message struct {
	wire    *ingestpb.Postback
	settled chan struct{}

	ack             *ingestpb.Ack
	sentAt, ackedAt time.Time
	err             error
}

// ackStream is one stream and the messages on it that wait for their acks. A
// message waits in unsent first: a server that does not read makes gRPC's Send
// block, which must hold up the stream's own goroutine alone.
type ackStream struct {
	client *grpc.ClientConn
	stream grpc.BidiStreamingClient[ingestpb.Postback, ingestpb.Ack]
	limit  int
	freed  func() // called when places have become free
	late   *atomic.Int64

	life   context.Context
	end    context.CancelFunc
	posted chan struct{} // holds one when unsent got a message
	ended  chan struct{} // closed when nothing of the stream is left

	mu      sync.Mutex
	used    int // unsent, waiting, and reserved for messages about to be posted
	unsent  []*message
	waiting map[uint64]*message // by seq
	seq     uint64
	broken  error
}

func newAckStream(client *grpc.ClientConn, limit int, freed func(), late *atomic.Int64) *ackStream {
	s := &ackStream{client: client, limit: limit, used: 1, freed: freed, late: late,
		waiting: map[uint64]*message{}, posted: make(chan struct{}, 1), ended: make(chan struct{})}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// reserve implements carrier. gRPC leaves the ready state at a GOAWAY, when the
// acks that are still to come do come, but no further message is welcome.
func (s *ackStream) reserve() (ok, alive bool) {
	leaving := s.client.GetState() != connectivity.Ready
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken != nil:
		return false, false
	case leaving:
		return false, s.used > 0
	case s.used >= s.limit:
		return false, true
	}
	s.used++
	return true, true
}

// post queues a message whose place was reserved.
func (s *ackStream) post(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		s.settle(m, s.broken)
		return
	}
	s.unsent = append(s.unsent, m)
	select {
	case s.posted <- struct{}{}:
	default: // the writer has not even seen the one before
	}
}

// settle ends a message, whose ack is set if there is one. s.mu is held.
func (s *ackStream) settle(m *message, err error) {
	m.err = err
	s.used--
	close(m.settled)
}

// giveUp settles a message that is not settled yet: it is not sent any more, or
// its ack will be late.
func (s *ackStream) giveUp(m *message, cause error) {
	s.mu.Lock()
	if at := slices.Index(s.unsent, m); at >= 0 {
		s.unsent = slices.Delete(s.unsent, at, at+1)
		s.settle(m, cause)
	} else if s.waiting[m.wire.Seq] == m {
		delete(s.waiting, m.wire.Seq)
		s.settle(m, cause)
	}
	s.mu.Unlock()
	s.freed()
}

// run writes the messages until the stream ends.
func (s *ackStream) run() {
	defer close(s.ended)
	defer s.client.Close()
	defer s.end()
	var reading sync.WaitGroup
	first := true
	for m := s.next(); m != nil; m = s.next() {
		err := s.stream.Send(m.wire)
		if first {
			// Nothing may be read before the first message is written: that
			// settles for gRPC that it sends nothing again.
			reading.Go(s.readAcks)
			first = false
		}
		if err != nil {
			break // the reader hears why
		}
	}
	reading.Wait()
	s.fail(streamEnded(context.Canceled)) // unless the reader has
}

// next waits for a message to write; nil says that the stream has ended.
func (s *ackStream) next() *message {
	for s.life.Err() == nil {
		if m := s.take(); m != nil {
			return m
		}
		select {
		case <-s.posted:
		case <-s.life.Done():
		}
	}
	return nil
}

// take moves the first unsent message to those that wait for their acks.
func (s *ackStream) take() *message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unsent) == 0 {
		return nil
	}
	m := s.unsent[0]
	s.unsent = slices.Delete(s.unsent, 0, 1)
	s.seq++
	m.wire.Seq, m.sentAt = s.seq, time.Now()
	s.waiting[s.seq] = m
	return m
}

// readAcks hands the acks out until the stream ends.
func (s *ackStream) readAcks() {
	defer s.end()
	for {
		ack, err := s.stream.Recv()
		if err != nil {
			s.fail(streamEnded(err))
			return
		}
		s.acked(ack, time.Now())
	}
}

func (s *ackStream) acked(ack *ingestpb.Ack, at time.Time) {
	s.mu.Lock()
	m, waits := s.waiting[ack.Seq]
	if waits {
		delete(s.waiting, ack.Seq)
		m.ack, m.ackedAt = ack, at
		s.settle(m, nil)
	}
	s.mu.Unlock()
	if !waits {
		s.late.Add(1)
		return
	}
	s.freed()
}

// fail ends every message with the stream.
func (s *ackStream) fail(err error) {
	s.mu.Lock()
	if s.broken == nil {
		s.broken = err
	}
	for _, m := range s.unsent {
		s.settle(m, s.broken)
	}
	for _, m := range s.waiting {
		s.settle(m, s.broken)
	}
	s.unsent = nil
	clear(s.waiting)
	s.mu.Unlock()
	s.freed()
}

// close implements carrier.
func (s *ackStream) close() {
	s.end()
	<-s.ended
}
