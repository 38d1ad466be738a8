package labtarget

import (
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/valyala/fasthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postbench/postbench/internal/ingestpb"
)

// maxUnacked bounds the messages of a stream that have no ack yet. No more are
// read then.
const maxUnacked = 1 << 14

// grpcFront takes postbacks over streams of postbench.v1.Ingest, and acks each
// when its own answer is due, in whatever order that is.
type grpcFront struct {
	ingestpb.UnimplementedIngestServer
	target   *Target
	listener net.Listener
	server   *grpc.Server
	working  sync.WaitGroup // goroutines beside the handlers
}

func newGRPCFront(t *Target, listener net.Listener) *grpcFront {
	f := &grpcFront{target: t, listener: listener, server: grpc.NewServer(grpc.MaxRecvMsgSize(maxRequestBytes), grpc.WaitForHandlers(true))}
	ingestpb.RegisterIngestServer(f.server, f)
	return f
}

func (f *grpcFront) serve() error {
	if err := f.server.Serve(f.listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// close ends every stream: its messages were answered by then, or never will.
func (f *grpcFront) close() error {
	f.server.Stop()
	f.working.Wait()
	return nil
}

// ingestStream is one stream at work.
type ingestStream struct {
	grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack]
	hungUp chan struct{} // holds one when a message's fault ends the stream

	sending sync.Mutex
	over    bool
}

// Stream implements the service.
func (f *grpcFront) Stream(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack]) error {
	s := &ingestStream{BidiStreamingServer: stream, hungUp: make(chan struct{}, 1)}
	defer s.end()
	read := make(chan struct{})
	f.working.Go(func() {
		defer close(read)
		f.read(s)
	})
	select {
	case <-s.hungUp:
		return status.Error(codes.Unavailable, "hung up, as told to")
	case <-read:
		return nil
	}
}

// read takes messages until the stream ends, and returns when all are answered.
func (f *grpcFront) read(s *ingestStream) {
	var answering sync.WaitGroup
	places := make(chan struct{}, maxUnacked)
	for message, err := s.Recv(); err == nil; message, err = s.Recv() {
		places <- struct{}{}
		answering.Go(func() {
			f.answer(s, message)
			<-places
		})
	}
	answering.Wait()
}

// answer acks a message when its answer is due, if it gets one.
func (f *grpcFront) answer(s *ingestStream, message *ingestpb.Postback) {
	a := &arrival{method: []byte(message.Method), target: message.Target, protocol: []byte("gRPC"), header: []byte("\r\n"),
		body: message.Body, uri: new(fasthttp.URI)}
	if message.Method == "" {
		a.method = []byte(http.MethodGet)
	}
	if err := a.uri.Parse(nil, a.target); err != nil {
		s.ack(message.Seq, http.StatusBadRequest)
		return
	}
	code, struck := f.target.answer(a)
	switch struck {
	case hang:
	case hangUp:
		select {
		case s.hungUp <- struct{}{}:
		default: // it ends already
		}
	default:
		s.ack(message.Seq, code)
	}
}

func (s *ingestStream) ack(seq uint64, code int) {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.over {
		return
	}
	// A broken stream is the client's to notice.
	_ = s.Send(&ingestpb.Ack{Seq: seq, Status: uint32(code), Body: []byte(fasthttp.StatusMessage(code))})
}

func (s *ingestStream) end() {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.over = true
}
