package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/postbench/postbench/internal/ingestpb"
)

// GRPCStream is one partner's bidirectional gRPC streams (postbench.v1.Ingest):
// each has a connection of its own and carries up to SharedConfig.Streams
// postbacks that wait for their acks; another one is opened when all are full.
// A latency is that of a message, not of the stream. A stream that ends fails
// all messages on it, acked or not is unknown as with a request that timed out,
// and none is sent again. There are no keepalive pings, which servers refuse
// more often than every five minutes unless told otherwise: a server that
// vanishes without a word is noticed by the messages' timeouts alone. Safe for
// concurrent use.
type GRPCStream struct {
	cfg  SharedConfig
	pool pool[*ackStream]
	late atomic.Int64
}

// NewGRPCStream returns a client that connects when the first message is sent.
func NewGRPCStream(cfg SharedConfig) *GRPCStream {
	g := &GRPCStream{cfg: cfg}
	g.pool.open = g.open
	return g
}

// LateAcks is how many acks came that no message waited for any more: after
// its deadline, or a second time.
func (g *GRPCStream) LateAcks() int64 { return g.late.Load() }

// Sender returns a sender of one message at a time. The streams are closed with
// the last sender.
func (g *GRPCStream) Sender() *GRPCSender {
	g.pool.join()
	return &GRPCSender{member: newMember(g.pool.leave), shared: g}
}

// GRPCSender sends one message at a time. Not safe for concurrent use, Close
// excepted.
type GRPCSender struct {
	*member
	shared *GRPCStream
}

// Send sends one message at most once and waits for its ack, not later than
// deadline. Header lines are not sent. The error is an *Error.
func (s *GRPCSender) Send(ctx context.Context, req *Request, deadline time.Time) (Reply, error) {
	var reply Reply
	start := time.Now()
	ctx, done, err := s.begin(ctx, deadline)
	if err != nil {
		return reply, err
	}
	defer done()
	stream, err := s.shared.pool.acquire(ctx, &reply.Phases)
	if err != nil {
		return reply, s.failure(ClassConnect, err)
	}
	m := newMessage(req)
	stream.post(m)
	select {
	case <-m.settled:
	case <-ctx.Done():
		stream.giveUp(m, context.Cause(ctx))
		<-m.settled
	}
	switch {
	case m.err != nil:
		return reply, s.failure(ClassClosed, m.err)
	case m.ackedAt.After(deadline):
		s.shared.late.Add(1)
		return reply, fail(ClassTimeout, context.DeadlineExceeded)
	case len(m.ack.Body) > maxBodyBytes:
		return reply, fail(ClassResponse, errBodyTooLong)
	}
	reply.Status, reply.Body = int(m.ack.Status), m.ack.Body
	reply.FirstByteNs, reply.Phases.WaitNs = int64(m.ackedAt.Sub(start)), int64(m.ackedAt.Sub(m.sentAt))
	return reply, nil
}

// newMessage copies the request: the stream may write it when Send is over.
func newMessage(req *Request) *message {
	wire := &ingestpb.Postback{Target: bytes.Clone(req.Target), Body: bytes.Clone(req.Body)}
	if req.Method != http.MethodGet {
		wire.Method = req.Method
	}
	return &message{wire: wire, settled: make(chan struct{})}
}

// open connects by itself, so that the phases are timed, and gives the
// connection to gRPC, whose own greeting counts as connecting. A connection
// that breaks is not opened again behind our back: the stream on it ends.
func (g *GRPCStream) open(ctx context.Context, phases *Phases) (*ackStream, error) {
	socket, err := g.cfg.connect(ctx, phases)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	once := make(chan net.Conn, 1)
	once <- socket
	client, err := grpc.NewClient("passthrough:///"+g.cfg.Host,
		grpc.WithTransportCredentials(g.credentials()), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errConnectionGone
			}
		}),
		grpc.WithDisableRetry(), grpc.WithUserAgent(g.cfg.UserAgent))
	if err != nil {
		socket.Close()
		return nil, fail(ClassConnect, err)
	}
	s := newAckStream(client, g.cfg.streams(), func() { g.pool.freed() }, &g.late)
	stop := context.AfterFunc(ctx, s.end) // while the stream is being opened
	// What gRPC keeps of a stream it may send again; nothing is kept beyond the
	// first message.
	s.stream, err = ingestpb.NewIngestClient(client).Stream(s.life, grpc.MaxRetryRPCBufferSize(0))
	phases.ConnectNs += int64(time.Since(start))
	if ended := !stop(); err != nil || ended {
		s.end()
		client.Close()
		socket.Close()
		if ended {
			err = context.Cause(ctx)
		}
		return nil, fail(ClassConnect, fmt.Errorf("open the stream: %w", err))
	}
	go s.run()
	return s, nil
}

// errConnectionGone ends gRPC's attempts to connect again.
var errConnectionGone = errors.New("its connection is gone")

// credentials makes gRPC speak over a connection that is already secured, and
// name the scheme that it is secured by.
func (g *GRPCStream) credentials() credentials.TransportCredentials {
	if g.cfg.TLS == nil {
		return insecure.NewCredentials()
	}
	return overTLS{insecure.NewCredentials()}
}

type overTLS struct {
	credentials.TransportCredentials
}

// Info implements credentials.TransportCredentials.
func (overTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (s overTLS) Clone() credentials.TransportCredentials {
	return overTLS{s.TransportCredentials.Clone()}
}

// streamEnded is the error of the messages on a stream that ended.
func streamEnded(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the server ended the stream")
	}
	return fmt.Errorf("the stream ended: %w", err)
}
