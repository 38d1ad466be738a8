package transport_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/loadgen/transport"
)

// ingestServer acks every message with its own target, but holds those for
// /wait back until one for /go comes, and ends the stream at /end.
type ingestServer struct {
	ingestpb.UnimplementedIngestServer
	addr     string
	messages atomic.Int64
	streams  atomic.Int64
}

func newIngestServer(t *testing.T) *ingestServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &ingestServer{addr: listener.Addr().String()}
	server := grpc.NewServer()
	ingestpb.RegisterIngestServer(server, s)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return s
}

// Stream implements the service.
func (s *ingestServer) Stream(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack]) error {
	s.streams.Add(1)
	var held []uint64
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		s.messages.Add(1)
		target := string(message.Target)
		switch {
		case strings.HasPrefix(target, "/wait"):
			held = append(held, message.Seq)
			continue
		case strings.HasPrefix(target, "/end"):
			return nil
		}
		for _, seq := range append(held, message.Seq) {
			if err := stream.Send(&ingestpb.Ack{Seq: seq, Status: 200, Body: fmt.Append(nil, message.Method, target, string(message.Body))}); err != nil {
				return err
			}
		}
		held = nil
	}
}

func (s *ingestServer) config() transport.SharedConfig {
	return transport.SharedConfig{Address: s.addr, Host: "me.example", UserAgent: "postbench"}
}

func TestGRPCStreamCarriesTheBytes(t *testing.T) {
	server := newIngestServer(t)
	sender := transport.NewGRPCStream(server.config()).Sender()
	defer sender.Close()
	for i := range 3 {
		reply, err := sender.Send(t.Context(), &transport.Request{Method: "POST", Target: []byte("/pb?a=%zz"), Body: []byte("x")}, deadline())
		if err != nil || reply.Status != 200 || string(reply.Body) != "POST/pb?a=%zzx" {
			t.Fatalf("%d %q, %v", reply.Status, reply.Body, err)
		}
		if p := reply.Phases; p.Opened != (i == 0) || p.WaitNs <= 0 || (p.ConnectNs > 0) != p.Opened {
			t.Errorf("message %d: phases %+v", i, p)
		}
	}
	if server.streams.Load() != 1 {
		t.Errorf("%d streams for one sender", server.streams.Load())
	}
}

// Acks come in any order, and each goes to its own message.
func TestGRPCStreamMatchesAcks(t *testing.T) {
	server := newIngestServer(t)
	shared := transport.NewGRPCStream(server.config())
	var senders sync.WaitGroup
	for range 5 {
		sender := shared.Sender()
		senders.Go(func() {
			defer sender.Close()
			if reply, err := sender.Send(context.Background(), &transport.Request{Method: "GET", Target: []byte("/wait")}, deadline()); err != nil || reply.Status != 200 {
				t.Errorf("%+v, %v", reply, err)
			}
		})
	}
	for server.messages.Load() < 5 {
		time.Sleep(time.Millisecond) // real sockets: there is nothing to wait on
	}
	last := shared.Sender()
	defer last.Close()
	reply, err := last.Send(t.Context(), &transport.Request{Method: "GET", Target: []byte("/go")}, deadline())
	if err != nil || string(reply.Body) != "/go" {
		t.Errorf("%q, %v", reply.Body, err)
	}
	senders.Wait()
	if server.streams.Load() != 1 {
		t.Errorf("%d streams, want 1", server.streams.Load())
	}
}

func TestGRPCStreamFailures(t *testing.T) {
	server := newIngestServer(t)
	shared := transport.NewGRPCStream(server.config())
	sender := shared.Sender()
	defer sender.Close()
	send := func(target string, wait time.Duration) error {
		_, err := sender.Send(t.Context(), &transport.Request{Method: "GET", Target: []byte(target)}, time.Now().Add(wait))
		return err
	}
	if err := send("/wait", 50*time.Millisecond); transport.ClassOf(err) != transport.ClassTimeout {
		t.Errorf("timeout: %v", err)
	}
	if err := send("/go", time.Minute); err != nil {
		t.Errorf("the stream did not outlive a timeout: %v", err)
	}
	if shared.LateAcks() != 1 {
		t.Errorf("%d late acks, want 1", shared.LateAcks())
	}
	if err := send("/end", time.Minute); transport.ClassOf(err) != transport.ClassClosed {
		t.Errorf("end of the stream: %v", err)
	}
	if err := send("/go", time.Minute); err != nil {
		t.Errorf("no new stream after the end of one: %v", err)
	}
	if n := server.messages.Load(); n != 4 {
		t.Errorf("%d messages on the wire, 4 were sent", n)
	}
	sender.Close()
	if err := send("/go", time.Minute); transport.ClassOf(err) != transport.ClassCanceled {
		t.Errorf("after Close: %v", err)
	}
}

func TestGRPCStreamRefusedConnection(t *testing.T) {
	sender := transport.NewGRPCStream(transport.SharedConfig{Address: "127.0.0.1:1", Host: "x"}).Sender()
	defer sender.Close()
	_, err := sender.Send(t.Context(), &transport.Request{Method: "GET", Target: []byte("/")}, deadline())
	if transport.ClassOf(err) != transport.ClassConnect {
		t.Errorf("%v", err)
	}
}
