package answering

import (
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Stream is the handler of a stream: it returns when the client has ended its
// side and every message is answered, when the client is gone, or at Shutdown.
func (s *Server[Q, A]) Stream(stream grpc.BidiStreamingServer[Q, A]) error {
	if err := s.enter(); err != nil {
		return err
	}
	t := &talk[Q, A]{
		server: s, stream: stream, over: make(chan struct{}), idle: make(chan struct{}), failed: make(chan error, 3),
		places: make(chan struct{}, s.config.MaxInWork), answers: make(chan *A, s.config.MaxInWork),
	}
	t.running.Go(t.read)
	t.running.Go(t.send)
	err := t.wait()
	close(t.over)
	// What is still in work belongs to a client that is gone; it comes to its
	// end behind this handler, whose return is what ends a Recv or Send in work.
	go func() {
		defer s.leave()
		t.running.Wait()
		s.unanswered.Add(int64(t.inWork))
	}()
	return err
}

// talk is one stream. Three goroutines serve it, the handler's, a reader and a
// sender, and one more for each message in work.
type talk[Q, A any] struct {
	server  *Server[Q, A]
	stream  grpc.BidiStreamingServer[Q, A]
	running sync.WaitGroup

	places  chan struct{} // one for each message in work
	answers chan *A       // has room for all of them: no message waits for the sender
	over    chan struct{} // closed when the handler returns
	idle    chan struct{} // closed when no message comes any more and all are answered
	failed  chan error    // why the stream is cut; has room for all who may say so

	mu     sync.Mutex
	inWork int
	ending bool // no further message is taken
}

// wait is the handler's: it returns the stream's status.
func (t *talk[Q, A]) wait() error {
	select {
	case <-t.idle:
		return nil
	case err := <-t.failed:
		return err
	case <-t.server.stopping:
		t.end()
	}
	select {
	case <-t.idle:
		return stopping()
	case err := <-t.failed:
		return err
	}
}

// read takes messages while there are places. A client that breaks off ends the
// Recv, or its context ends the wait for a place.
func (t *talk[Q, A]) read() {
	gone := t.stream.Context().Done()
	for {
		select {
		case t.places <- struct{}{}:
		case <-gone:
			t.failed <- t.stream.Context().Err()
			return
		}
		message, err := t.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			t.end()
			return
		case err != nil:
			t.failed <- err
			return
		case !t.begin():
			return
		}
		t.running.Go(func() { t.answers <- t.server.config.Answer(t.server.working, message) })
	}
}

// begin takes a message into work; false means that it came too late.
func (t *talk[Q, A]) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending {
		return false
	}
	t.inWork++
	t.server.messages.Add(1)
	return true
}

// end lets no further message begin.
func (t *talk[Q, A]) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending {
		return
	}
	t.ending = true
	if t.inWork == 0 {
		close(t.idle)
	}
}

// answered is a message whose answer was sent.
func (t *talk[Q, A]) answered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inWork--
	if t.ending && t.inWork == 0 {
		close(t.idle)
	}
}

// send sends the answers, one at a time, until the handler returns.
func (t *talk[Q, A]) send() {
	patience := time.AfterFunc(SendLimit, func() {
		t.server.cut.Add(1)
		t.failed <- status.Errorf(codes.Aborted, "an answer was not taken within %v", SendLimit)
	})
	defer patience.Stop()
	patience.Stop()
	for {
		select {
		case answer := <-t.answers:
			patience.Reset(SendLimit)
			err := t.stream.Send(answer)
			patience.Stop()
			if err != nil {
				t.failed <- err
				return
			}
			<-t.places
			t.answered()
		case <-t.over:
			return
		}
	}
}
