// Package grpcin is the front for partners that stream their postbacks over
// gRPC (postbench.v1.Ingest) instead of sending a request for each. Every
// message is acked by itself, in any order, with the status and the body that
// its answer over HTTP would have; what it says and what becomes of it is the
// edge's business.
package grpcin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/refserver/stream/answering"
)

const (
	// DefaultMaxStreams bounds the open streams of a process.
	DefaultMaxStreams = 1_024
	// DefaultMaxInFlightPerStream bounds a stream's messages in work: at 10,000 a
	// second, acks may take 100 ms.
	DefaultMaxInFlightPerStream = 1_024

	// MaxMessageBytes bounds a message. It leaves room for a query that is too
	// long, which is acked with 414; what is longer than a message may be ends
	// its stream, as a request line beyond all limits ends its connection.
	MaxMessageBytes = 16 << 10
	// windowBytes is how much of a stream waits unread.
	windowBytes = 256 << 10
)

// Exchanger answers one postback with the status and body of an answer over
// HTTP; an empty method is GET. It is called by many goroutines at once, keeps
// nothing of what it is given, and returns soon after ctx ends.
type Exchanger interface {
	Exchange(ctx context.Context, method, target, body []byte) (status int, reply []byte)
}

// Config is what a Server is made of. Only Edge is required.
type Config struct {
	Edge Exchanger
	// TLS secures the connections of all listeners; nil takes them as they come.
	TLS *tls.Config
	// MaxStreams bounds the open streams; one more is refused with
	// ResourceExhausted. 0 means DefaultMaxStreams.
	MaxStreams int
	// MaxInFlightPerStream bounds the messages of a stream that have no ack yet.
	// What comes beyond it is not read, until flow control makes the partner
	// wait. 0 means DefaultMaxInFlightPerStream.
	MaxInFlightPerStream int
	// Log takes what an operator should know; nil drops it.
	Log *slog.Logger
}

// Counts is what a Server has seen since its start.
type Counts = answering.Counts

// Server takes streams. It is safe for concurrent use.
type Server struct {
	ingestpb.UnimplementedIngestServer
	edge    Exchanger
	answers *answering.Server[ingestpb.Postback, ingestpb.Ack]
}

// New makes a Server.
func New(config Config) (*Server, error) {
	if config.MaxStreams == 0 {
		config.MaxStreams = DefaultMaxStreams
	}
	if config.MaxInFlightPerStream == 0 {
		config.MaxInFlightPerStream = DefaultMaxInFlightPerStream
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case config.Edge == nil:
		return nil, errors.New("grpc front: no Edge: postbacks need an answer")
	case config.MaxStreams < 1 || config.MaxInFlightPerStream < 1:
		return nil, fmt.Errorf("grpc front: limit of streams %d, of messages in work on each %d, expected at least 1, or 0 for the default",
			config.MaxStreams, config.MaxInFlightPerStream)
	}
	s := &Server{edge: config.Edge}
	s.answers = answering.New(answering.Config[ingestpb.Postback, ingestpb.Ack]{
		Answer: s.answer, MaxStreams: config.MaxStreams, MaxInWork: config.MaxInFlightPerStream,
		MaxMessageBytes: MaxMessageBytes, WindowBytes: windowBytes, TLS: config.TLS, Log: config.Log,
	})
	ingestpb.RegisterIngestServer(s.answers.Registrar(), s)
	return s, nil
}

// Serve takes connections from l until Shutdown, and closes it. It may be called
// for several listeners, in several processes for one port.
func (s *Server) Serve(l net.Listener) error { return s.answers.Serve(l) }

// Shutdown takes no further postbacks, acks those in work and ends all streams.
// When ctx ends before, the connections are cut and the context of the postbacks
// in work ends; an error wraps answering.ErrStillInWork.
func (s *Server) Shutdown(ctx context.Context) error { return s.answers.Shutdown(ctx) }

// Counts reads the counters; they are not one instant's.
func (s *Server) Counts() Counts { return s.answers.Counts() }

// Stream implements the service.
func (s *Server) Stream(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack]) error {
	return s.answers.Stream(stream)
}

func (s *Server) answer(ctx context.Context, m *ingestpb.Postback) *ingestpb.Ack {
	status, reply := s.edge.Exchange(ctx, []byte(m.GetMethod()), m.GetTarget(), m.GetBody())
	return &ingestpb.Ack{Seq: m.GetSeq(), Status: uint32(status), Body: reply}
}
