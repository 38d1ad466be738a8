package redisbuf

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/replicate"
)

// Options says where an edge buffers and under which names.
type Options struct {
	Socket string // the address of the edge's Redis
	Edge   uint16
	// Boot names this edge process; (Edge, Boot) must never have been used
	// before on this Redis.
	Boot uint64
	// TTL is how long Redis keeps an arrival; 0 means until it is confirmed
	// (redis-confirmed). Else it is at least a millisecond.
	TTL time.Duration
}

// ErrRecord says that something is not a record to be buffered.
var ErrRecord = errors.New("a record has 1 to 480 bytes")

// Buffer is an edge's buffer. It is safe for concurrent use.
type Buffer struct {
	client  *redis.Client
	next    atomic.Uint64 // the last counter given
	edge    uint16
	boot    uint64
	ttlMs   int64
	address string
}

// Dial prepares a Buffer. It does not connect: an edge may start before its
// Redis, and outlive it.
func Dial(o Options) (*Buffer, error) {
	options, err := clientOptions(o.Socket, putConns)
	if err != nil {
		return nil, err
	}
	return newBuffer(o, options)
}

func newBuffer(o Options, options *redis.Options) (*Buffer, error) {
	if o.TTL != 0 && o.TTL < time.Millisecond {
		return nil, fmt.Errorf("redis buffer: time to live %v, expected 0 or at least 1ms", o.TTL)
	}
	return &Buffer{
		client: redis.NewClient(options), edge: o.Edge, boot: o.Boot, ttlMs: o.TTL.Milliseconds(), address: o.Socket,
	}, nil
}

// Put writes the record under a key of its own, and that key into the index,
// in one transaction. When it returns nil, Redis has answered. accept.ErrFull
// means that Redis is at its memory limit or has more in work than it can
// answer (a put that crosses the limit may be refused with an EXECABORT); after any other error, a lost answer for example, the record may be
// in the buffer or not. Nothing is sent twice.
func (b *Buffer) Put(ctx context.Context, record []byte) error {
	if len(record) == 0 || len(record) > postback.MaxRecordBytes {
		return fmt.Errorf("put %d bytes: %w", len(record), ErrRecord)
	}
	key := replicate.Key{Edge: b.edge, Boot: b.boot, Counter: b.next.Add(1)}.String()
	set := []any{"SET", key, record}
	if b.ttlMs > 0 {
		set = append(set, "PX", b.ttlMs)
	}
	err := transact(ctx, b.client, [][]any{set, {"XADD", replicate.Index, "*", replicate.KeyField, key}})
	switch {
	case err == nil:
		return nil
	case redis.IsOOMError(err):
		return fmt.Errorf("put into the Redis at %s: its memory limit is reached: %w", b.address, accept.ErrFull)
	case errors.Is(err, redis.ErrPoolTimeout):
		return fmt.Errorf("put into the Redis at %s: %d puts wait for its answers: %w", b.address, putConns, accept.ErrFull)
	}
	return fmt.Errorf("put into the Redis at %s: %w", b.address, err)
}

// Close ends the connections; a Put after it fails.
func (b *Buffer) Close() error { return b.client.Close() }
