package stream

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/stream/answering"
	"github.com/postbench/postbench/refserver/stream/delivery"
)

const (
	// DefaultMaxCommits is how many batches are with Commit at a time: as many as
	// a collector takes beside its datagrams.
	DefaultMaxCommits = 4
	// MaxSenders bounds the streams: one for each edge's node.
	MaxSenders = 256

	// maxBatchBytes holds MaxBatchRecords of the longest records, each with its
	// tag and length.
	maxBatchBytes = delivery.MaxBatchRecords*(postback.MaxRecordBytes+3) + 64
	// windowBytes lets a sender fill its window before central reads.
	windowBytes = delivery.DefaultWindow * maxBatchBytes
)

// What a sender is told when its batch is not committed: no paths, no statements.
const (
	refusedForm   = "expected 1 to 512 records in a batch"
	refusedCommit = "not committed, send it again later"
)

// ReceiverConfig is what a Receiver is made of. Commit and Token are required.
type ReceiverConfig struct {
	// Commit returns nil when all records are committed and synced. After an
	// error they come again, so it must recognise what it has, and must count
	// records that are none instead of refusing them for ever. It keeps nothing
	// of them, and returns soon after ctx ends.
	Commit func(ctx context.Context, records [][]byte) error
	Token  string // senders must bring it
	// MaxCommits bounds the calls of Commit at a time; what comes beyond waits.
	// 0 means DefaultMaxCommits.
	MaxCommits int
	Log        *slog.Logger // nil means none
}

// ReceiverCounts is what a Receiver has seen since its start. Messages are
// batches.
type ReceiverCounts struct {
	answering.Counts
	Records   int64 `json:"records"`   // committed, repeats included
	Refused   int64 `json:"refused"`   // batches that Commit did not take
	Malformed int64 `json:"malformed"` // batches that are none
	Forbidden int64 `json:"forbidden"` // streams without the token
}

// Receiver is central's end of the senders' streams. It is safe for concurrent
// use.
type Receiver struct {
	ingestpb.UnimplementedUplinkServer
	config  ReceiverConfig
	answers *answering.Server[ingestpb.Batch, ingestpb.BatchAck]
	commits chan struct{}

	records, refused, malformed, forbidden atomic.Int64
}

// NewReceiver makes a Receiver. The error wraps ErrConfig.
func NewReceiver(config ReceiverConfig) (*Receiver, error) {
	if config.MaxCommits == 0 {
		config.MaxCommits = DefaultMaxCommits
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case config.Commit == nil:
		return nil, fmt.Errorf("%w: no Commit; records need a place", ErrConfig)
	case config.Token == "":
		return nil, fmt.Errorf("%w: no token; a port is open to everybody on the machine", ErrConfig)
	case config.MaxCommits < 0:
		return nil, fmt.Errorf("%w: %d commits at a time; take at least 1, or 0 for the default", ErrConfig, config.MaxCommits)
	}
	r := &Receiver{config: config, commits: make(chan struct{}, config.MaxCommits)}
	r.answers = answering.New(answering.Config[ingestpb.Batch, ingestpb.BatchAck]{
		Answer: r.answer, MaxStreams: MaxSenders, MaxInWork: delivery.DefaultWindow,
		MaxMessageBytes: maxBatchBytes, WindowBytes: windowBytes, Log: config.Log,
	})
	ingestpb.RegisterUplinkServer(r.answers.Registrar(), r)
	return r, nil
}

// Serve takes connections from l until Shutdown, and closes it.
func (r *Receiver) Serve(l net.Listener) error { return r.answers.Serve(l) }

// Shutdown takes no further batches, finishes and acks those in work, and ends
// all streams. When ctx ends before, the context of Commit ends; the error then
// may wrap answering.ErrStillInWork.
func (r *Receiver) Shutdown(ctx context.Context) error { return r.answers.Shutdown(ctx) }

// Counts reads the counters; they are not one instant's.
func (r *Receiver) Counts() ReceiverCounts {
	return ReceiverCounts{
		Counts: r.answers.Counts(), Records: r.records.Load(), Refused: r.refused.Load(),
		Malformed: r.malformed.Load(), Forbidden: r.forbidden.Load(),
	}
}

// Deliver implements the service.
func (r *Receiver) Deliver(stream grpc.BidiStreamingServer[ingestpb.Batch, ingestpb.BatchAck]) error {
	sent, _ := metadata.FromIncomingContext(stream.Context())
	tokens := sent.Get(tokenKey)
	if len(tokens) != 1 || subtle.ConstantTimeCompare([]byte(tokens[0]), []byte(r.config.Token)) != 1 {
		r.forbidden.Add(1)
		return status.Error(codes.Unauthenticated, "forbidden: this stream is for the edges of this central")
	}
	return r.answers.Stream(stream)
}

func (r *Receiver) answer(ctx context.Context, b *ingestpb.Batch) *ingestpb.BatchAck {
	ack := &ingestpb.BatchAck{Id: b.GetId()}
	if n := len(b.GetRecords()); n == 0 || n > delivery.MaxBatchRecords {
		r.malformed.Add(1)
		ack.Refused = refusedForm
		return ack
	}
	if err := r.commit(ctx, b.GetRecords()); err != nil {
		// A store that is down fails every batch; the doubling keeps the log short.
		if n := r.refused.Add(1); n&(n-1) == 0 && !errors.Is(err, context.Canceled) {
			r.config.Log.Error("batches of an uplink were not committed", "batches", n, "error", err)
		}
		ack.Refused = refusedCommit
		return ack
	}
	r.records.Add(int64(len(b.GetRecords())))
	return ack
}

// commit waits for its turn: a sender that fills its window does not keep others
// from theirs for longer than a commit takes.
func (r *Receiver) commit(ctx context.Context, records [][]byte) error {
	select {
	case r.commits <- struct{}{}:
		defer func() { <-r.commits }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.config.Commit(ctx, records)
}
