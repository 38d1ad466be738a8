package transport_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/loadgen/transport"
)

// frameServer speaks HTTP/2 frame by frame, and misbehaves as on says.
type frameServer struct {
	// on is called for every frame of a request.
	on func(framer *http2.Framer, frame http2.Frame)

	mu    sync.Mutex
	seen  map[http2.FrameType]int
	conns int
}

// serve serves a network until stop.
func (s *frameServer) serve(network *pipes) (stop func()) {
	s.seen = map[http2.FrameType]int{}
	var serving sync.WaitGroup
	serving.Go(func() {
		for conn, err := network.Accept(); err == nil; conn, err = network.Accept() {
			s.conns++
			serving.Go(func() { s.speak(conn) })
		}
	})
	return func() { network.Close(); serving.Wait() }
}

func (s *frameServer) speak(conn net.Conn) {
	defer conn.Close()
	// The client greets in one piece, and reads only when all of it is taken.
	reader := bufio.NewReader(conn)
	if _, err := io.ReadFull(reader, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	writer := newBufferedPipe(conn)
	defer writer.close()
	framer := http2.NewFramer(writer, reader)
	for frame, err := framer.ReadFrame(); err == nil; frame, err = framer.ReadFrame() {
		kind := frame.Header().Type
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			_ = framer.WriteSettings()
		}
		s.mu.Lock()
		s.seen[kind]++
		s.mu.Unlock()
		if kind == http2.FrameHeaders || kind == http2.FrameData {
			s.on(framer, frame)
		}
	}
}

// bufferedPipe lets a server write before its client reads, as a socket does.
type bufferedPipe struct {
	chunks  chan []byte
	writing sync.WaitGroup
}

func newBufferedPipe(conn net.Conn) *bufferedPipe {
	b := &bufferedPipe{chunks: make(chan []byte, 100)}
	b.writing.Go(func() {
		for chunk := range b.chunks {
			_, _ = conn.Write(chunk) // the client may be gone
		}
	})
	return b
}

// Write implements io.Writer.
func (b *bufferedPipe) Write(p []byte) (int, error) {
	b.chunks <- bytes.Clone(p)
	return len(p), nil
}

func (b *bufferedPipe) close() {
	close(b.chunks)
	b.writing.Wait()
}

// answer writes an answer without a body.
func answer(framer *http2.Framer, stream uint32) {
	var block bytes.Buffer
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
}

// A stream that the server refuses unread, which clients are free to send
// again, is an error: one request, one attempt.
func TestSharedRefusedStream(t *testing.T) {
	for name, client := range clients() {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				network := newPipes()
				carries := map[string]http2.FrameType{"http2": http2.FrameHeaders, "grpc": http2.FrameData}[name]
				server := &frameServer{on: func(framer *http2.Framer, frame http2.Frame) {
					if frame.Header().Type == carries {
						_ = framer.WriteRSTStream(frame.Header().StreamID, http2.ErrCodeRefusedStream)
					}
				}}
				defer server.serve(network)()
				s := client(network.config())()
				defer s.Close()
				for n := 1; n <= 3; n++ {
					if got := sendOne(s, "/", time.Second); got.class() != transport.ClassClosed {
						t.Errorf("%v after %v", got.err, got.took)
					}
					synctest.Wait()
					if server.seen[carries] != n {
						t.Fatalf("%d requests on the wire after %d", server.seen[carries], n)
					}
				}
			})
		})
	}
}

// After a GOAWAY, requests that the server took are answered, those that it
// did not take are errors, and further ones go elsewhere.
func TestHTTP2GoAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		network := newPipes()
		server := &frameServer{on: func(framer *http2.Framer, frame http2.Frame) {
			if frame.Header().StreamID == 3 {
				_ = framer.WriteGoAway(1, http2.ErrCodeNo, nil)
				answer(framer, 1)
			}
		}}
		defer server.serve(network)()
		shared := transport.NewHTTP2(network.config())
		first, second := shared.Sender(), shared.Sender()
		defer first.Close()
		defer second.Close()
		var sending sync.WaitGroup
		sending.Go(func() {
			if got := sendOne(first, "/1", time.Second); got.err != nil || got.reply.Status != 200 {
				t.Errorf("a request that the server took: %v", got.err)
			}
		})
		synctest.Wait()
		if got := sendOne(second, "/3", time.Second); got.class() != transport.ClassClosed {
			t.Errorf("a request that it did not take: %v", got.err)
		}
		sending.Wait()
		if got := sendOne(second, "/5", time.Second); got.class() != transport.ClassTimeout || !got.reply.Phases.Opened {
			t.Errorf("the next one: %v, %+v", got.err, got.reply.Phases)
		}
		synctest.Wait()
		if server.seen[http2.FrameHeaders] != 3 || server.conns != 2 {
			t.Errorf("%d requests on %d connections, want 3 on 2", server.seen[http2.FrameHeaders], server.conns)
		}
	})
}

// A connection that says goodbye while it is idle does not stay.
func TestHTTP2IdleGoAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		network := newPipes()
		server := &frameServer{on: func(framer *http2.Framer, frame http2.Frame) {
			answer(framer, 1)
			time.AfterFunc(time.Second, func() { _ = framer.WriteGoAway(1, http2.ErrCodeNo, nil) })
		}}
		defer server.serve(network)()
		s := transport.NewHTTP2(network.config()).Sender()
		for range 3 {
			if got := sendOne(s, "/", time.Second); got.err != nil || !got.reply.Phases.Opened {
				t.Errorf("%v, %+v", got.err, got.reply.Phases)
			}
			network.mustHaveOpen(t, 1)
			time.Sleep(2 * time.Second) // on the bubble's clock
		}
		s.Close()
		network.mustHaveOpen(t, 0)
	})
}

// A server's own limit holds, and a further connection takes what is over it.
func TestHTTP2ServerLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		network := newPipes()
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		server := &http.Server{Protocols: protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 2},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = pause(r.Context(), service) })}
		var serving sync.WaitGroup
		serving.Go(func() { server.Serve(network) })
		defer serving.Wait()
		defer server.Close()
		shared := transport.NewHTTP2(network.config())
		warm := shared.Sender()
		defer warm.Close()
		sendOne(warm, "/", time.Second) // the limit is known now
		var senders sync.WaitGroup
		for range 4 {
			s := shared.Sender()
			senders.Go(func() {
				defer s.Close()
				if got := sendOne(s, "/", time.Second); got.err != nil || got.took != service {
					t.Errorf("%v after %v", got.err, got.took)
				}
			})
			synctest.Wait()
		}
		senders.Wait()
		if n := network.dialled(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

// scriptedIngest keeps the targets that came and does with them as script says.
type scriptedIngest struct {
	ingestpb.UnimplementedIngestServer
	script func(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack], message *ingestpb.Postback) error
	begin  func()

	mu      sync.Mutex
	targets []string
}

// Stream implements the service.
func (s *scriptedIngest) Stream(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack]) error {
	if s.begin != nil {
		s.begin()
	}
	for want := uint64(1); ; want++ {
		message, err := stream.Recv()
		if err != nil {
			return nil
		}
		s.mu.Lock()
		s.targets = append(s.targets, string(message.Target))
		s.mu.Unlock()
		if message.Seq != want {
			return fmt.Errorf("message %d, want %d", message.Seq, want)
		}
		if err := s.script(stream, message); err != nil {
			return err
		}
	}
}

func ack(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack], seq uint64) error {
	return stream.Send(&ingestpb.Ack{Seq: seq, Status: 200})
}

// withIngest runs a test against a service in a bubble.
func withIngest(t *testing.T, service *scriptedIngest, options []grpc.ServerOption, test func(t *testing.T, network *pipes, shared *transport.GRPCStream)) {
	t.Helper()
	inBubble(t, func(t *testing.T) {
		network := newPipes()
		server := grpc.NewServer(options...)
		ingestpb.RegisterIngestServer(server, service)
		var serving sync.WaitGroup
		serving.Go(func() { server.Serve(network) })
		defer serving.Wait()
		defer server.Stop()
		test(t, network, transport.NewGRPCStream(network.config()))
	})
}

var errScripted = errors.New("out of order")

// A stream that ends half-way fails what waits on it, and nothing of that is
// sent again on the next one.
func TestGRPCStreamEndsHalfWay(t *testing.T) {
	service := &scriptedIngest{script: func(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack], message *ingestpb.Postback) error {
		switch string(message.Target) {
		case "/end":
			return errScripted
		case "/after":
			return ack(stream, message.Seq)
		}
		return nil
	}}
	withIngest(t, service, nil, func(t *testing.T, network *pipes, shared *transport.GRPCStream) {
		var senders sync.WaitGroup
		for i, target := range []string{"/a", "/b", "/end"} {
			s := shared.Sender()
			defer s.Close()
			senders.Go(func() {
				time.Sleep(time.Duration(i)) // on the bubble's clock
				if got := sendOne(s, target, time.Second); got.class() != transport.ClassClosed || got.took >= time.Second {
					t.Errorf("%s: %v after %v", target, got.err, got.took)
				}
			})
		}
		senders.Wait()
		s := shared.Sender()
		defer s.Close()
		if got := sendOne(s, "/after", time.Second); got.err != nil || !got.reply.Phases.Opened {
			t.Errorf("after the end: %v, %+v", got.err, got.reply.Phases)
		}
		if want := []string{"/a", "/b", "/end", "/after"}; !slices.Equal(service.targets, want) {
			t.Errorf("the server saw %v, want %v", service.targets, want)
		}
	})
}

// While a server does not read, gRPC's flow control blocks the writer. Every
// message still ends at its own deadline, those never written are never sent,
// and the acks of the others are late.
func TestGRPCStreamFlowControl(t *testing.T) {
	const stall, timeout, rounds, senders = 2 * time.Second, 100 * time.Millisecond, 10, 20
	service := &scriptedIngest{begin: func() { time.Sleep(stall) }, // on the bubble's clock
		script: func(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack], message *ingestpb.Postback) error {
			return ack(stream, message.Seq)
		}}
	withIngest(t, service, nil, func(t *testing.T, network *pipes, shared *transport.GRPCStream) {
		var sending sync.WaitGroup
		for i := range senders {
			s := shared.Sender()
			defer s.Close()
			sending.Go(func() {
				for round := range rounds {
					target := fmt.Sprintf("/%d/%d?%01000d", i, round, 0)
					if got := sendOne(s, target, timeout); got.class() != transport.ClassTimeout || got.took != timeout {
						t.Errorf("%v after %v", got.err, got.took)
					}
				}
			})
		}
		sending.Wait()
		time.Sleep(stall) // on the bubble's clock
		s := shared.Sender()
		defer s.Close()
		if got := sendOne(s, "/after", time.Second); got.err != nil || got.reply.Phases.Opened {
			t.Errorf("after the stall: %v, %+v", got.err, got.reply.Phases)
		}
		written := len(service.targets)
		if slices.Sort(service.targets); written >= senders*rounds || written < senders || len(slices.Compact(service.targets)) != written {
			t.Errorf("the server saw %d messages of %d, or one twice", written, senders*rounds)
		}
		if late := shared.LateAcks(); late != int64(written-1) {
			t.Errorf("%d late acks, the server sent %d", late, written-1)
		}
	})
}

// A server that says goodbye still acks what it has, and gets no more.
func TestGRPCStreamGoAway(t *testing.T) {
	const age, long = time.Second, 3 * time.Second
	service := &scriptedIngest{script: func(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack], message *ingestpb.Postback) error {
		if string(message.Target) == "/long" {
			time.Sleep(long) // on the bubble's clock
		}
		return ack(stream, message.Seq)
	}}
	withIngest(t, service, []grpc.ServerOption{grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: age})},
		func(t *testing.T, network *pipes, shared *transport.GRPCStream) {
			first, second := shared.Sender(), shared.Sender()
			defer first.Close()
			defer second.Close()
			var sending sync.WaitGroup
			sending.Go(func() {
				if got := sendOne(first, "/long", time.Minute); got.err != nil || got.took != long {
					t.Errorf("the message before the goodbye: %v after %v", got.err, got.took)
				}
			})
			time.Sleep(2 * age) // on the bubble's clock
			if got := sendOne(second, "/", time.Minute); got.err != nil || !got.reply.Phases.Opened || got.took >= age {
				t.Errorf("the message after it: %v after %v, %+v", got.err, got.took, got.reply.Phases)
			}
			sending.Wait()
		})
}
