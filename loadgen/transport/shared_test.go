package transport_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/loadgen/transport"
)

// service is how long the servers below think about each request, of however
// many at once.
const service = 50 * time.Millisecond

func inBubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

// serveSlowly serves a network with either protocol until stop.
func serveSlowly(network *pipes, protocol string) (stop func()) {
	var serving sync.WaitGroup
	if protocol == "grpc" {
		server := grpc.NewServer()
		ingestpb.RegisterIngestServer(server, slowIngest{})
		serving.Go(func() { server.Serve(network) })
		return func() { server.Stop(); serving.Wait() }
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = pause(r.Context(), service)
		fmt.Fprint(w, r.RequestURI)
	})}
	serving.Go(func() { server.Serve(network) })
	return func() { server.Close(); serving.Wait() }
}

// slowIngest acks every message after its service time.
type slowIngest struct {
	ingestpb.UnimplementedIngestServer
}

// Stream implements the service.
func (slowIngest) Stream(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack]) error {
	var sending sync.Mutex
	var acks sync.WaitGroup
	defer acks.Wait()
	for {
		message, err := stream.Recv()
		if err != nil {
			return nil
		}
		acks.Go(func() {
			_ = pause(stream.Context(), service)
			sending.Lock()
			defer sending.Unlock()
			_ = stream.Send(&ingestpb.Ack{Seq: message.Seq, Status: 200, Body: message.Target})
		})
	}
}

// A request's time is its own, however many are under way on the connection.
func TestSharedManyAtOnce(t *testing.T) {
	both(t, 0, func(t *testing.T, network *pipes, client func() sender) {
		var senders sync.WaitGroup
		for i := range 90 {
			s := client()
			senders.Go(func() {
				defer s.Close()
				time.Sleep(time.Duration(i) * time.Millisecond) // on the bubble's clock
				got := sendOne(s, fmt.Sprintf("/%d", i), time.Second)
				if got.err != nil || string(got.reply.Body) != fmt.Sprintf("/%d", i) {
					t.Errorf("%d: %q, %v", i, got.reply.Body, got.err)
				}
				if p := got.reply.Phases; got.took != service || p.WaitNs != int64(service) || got.reply.FirstByteNs != int64(service) {
					t.Errorf("%d took %v, first byte after %v, wait %v; want %v", i, got.took, time.Duration(got.reply.FirstByteNs), time.Duration(p.WaitNs), service)
				}
			})
		}
		senders.Wait()
		if n := network.dialled(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

// Who waits for a connection that fails, fails with it, at the same moment.
func TestSharedOpeningFails(t *testing.T) {
	const rtt = 85 * time.Millisecond
	both(t, 0, func(t *testing.T, network *pipes, client func() sender) {
		network.connect = func(ctx context.Context, number int) error {
			if err := pause(ctx, rtt); err != nil || number > 0 {
				return err
			}
			return errRefused
		}
		var senders sync.WaitGroup
		for range 5 {
			s := client()
			defer s.Close()
			senders.Go(func() {
				if got := sendOne(s, "/", time.Second); got.class() != transport.ClassConnect || got.took != rtt {
					t.Errorf("%v after %v", got.err, got.took)
				}
			})
		}
		senders.Wait()
		s := client()
		defer s.Close()
		if got := sendOne(s, "/", time.Second); got.err != nil || got.took != rtt+service || !got.reply.Phases.Opened ||
			got.reply.Phases.ConnectNs != int64(rtt) || got.reply.Phases.WaitNs != int64(service) {
			t.Errorf("afterwards: %v after %v, %+v", got.err, got.took, got.reply.Phases)
		}
		if n := network.dialled(); n != 2 {
			t.Errorf("%d connections were tried, want 2", n)
		}
	})
}

// When the one who opens has no more time, or is closed, the next one opens:
// the server has failed nobody.
func TestSharedOpenerGivesUp(t *testing.T) {
	for _, closes := range []bool{false, true} {
		both(t, 0, func(t *testing.T, network *pipes, client func() sender) {
			network.connect = func(ctx context.Context, _ int) error { return pause(ctx, 85*time.Millisecond) }
			hasty, patient := client(), client()
			defer patient.Close()
			defer hasty.Close()
			want := transport.ClassTimeout
			if closes {
				want = transport.ClassCanceled
				time.AfterFunc(30*time.Millisecond, func() { hasty.Close() })
			}
			var senders sync.WaitGroup
			senders.Go(func() {
				if got := sendOne(hasty, "/", 40*time.Millisecond); got.class() != want || got.took > 40*time.Millisecond {
					t.Errorf("the opener: %v after %v", got.err, got.took)
				}
			})
			synctest.Wait()
			if got := sendOne(patient, "/", time.Second); got.err != nil || !got.reply.Phases.Opened {
				t.Errorf("the next one: %v, %+v", got.err, got.reply.Phases)
			}
			senders.Wait()
		})
	}
}

// A place that becomes free while a connection is being opened is taken by who
// waits.
func TestSharedFreePlace(t *testing.T) {
	both(t, 1, func(t *testing.T, network *pipes, client func() sender) {
		network.connect = func(ctx context.Context, number int) error { return pause(ctx, time.Duration(number)*time.Second) }
		var senders sync.WaitGroup
		send := func(want time.Duration) {
			s := client()
			senders.Go(func() {
				defer s.Close()
				if got := sendOne(s, "/", 5*time.Second); got.err != nil || got.took != want {
					t.Errorf("%v after %v, want %v", got.err, got.took, want)
				}
			})
			synctest.Wait()
		}
		send(service)               // on the first connection
		send(time.Second + service) // opens the second one
		send(2 * service)           // on the first one, after the first
		send(3 * service)
		senders.Wait()
		if n := network.dialled(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

// Close ends a Send wherever it is, and what belongs to the last sender goes
// with it: a goroutine that is left would end the bubble with a panic.
func TestSharedClose(t *testing.T) {
	const closeAfter = 20 * time.Millisecond
	for name, c := range map[string]struct {
		connect time.Duration
		streams int
	}{
		"connecting": {time.Second, 0},
		"waiting":    {0, 0},
	} {
		both(t, c.streams, func(t *testing.T, network *pipes, client func() sender) {
			network.connect = func(ctx context.Context, _ int) error { return pause(ctx, c.connect) }
			var senders sync.WaitGroup
			for range 3 {
				s := client()
				senders.Go(func() {
					if got := sendOne(s, "/", time.Minute); got.class() != transport.ClassCanceled || got.took != closeAfter {
						t.Errorf("%s: %v after %v", name, got.err, got.took)
					}
				})
				time.AfterFunc(closeAfter, func() { s.Close(); s.Close() })
			}
			senders.Wait()
		})
	}
}

// A dial that comes through although everybody has left is closed.
func TestSharedOpenedForNobody(t *testing.T) {
	both(t, 0, func(t *testing.T, network *pipes, client func() sender) {
		s := client()
		network.connect = func(context.Context, int) error {
			s.Close()
			return nil
		}
		if got := sendOne(s, "/", time.Second); got.class() != transport.ClassCanceled {
			t.Errorf("%v", got.err)
		}
		network.mustHaveOpen(t, 0)
		again := client()
		defer again.Close()
		network.connect = nil
		if got := sendOne(again, "/", time.Second); got.err != nil {
			t.Errorf("a sender after all others: %v", got.err)
		}
	})
}

// A server that accepts and reads nothing holds nobody up beyond the deadline.
func TestSharedServerReadsNothing(t *testing.T) {
	for name, client := range clients() {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				network := newPipes()
				defer network.Close()
				var taken []net.Conn
				var accepting sync.WaitGroup
				accepting.Go(func() {
					for conn, err := network.Accept(); err == nil; conn, err = network.Accept() {
						taken = append(taken, conn)
					}
				})
				open := client(network.config())
				var senders sync.WaitGroup
				for range 3 {
					s := open()
					senders.Go(func() {
						defer s.Close()
						for range 2 {
							if got := sendOne(s, "/", time.Second); got.class() != transport.ClassTimeout || got.took != time.Second {
								t.Errorf("%v after %v", got.err, got.took)
							}
						}
					})
				}
				senders.Wait()
				network.Close()
				accepting.Wait()
				for _, conn := range taken {
					conn.Close()
				}
			})
		})
	}
}
