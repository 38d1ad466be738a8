package grpcin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
	"github.com/postbench/postbench/refserver/edge"
	"github.com/postbench/postbench/refserver/grpcin"
)

// patience ends a test that waits for what never comes.
const patience = 20 * time.Second

// memory is an edge's buffer.
type memory struct {
	mu      sync.Mutex
	records [][]byte
}

func (m *memory) Put(_ context.Context, record []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, slices.Clone(record))
	return nil
}

func (m *memory) take() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.records = nil }()
	return m.records
}

func newEdge(t testing.TB, config edge.Config) *edge.Edge {
	t.Helper()
	config.Front, config.Answer, config.Admin = edge.FrontPlain, edge.AnswerAfterBuffer, http.NotFoundHandler()
	e, err := edge.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// serve starts a front and returns its address; it is stopped at the test's end.
func serve(t testing.TB, config grpcin.Config) (*grpcin.Server, string) {
	t.Helper()
	s, err := grpcin.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

type ingest = grpc.BidiStreamingClient[ingestpb.Postback, ingestpb.Ack]

func open(t testing.TB, addr string, creds credentials.TransportCredentials) ingest {
	t.Helper()
	client, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(func() {
		cancel()
		_ = client.Close()
	})
	stream, err := ingestpb.NewIngestClient(client).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// overHTTP makes requests messages of one stream, for clients that know only
// HTTP.
func overHTTP(t *testing.T, stream ingest) string {
	t.Helper()
	var mu sync.Mutex
	seq := uint64(0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seq++
		body, _ := io.ReadAll(r.Body)
		m := &ingestpb.Postback{Seq: seq, Target: []byte(r.RequestURI), Method: r.Method, Body: body}
		if m.Method == http.MethodGet {
			m.Method = ""
		}
		if err := stream.Send(m); err != nil {
			t.Error(err)
		}
		ack, err := stream.Recv()
		if err != nil || ack.GetSeq() != seq {
			t.Errorf("%v, ack %v for %d", err, ack, seq)
		}
		w.WriteHeader(int(ack.GetStatus()))
		_, _ = w.Write(ack.GetBody())
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// What every front promises, this one does as well.
func TestDialects(t *testing.T) {
	accepttest.Run(t, func(t *testing.T, c accepttest.Config) accepttest.Subject {
		buffer := &memory{}
		e := newEdge(t, edge.Config{Buffer: buffer, Dialects: c.Dialects, SignedOnly: c.SignedOnly, Now: c.Now, AccessLog: c.AccessLog})
		_, addr := serve(t, grpcin.Config{Edge: e})
		return accepttest.Subject{URL: overHTTP(t, open(t, addr, insecure.NewCredentials())), Rows: func() (rows []accepttest.Row) {
			for _, record := range buffer.take() {
				var r postback.Record
				if err := r.Decode(record); err != nil {
					t.Fatal(err)
				}
				rows = append(rows, accepttest.RowOf(&r))
			}
			return rows
		}}
	})
}

// An ack for each message, whatever its order; one record for each.
func TestManyMessagesOnManyStreams(t *testing.T) {
	buffer := &memory{}
	e := newEdge(t, edge.Config{Buffer: buffer})
	s, addr := serve(t, grpcin.Config{Edge: e, MaxInFlightPerStream: 16})
	const streams, messages = 4, 1_000
	var clients sync.WaitGroup
	for i := range streams {
		stream := open(t, addr, insecure.NewCredentials())
		clients.Go(func() {
			for n := range messages {
				target := fmt.Appendf(nil, "/pb?click_id=c%d-%d", i, n)
				if err := stream.Send(&ingestpb.Postback{Seq: uint64(n + 1), Target: target}); err != nil {
					t.Error(err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Error(err)
			}
		})
		clients.Go(func() {
			seen := map[uint64]bool{}
			for ack, err := stream.Recv(); !errors.Is(err, io.EOF); ack, err = stream.Recv() {
				if err != nil || ack.GetStatus() != 200 || seen[ack.GetSeq()] {
					t.Errorf("%v: %v", err, ack)
					return
				}
				seen[ack.GetSeq()] = true
			}
			if len(seen) != messages || seen[0] || seen[messages+1] {
				t.Errorf("%d acked", len(seen))
			}
		})
	}
	clients.Wait()
	records := buffer.take()
	slices.SortFunc(records, slices.Compare)
	if n := len(slices.CompactFunc(records, slices.Equal)); n != streams*messages {
		t.Errorf("%d records", n)
	}
	if c := s.Counts(); c.Messages != streams*messages || c.Unanswered != 0 || c.StreamsOpened != streams {
		t.Errorf("%+v", c)
	}
}

// A message that is too long is the stream's end, one with a long query is not.
func TestTooLong(t *testing.T) {
	e := newEdge(t, edge.Config{Buffer: &memory{}})
	_, addr := serve(t, grpcin.Config{Edge: e})
	stream := open(t, addr, insecure.NewCredentials())
	long := append([]byte("/pb?click_id=c&x="), make([]byte, postback.MaxQueryBytes)...)
	for i := range long {
		if long[i] == 0 {
			long[i] = 'x'
		}
	}
	if err := stream.Send(&ingestpb.Postback{Seq: 7, Target: long}); err != nil {
		t.Fatal(err)
	}
	if ack, err := stream.Recv(); err != nil || ack.GetStatus() != http.StatusRequestURITooLong || ack.GetSeq() != 7 {
		t.Errorf("%v, %v", ack, err)
	}
	if err := stream.Send(&ingestpb.Postback{Seq: 8, Target: make([]byte, grpcin.MaxMessageBytes+1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Error(err)
	}
}

func TestOverTLS(t *testing.T) {
	certified := httptest.NewUnstartedServer(nil)
	certified.EnableHTTP2 = true
	certified.StartTLS()
	defer certified.Close()
	secure := certified.TLS.Clone()
	secure.NextProtos = nil // the front adds its own
	e := newEdge(t, edge.Config{Buffer: &memory{}})
	_, addr := serve(t, grpcin.Config{Edge: e, TLS: secure})
	trusting := certified.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trusting.ServerName = "example.com"
	stream := open(t, addr, credentials.NewTLS(trusting))
	if err := stream.Send(&ingestpb.Postback{Seq: 1, Target: []byte("/pb?click_id=c")}); err != nil {
		t.Fatal(err)
	}
	if ack, err := stream.Recv(); err != nil || ack.GetStatus() != 200 || string(ack.GetBody()) != "OK" {
		t.Errorf("%v, %v", ack, err)
	}
}

func TestConfigRefused(t *testing.T) {
	for name, config := range map[string]grpcin.Config{
		"no edge":    {},
		"no streams": {Edge: &edge.Edge{}, MaxStreams: -1},
		"no places":  {Edge: &edge.Edge{}, MaxInFlightPerStream: -1},
	} {
		if s, err := grpcin.New(config); err == nil || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// nowhere is a buffer that takes everything.
type nowhere struct{}

func (nowhere) Put(context.Context, []byte) error { return nil }

// BenchmarkStream is one stream that is kept full, client included.
func BenchmarkStream(b *testing.B) {
	_, addr := serve(b, grpcin.Config{Edge: newEdge(b, edge.Config{Buffer: nowhere{}})})
	stream := open(b, addr, insecure.NewCredentials())
	target := []byte("/pb?click_id=c+1&txid=t%2F1&offer_id=o&event=sale&payout=12.5&currency=EUR")
	b.ReportAllocs()
	var acked atomic.Int64
	var reading sync.WaitGroup
	reading.Go(func() {
		for _, err := stream.Recv(); err == nil; _, err = stream.Recv() {
			acked.Add(1)
		}
	})
	for seq := uint64(1); b.Loop(); seq++ {
		if err := stream.Send(&ingestpb.Postback{Seq: seq, Target: target}); err != nil {
			b.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		b.Fatal(err)
	}
	reading.Wait()
	if acked.Load() != int64(b.N) {
		b.Fatalf("%d of %d acked", acked.Load(), b.N)
	}
}
