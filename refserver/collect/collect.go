// Package collect is central's process: datagrams from the edges' batchers,
// and records that a replicator posts, on their way into the store. What is
// authentic and new is decoded and committed, together with what the receiver
// has to remember across a restart, in one atomic write; datagrams that want it
// are acked after its sync. FORMAT.md has the bytes that are the collector's own.
package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/postbench/postbench/internal/udpsocket"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

const (
	// MaxRecords is how many records one commit holds at most.
	MaxRecords = pebbledb.MaxBatchRecords
	// MaxEdges bounds the edges: each has a state in every commit.
	MaxEdges = pebbledb.MaxBatchStates
	// maxDatagrams is how many datagrams one commit holds at most: as many as
	// cannot be more than MaxRecords records.
	maxDatagrams = MaxRecords / maxRecordsPerDatagram
	// maxRecordsPerDatagram follows from the shortest record, which has 26
	// bytes, and the length in front of it.
	maxRecordsPerDatagram = datagram.MaxBodyBytes / (26 + 2)
	// commitLanes is how many commits of datagrams are on their way at a time;
	// they share syncs. FORMAT.md names it.
	commitLanes = 4
	// maxQueued is how many batches wait for a lane. Beyond it the reader
	// waits, the socket's buffer fills, and then the kernel drops, counted.
	maxQueued = 4
	// MaxCommits is how many commits are on their way at a time, those of
	// ingests included.
	MaxCommits = commitLanes + maxIngests
)

// ErrConfig wraps what is wrong with a Config.
var ErrConfig = errors.New("collect")

// Store is where the records go. It is safe for concurrent use.
type Store interface {
	// CommitBatch decides on the conversions in order and writes everything,
	// states included, in one atomic commit that is synced when it returns nil.
	// outcomes has the length of batch and receives what became of each. It
	// keeps none of its arguments. A conversion brings no attribution: that is
	// the store's. store.ErrBusy means that nothing was written.
	CommitBatch(batch []store.Conversion, states []pebbledb.KV, outcomes []store.Outcome) error
	// Value is what was last committed for a state's key, nil if nothing was.
	Value(key string) ([]byte, error)
}

// Config is what a Collector is made of. All fields but Salt,
// ReceiveBufferBytes, Costs and Log are required.
type Config struct {
	UDPAddr string // where to listen, an IPv4 host:port; port 0 takes a free one
	Edges   []datagram.Edge
	Store   Store
	// Salt is random and new for each Collector: acks are sealed with it. The
	// zero value has New draw one.
	Salt [16]byte
	// ReceiveBufferBytes is asked of the kernel; 0 means
	// udpsocket.DefaultReceiveBufferBytes. Counts tells what was granted.
	ReceiveBufferBytes int
	// Costs makes every commit enter cost.StageCentral first, in whose queue
	// MaxCommits must find room; nil means that none does.
	Costs accept.Costs
	Now   func() time.Time
	Log   *slog.Logger // nil means nowhere
}

// Collector takes datagrams and ingests. Its methods are safe for concurrent
// use; Run may be called once.
type Collector struct {
	config             Config
	conn               *net.UDPConn
	packets            *ipv4.PacketConn
	receiveBufferBytes int

	mu       sync.Mutex // guards receiver
	receiver *datagram.Receiver

	acks    *acks
	counts  counters
	drops   *udpsocket.DropCounter
	ingests chan struct{}
}

// New reads what the store remembers of the edges, takes a boot id there and
// binds the socket, in which datagrams wait until Run. A bad Config gives an error that wraps
// ErrConfig, or one of datagram.NewReceiver.
func New(ctx context.Context, config Config) (*Collector, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Salt == [16]byte{} {
		config.Salt = newSalt()
	}
	ids := edgeIDs(config.Edges)
	if len(ids) == 0 || len(ids) > MaxEdges {
		return nil, fmt.Errorf("%w: %d edges, expected 1 to %d", ErrConfig, len(ids), MaxEdges)
	}
	persisted, err := readStates(config.Store, ids)
	if err != nil {
		return nil, fmt.Errorf("start collector: %w", err)
	}
	receiver, err := datagram.NewReceiver(config.Edges, persisted)
	if err != nil {
		return nil, fmt.Errorf("start collector: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start collector: %w", err)
	}
	conn, granted, err := udpsocket.Listen(config.UDPAddr, config.ReceiveBufferBytes)
	if err != nil {
		return nil, fmt.Errorf("start collector: %w", err)
	}
	c := &Collector{
		config: config, conn: conn, packets: ipv4.NewPacketConn(conn), receiveBufferBytes: granted,
		receiver: receiver, drops: udpsocket.CountDrops(conn), ingests: make(chan struct{}, maxIngests),
	}
	if c.acks, err = newAcks(&config, conn, granted, &c.counts); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start collector: %w", err)
	}
	return c, nil
}

// UDPAddr is where datagrams are taken, as host:port.
func (c *Collector) UDPAddr() string { return c.conn.LocalAddr().String() }

// Close frees the socket of a Collector that was never run; Run does it itself.
func (c *Collector) Close() error { return c.conn.Close() }
