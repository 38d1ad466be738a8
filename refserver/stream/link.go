package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/refserver/lanes/consumer"
	"github.com/postbench/postbench/refserver/stream/delivery"
)

// tokenKey is the metadata key of the token.
const tokenKey = "postbench-uplink-token"

// A connection on which nothing came for pingAfter is pinged, and is dead when
// no answer comes within pingLimit. Central lets clients ping twice as often.
const (
	pingAfter = 10 * time.Second
	pingLimit = 5 * time.Second
)

var (
	errAnswers = errors.New("central's answers are overdue, or none of what was sent")
	errEnded   = errors.New("central ended the stream")
	errConnect = fmt.Errorf("central did not greet within %v", ConnectLimit)
)

type deliverStream = grpc.BidiStreamingClient[ingestpb.Batch, ingestpb.BatchAck]

// link is one connection to central, from the attempt to its end.
type link struct {
	conn  uint64
	tell  chan<- happening
	life  context.Context // ends when the Sender has no use for it any more
	end   context.CancelFunc
	gone  chan struct{}        // closed when nothing of it is left
	queue chan *ingestpb.Batch // has room for all that may be without an answer
}

// connect begins a connection, and tells what becomes of it. It begins when
// nothing of the one before is left: that may be reading records which the new
// one will soon set free.
func (s *Sender) connect(conn uint64, before *link) *link {
	l := &link{conn: conn, tell: s.events, gone: make(chan struct{}), queue: make(chan *ingestpb.Batch, delivery.DefaultWindow)}
	l.life, l.end = context.WithCancel(context.Background())
	config := s.config
	go func() {
		defer close(l.gone)
		defer l.end()
		if before != nil {
			before.end()
			<-before.gone
		}
		err := l.run(config)
		l.report(delivery.Disconnected{Conn: conn}, err)
	}()
	return l
}

// report tells the Sender, unless that has ended the link.
func (l *link) report(event delivery.Event, cause error) {
	select {
	case l.tell <- happening{event, cause}:
	case <-l.life.Done():
	}
}

// send queues a batch for a link that is Connected. It never waits.
func (l *link) send(b *delivery.Batch[consumer.Slot]) {
	select {
	case l.queue <- &ingestpb.Batch{Id: b.ID, Records: b.Records}:
	default:
		panic("BUG: stream: more batches without an answer than a link has room for")
	}
}

// run serves the connection until it breaks or the link's end.
func (l *link) run(config SenderConfig) error {
	client, err := grpc.NewClient("passthrough:///"+config.Central,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return config.Dial(ctx, config.Central) }),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingLimit}))
	if err != nil {
		return err
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	defer client.Close()
	stream, err := l.open(client, config.Token)
	if err != nil {
		return err
	}
	l.report(delivery.Connected{Conn: l.conn}, nil)
	read := make(chan struct{})
	defer close(read)
	writing.Go(func() { l.write(stream, read) })
	return l.read(stream)
}

// open opens the stream. Its context is the link's, so that only the opening is
// limited in time.
func (l *link) open(client *grpc.ClientConn, token string) (deliverStream, error) {
	ctx, cancel := context.WithCancelCause(metadata.AppendToOutgoingContext(l.life, tokenKey, token))
	late := time.AfterFunc(ConnectLimit, func() { cancel(errConnect) })
	stream, err := ingestpb.NewUplinkClient(client).Deliver(ctx, grpc.MaxRetryRPCBufferSize(0))
	if !late.Stop() {
		return nil, errConnect
	}
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("reach central: %w", err)
	}
	return stream, nil
}

// write hands queued batches to gRPC, which waits while central does not read,
// until the reader has read all. An error ends the stream; the reader hears why.
func (l *link) write(stream deliverStream, read <-chan struct{}) {
	for {
		select {
		case batch := <-l.queue:
			if err := stream.Send(batch); err != nil {
				return
			}
		case <-read:
			return
		}
	}
}

// read tells of answers until there are no more.
func (l *link) read(stream deliverStream) error {
	for {
		answer, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return errEnded
		case err != nil:
			return fmt.Errorf("the stream to central: %w", err)
		}
		var cause error
		if refused := answer.GetRefused(); refused != "" {
			cause = fmt.Errorf("central refused a batch: %.200q", refused)
		}
		l.report(delivery.Answered{Conn: l.conn, ID: answer.GetId(), Refused: cause != nil}, cause)
	}
}
