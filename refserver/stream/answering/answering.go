// Package answering is a gRPC server for streams on which every message has an
// answer of its own, in any order: what the front of partners' streams and
// central's end of the edges' streams have in common. Messages of a stream are
// in work side by side, a bounded number at a time; more wait unread, until flow
// control makes their sender wait too.
package answering

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	// SendLimit is how long a client may leave an answer untaken before its
	// stream is cut.
	SendLimit = 10 * time.Second
	// pingAfter and pingLimit: a connection on which nothing came for so long is
	// pinged, and is dead when no answer comes in time.
	pingAfter = 30 * time.Second
	pingLimit = 10 * time.Second
	// pingsEvery is how often clients may ping.
	pingsEvery = 5 * time.Second

	greetingLimit = 10 * time.Second // TLS and HTTP/2, for a new connection
	headerBytes   = 8 << 10          // of a stream's metadata

	// giveUpLimit is how long Shutdown waits for messages whose context it ended.
	giveUpLimit = time.Second
)

// ErrStillInWork is wrapped by Shutdown's error when messages could not be
// finished, although their context ended.
var ErrStillInWork = errors.New("messages still in work")

// stopping is the status of streams that Shutdown ends.
func stopping() error { return status.Error(codes.Unavailable, "the server is stopping") }

// Config is what a Server is made of. All fields but TLS are required.
type Config[Q, A any] struct {
	// Answer answers one message; it is called for many at once. A message is
	// answered although its sender may be gone: ctx ends only when Shutdown
	// cannot wait any longer, and Answer should then return.
	Answer func(ctx context.Context, message *Q) *A
	// MaxStreams bounds the streams, those whose client is gone but whose
	// messages are still in work included; one more is refused with
	// ResourceExhausted.
	MaxStreams int
	// MaxInWork bounds a stream's messages that were read and whose answers are
	// not sent.
	MaxInWork int
	// MaxMessageBytes bounds a message; a longer one ends its stream at once with
	// ResourceExhausted, whatever of it is in work.
	MaxMessageBytes int
	// WindowBytes is how much of a stream, and of a connection, may wait unread;
	// at least 64 KiB.
	WindowBytes int32
	// TLS secures the connections; nil takes them as they come.
	TLS *tls.Config
	Log *slog.Logger
}

// Counts is what a Server has seen since its start.
type Counts struct {
	Streams        int64 `json:"streams"`         // open now
	StreamsOpened  int64 `json:"streams_opened"`  // the refused not included
	StreamsRefused int64 `json:"streams_refused"` // too many
	StreamsCut     int64 `json:"streams_cut"`     // answers were not taken in time
	Messages       int64 `json:"messages"`        // taken into work
	// Unanswered of the messages were answered when their client was gone.
	Unanswered int64 `json:"unanswered"`
}

// Server serves any number of listeners. It is safe for concurrent use.
type Server[Q, A any] struct {
	config Config[Q, A]
	server *grpc.Server

	working  context.Context // the messages'
	giveUp   context.CancelFunc
	stopping chan struct{} // closed when no further message is taken

	mu      sync.Mutex
	stopped bool
	streams int
	all     sync.WaitGroup // the streams, each until nothing of it is left

	opened, refused, cut, messages, unanswered atomic.Int64
}

// New makes a Server; its user registers the service whose stream handler calls
// Stream.
func New[Q, A any](config Config[Q, A]) *Server[Q, A] {
	s := &Server[Q, A]{config: config, stopping: make(chan struct{})}
	s.working, s.giveUp = context.WithCancel(context.Background())
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(config.MaxMessageBytes),
		grpc.MaxConcurrentStreams(uint32(config.MaxStreams)),
		grpc.MaxHeaderListSize(headerBytes),
		grpc.ConnectionTimeout(greetingLimit),
		grpc.InitialWindowSize(config.WindowBytes), grpc.InitialConnWindowSize(config.WindowBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingLimit}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsEvery, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
	if config.TLS != nil {
		secure := config.TLS.Clone()
		if !slices.Contains(secure.NextProtos, "h2") {
			secure.NextProtos = append(slices.Clone(secure.NextProtos), "h2")
		}
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	s.server = grpc.NewServer(options...)
	return s
}

// Registrar is where the service is to be registered, before Serve.
func (s *Server[Q, A]) Registrar() grpc.ServiceRegistrar { return s.server }

// Serve takes connections until Shutdown, and closes l. It may be called for
// several listeners.
func (s *Server[Q, A]) Serve(l net.Listener) error {
	if err := s.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC at %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown takes no further messages, answers those in work and ends all
// streams. When ctx ends before, it cuts the connections and ends the messages'
// context; those that go on for longer than a second then are an error that
// wraps ErrStillInWork.
func (s *Server[Q, A]) Shutdown(ctx context.Context) error {
	defer s.giveUp()
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		close(s.stopping)
	}
	s.mu.Unlock()
	graceful := make(chan struct{})
	go func() {
		defer close(graceful)
		s.server.GracefulStop()
		s.all.Wait()
	}()
	select {
	case <-graceful:
		return nil
	case <-ctx.Done():
	}
	s.giveUp()
	go s.server.Stop() // cuts short what GracefulStop waits for
	last := time.NewTimer(giveUpLimit)
	defer last.Stop()
	select {
	case <-graceful:
		return nil
	case <-last.C:
		return fmt.Errorf("stop gRPC: %d streams have %w", s.Counts().Streams, ErrStillInWork)
	}
}

// Counts reads the counters; they are not one instant's.
func (s *Server[Q, A]) Counts() Counts {
	s.mu.Lock()
	streams := s.streams
	s.mu.Unlock()
	return Counts{
		Streams: int64(streams), StreamsOpened: s.opened.Load(), StreamsRefused: s.refused.Load(), StreamsCut: s.cut.Load(),
		Messages: s.messages.Load(), Unanswered: s.unanswered.Load(),
	}
}

// enter counts a stream in, or says why not.
func (s *Server[Q, A]) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return stopping()
	case s.streams >= s.config.MaxStreams:
		// The doubling keeps the log short.
		if n := s.refused.Add(1); n&(n-1) == 0 {
			s.config.Log.Warn("streams refused: too many", "refused", n, "limit", s.config.MaxStreams)
		}
		return status.Error(codes.ResourceExhausted, "too many streams, try again later")
	}
	s.opened.Add(1)
	s.streams++
	s.all.Add(1)
	return nil
}

func (s *Server[Q, A]) leave() {
	s.mu.Lock()
	s.streams--
	s.mu.Unlock()
	s.all.Done()
}
