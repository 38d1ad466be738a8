package answering_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/refserver/stream/answering"
)

// patience ends a test that waits for what never comes.
const patience = 20 * time.Second

type (
	server = answering.Server[ingestpb.Postback, ingestpb.Ack]
	config = answering.Config[ingestpb.Postback, ingestpb.Ack]
	client = grpc.BidiStreamingClient[ingestpb.Postback, ingestpb.Ack]
)

// service is the least that a user of the package is.
type service struct {
	ingestpb.UnimplementedIngestServer
	*server
}

func (s service) Stream(stream grpc.BidiStreamingServer[ingestpb.Postback, ingestpb.Ack]) error {
	return s.server.Stream(stream)
}

// start serves in memory. stop is Shutdown with so much patience, and fails the
// test if Serve does.
func start(t *testing.T, c config) (s *server, l *bufconn.Listener, stop func(patience time.Duration) error) {
	t.Helper()
	c.MaxMessageBytes, c.WindowBytes, c.Log = 1<<10, 64<<10, slog.New(slog.DiscardHandler)
	s = answering.New(c)
	ingestpb.RegisterIngestServer(s.Registrar(), service{server: s})
	l = bufconn.Listen(1 << 10)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return s, l, func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
		return err
	}
}

// dial opens a stream. hangUp ends it and its connection.
func dial(t *testing.T, l *bufconn.Listener) (stream client, hangUp func()) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	stream, err = ingestpb.NewIngestClient(conn).Stream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return stream, func() { _ = conn.Close() }
}

func send(t *testing.T, stream client, seqs ...uint64) {
	t.Helper()
	for _, seq := range seqs {
		if err := stream.Send(&ingestpb.Postback{Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
}

func receive(t *testing.T, stream client, seqs ...uint64) {
	t.Helper()
	for _, seq := range seqs {
		if ack, err := stream.Recv(); err != nil || ack.GetSeq() != seq {
			t.Fatalf("%v, %v, want %d", ack, err, seq)
		}
	}
}

// gate answers a message when it is told to; pass has its seq.
type gate struct{ entered, pass chan uint64 }

func newGate() gate { return gate{make(chan uint64, 100), make(chan uint64)} }

func (g gate) answer(ctx context.Context, m *ingestpb.Postback) *ingestpb.Ack {
	g.entered <- m.Seq
	select {
	case seq := <-g.pass:
		return &ingestpb.Ack{Seq: seq}
	case <-ctx.Done():
		return &ingestpb.Ack{Seq: m.Seq}
	}
}

func echo(_ context.Context, m *ingestpb.Postback) *ingestpb.Ack { return &ingestpb.Ack{Seq: m.Seq} }

// The tests run in virtual time: bubble calls f and fails if something of the
// server outlives it.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

func TestAnswersInAnyOrderAndToTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		s, l, stop := start(t, config{Answer: g.answer, MaxStreams: 2, MaxInWork: 3})
		stream, hangUp := dial(t, l)
		send(t, stream, 1, 2, 3)
		if err := stream.CloseSend(); err != nil { // what was sent is answered nonetheless
			t.Fatal(err)
		}
		synctest.Wait()
		for _, seq := range []uint64{3, 1, 2} {
			g.pass <- seq
			receive(t, stream, seq)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		synctest.Wait()
		if c := s.Counts(); c != (answering.Counts{StreamsOpened: 1, Messages: 3}) {
			t.Errorf("%+v", c)
		}
		hangUp()
		if err := stop(patience); err != nil {
			t.Error(err)
		}
	})
}

// What has no place is not read, and its sender comes to wait.
func TestSenderIsHeldBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		s, l, stop := start(t, config{Answer: g.answer, MaxStreams: 1, MaxInWork: 4})
		stream, hangUp := dial(t, l)
		const messages = 2_000 // at 1,000 bytes they are more than the buffers on the way
		sent := make(chan int, messages)
		go func() {
			for n := range messages {
				if err := stream.Send(&ingestpb.Postback{Seq: 1, Target: make([]byte, 1_000)}); err != nil {
					t.Error(err)
				}
				sent <- n
			}
		}()
		synctest.Wait()
		if n := len(sent); s.Counts().Messages != 4 || n > messages/2 {
			t.Errorf("%d sent, %+v", n, s.Counts())
		}
		for range messages {
			g.pass <- 1
			receive(t, stream, 1)
			<-g.entered
		}
		synctest.Wait()
		if s.Counts().Messages != messages || len(sent) != messages {
			t.Errorf("%d sent, %+v", len(sent), s.Counts())
		}
		hangUp()
		if err := stop(patience); err != nil {
			t.Error(err)
		}
	})
}

// A client that is gone holds its place until its messages are finished, no longer.
func TestDeadClientFreesAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		s, l, stop := start(t, config{Answer: g.answer, MaxStreams: 1, MaxInWork: 2})
		dead, hangUp := dial(t, l)
		send(t, dead, 1, 2, 3)
		synctest.Wait()
		hangUp()
		synctest.Wait()
		second, hangUpSecond := dial(t, l)
		if _, err := second.Recv(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a stream too many: %v", err)
		}
		hangUpSecond()
		if c := s.Counts(); c.Streams != 1 || c.StreamsRefused != 1 {
			t.Errorf("%+v", c)
		}
		g.pass <- 1
		g.pass <- 2
		synctest.Wait()
		if c := s.Counts(); c.Streams != 0 || c.Messages != 2 || c.Unanswered != 2 {
			t.Errorf("%+v", c)
		}
		third, hangUpThird := dial(t, l)
		send(t, third, 5)
		g.pass <- 5
		receive(t, third, 5)
		hangUpThird()
		if err := stop(patience); err != nil {
			t.Error(err)
		}
	})
}

// A client that is there and takes no answers is cut off.
func TestAnswersNobodyTakes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		large := func(context.Context, *ingestpb.Postback) *ingestpb.Ack {
			return &ingestpb.Ack{Body: make([]byte, 60<<10)}
		}
		s, l, stop := start(t, config{Answer: large, MaxStreams: 1, MaxInWork: 8})
		stream, hangUp := dial(t, l)
		send(t, stream, 1, 2, 3, 4, 5, 6, 7, 8)
		synctest.Wait()
		begin := time.Now()
		for s.Counts().Streams > 0 && time.Since(begin) < time.Minute {
			time.Sleep(time.Second) // virtual time
		}
		if c := s.Counts(); c.StreamsCut != 1 || c.Streams != 0 || c.Unanswered == 0 || time.Since(begin) > 2*answering.SendLimit {
			t.Errorf("%+v after %v", c, time.Since(begin))
		}
		hangUp()
		if err := stop(patience); err != nil {
			t.Error(err)
		}
	})
}

// A message beyond the limit ends its stream, and nothing else.
func TestTooLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, stop := start(t, config{Answer: echo, MaxStreams: 1, MaxInWork: 2})
		stream, hangUp := dial(t, l)
		send(t, stream, 1)
		receive(t, stream, 1)
		if err := stream.Send(&ingestpb.Postback{Target: make([]byte, 2<<10)}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted {
			t.Error(err)
		}
		hangUp()
		if err := stop(patience); err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownFinishesWhatIsInWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		s, l, stop := start(t, config{Answer: g.answer, MaxStreams: 2, MaxInWork: 4})
		busy, hangUpBusy := dial(t, l)
		idle, hangUpIdle := dial(t, l)
		defer hangUpBusy()
		defer hangUpIdle()
		send(t, busy, 1, 2)
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- stop(patience) }()
		if _, err := idle.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the idle stream: %v", err)
		}
		send(t, busy, 3) // too late
		synctest.Wait()
		for _, seq := range []uint64{2, 1} {
			g.pass <- seq
			receive(t, busy, seq)
		}
		if _, err := busy.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the busy stream: %v", err)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if c := s.Counts(); c.Messages != 2 || c.Unanswered != 0 || c.Streams != 0 {
			t.Errorf("%+v", c)
		}
	})
}

func TestShutdownGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		_, l, stop := start(t, config{Answer: g.answer, MaxStreams: 1, MaxInWork: 4})
		stream, hangUp := dial(t, l)
		defer hangUp()
		send(t, stream, 1)
		synctest.Wait()
		begin := time.Now()
		if err := stop(time.Second); err != nil || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// Nothing can end a message that takes no notice of its context.
func TestShutdownNamesWhatIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		end := make(chan struct{})
		deaf := func(context.Context, *ingestpb.Postback) *ingestpb.Ack { <-end; return &ingestpb.Ack{} }
		_, l, stop := start(t, config{Answer: deaf, MaxStreams: 1, MaxInWork: 4})
		stream, hangUp := dial(t, l)
		defer hangUp()
		send(t, stream, 1)
		synctest.Wait()
		if err := stop(time.Second); !errors.Is(err, answering.ErrStillInWork) {
			t.Error(err)
		}
		close(end)
	})
}
