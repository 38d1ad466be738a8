// Package batcher is the process between an edge's lanes and the network: every
// 10 ms it packs what the lanes hold into datagrams and sends them to the
// collector, either fire and forget or until the collector has acked them.
// Packing, sealing and sending again are the pure cores in packages batch, acked
// and datagram; here are the lanes, the socket, the clock and the boot file
// (FORMAT.md).
package batcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postbench/postbench/refserver/acked"
	"github.com/postbench/postbench/refserver/batch"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/lanes/consumer"
)

var (
	// ErrConfig says that a required field of Config is missing or out of range.
	ErrConfig = errors.New("batcher: bad config")
	// ErrNotDrained says that lanes still held records when the batcher stopped.
	ErrNotDrained = errors.New("batcher: stopped before the lanes were empty; they are sent after the next start")
)

// Config is what a Batcher is made of.
type Config struct {
	consumer.Config
	Collector string // UDP host:port
	Edge      datagram.Edge
	BootFile  string   // in a directory that exists and outlives the machine
	Salt      [16]byte // random, new for each Batcher
	// Acked keeps every record in its lane until the collector has committed and
	// acked it, and sends it again until then; else it is fire and forget.
	Acked bool
	// MaxDatagramsPerTick bounds a burst; 0 means batch.DefaultMaxDatagramsPerTick.
	MaxDatagramsPerTick int
	Now                 func() time.Time // nil means time.Now; only for the boot id
}

// Counts is what a batcher has done since its start, and what lies before it.
type Counts struct {
	Boot          uint64 `json:"boot"`
	RecordsSent   int64  `json:"records_sent"`   // each counted once
	DatagramsSent int64  `json:"datagrams_sent"` // all, with what was sent again
	BytesSent     int64  `json:"bytes_sent"`     // of those, without UDP and IP headers
	// SendErrors are ticks that ended early because the kernel took no more:
	// the records stayed in their slots for the next tick.
	SendErrors int64 `json:"send_errors"`
	// PortClosed counts what the kernel was told of earlier datagrams: nobody
	// listened where they came to. They are lost, and counted as sent.
	PortClosed int64 `json:"port_closed"`
	consumer.LaneCounts
	AckCounts
}

// socket is a UDP socket that is connected to the collector.
type socket interface {
	// send hands datagrams to the kernel, in order and without ever waiting for
	// it. taken is how many the kernel took before err; err is nil if it took all.
	send(datagrams [][]byte) (taken, portClosed int, err error)
	// receive waits for a datagram. errPortClosed tells of an earlier one that
	// was sent; after Close the error is net.ErrClosed. One goroutine may call
	// it beside send.
	receive(buffer []byte) (n int, err error)
	Close() error
}

// Batcher is one life of the process. Counts may be called beside Run.
type Batcher struct {
	log   *slog.Logger
	every time.Duration
	boot  uint64

	mu          sync.Mutex // one tick, one ack, or a look at the counts
	lanes       *consumer.Consumer
	socket      socket
	packer      *batch.Batcher[consumer.Slot] // nil if the uplink is acked
	sender      *acked.Sender[consumer.Slot]  // nil if it is not
	started     time.Time                     // of the sender's clock
	closed      bool
	sendErrors  int64
	portClosed  int64
	ackErrors   int64
	datagrams   [][]byte // scratch of forget
	sendTrouble consumer.Trouble
	ackTrouble  consumer.Trouble
}

// New takes the lanes for this process, opens the socket and takes a boot id.
// The batcher holds them until Run or Close returns. The error wraps ErrConfig,
// ErrBootFile, ErrNoBootLeft, one of packages lanes, datagram and batch, or the
// operating system's.
func New(config Config) (*Batcher, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	from, err := consumer.Open(config.Config)
	if err != nil {
		return nil, fmt.Errorf("batcher: %w", err)
	}
	udp, err := dial(config.Collector)
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	b, err := assemble(config, from, udp)
	if err != nil {
		return nil, errors.Join(err, from.Close(), udp.Close())
	}
	return b, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	var err error
	c.Config, err = c.Config.WithDefaults()
	switch {
	case err != nil:
		return c, fmt.Errorf("%w: %w", ErrConfig, err)
	case c.Collector == "":
		return c, fmt.Errorf("%w: no collector; give its host:port", ErrConfig)
	case c.BootFile == "":
		return c, fmt.Errorf("%w: no boot file; name one", ErrConfig)
	}
	return c, nil
}

// assemble takes the boot id last: only who holds the lanes may.
func assemble(config Config, from *consumer.Consumer, udp socket) (*Batcher, error) {
	boot, err := takeBoot(config.BootFile, config.Now().UnixNano())
	if err != nil {
		return nil, err
	}
	b := &Batcher{
		log: config.Log, every: config.Every, boot: boot, lanes: from, socket: udp, started: time.Now(),
		sendTrouble: consumer.Trouble{What: "the kernel takes no datagrams"},
		ackTrouble:  consumer.Trouble{What: "acks cannot be received"},
	}
	life := datagram.Boot{ID: boot, Salt: config.Salt}
	if config.Acked {
		b.sender, err = acked.New[consumer.Slot](config.Edge, life, acked.Options{MaxDatagramsPerTick: config.MaxDatagramsPerTick})
	} else {
		b.packer, err = newPacker(config, life)
	}
	if err != nil {
		return nil, fmt.Errorf("batcher: %w", err)
	}
	return b, nil
}

func newPacker(config Config, life datagram.Boot) (*batch.Batcher[consumer.Slot], error) {
	sealer, err := datagram.NewSealer(config.Edge, life)
	if err != nil {
		return nil, err
	}
	return batch.New[consumer.Slot](sealer, batch.Options{MaxDatagramsPerTick: config.MaxDatagramsPerTick})
}

// Run sends until ctx ends, then until the lanes are empty (with Acked: until
// all is acked), at most for consumer.DrainLimit, and lets go of everything. It
// may be called once; its error is ErrNotDrained or one of closing.
func (b *Batcher) Run(ctx context.Context) error {
	var acks sync.WaitGroup
	if b.sender != nil {
		acks.Go(b.readAcks)
	}
	var err error
	if left := (consumer.Loop[struct{}]{Every: b.every, Tick: b.tick}).Run(ctx); left > 0 {
		err = fmt.Errorf("%d records: %w", left, ErrNotDrained)
	}
	err = errors.Join(err, b.Close())
	acks.Wait()
	return err
}

// tick sends what there is, and returns how many slots are not free after it.
func (b *Batcher) tick() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lanes.Visit(b.room(), b.add)
	if b.sender != nil {
		b.act(b.sender.Step(b.nowNs(), acked.Event{Kind: acked.Tick}))
	} else {
		b.forget()
	}
	return b.lanes.Left()
}

// forget sends what is packed and frees its slots: nobody will ask for it again.
func (b *Batcher) forget() {
	b.datagrams = b.datagrams[:0]
	packed := b.packer.Tick()
	for _, d := range packed {
		b.datagrams = append(b.datagrams, d.Bytes)
	}
	taken := b.send(b.datagrams)
	// Only now: a slot that is free may be overwritten at once.
	for _, d := range packed[:taken] {
		b.lanes.Free(d.Tokens)
	}
	b.packer.Sent(taken)
}

// send returns how many datagrams the kernel took.
func (b *Batcher) send(datagrams [][]byte) (taken int) {
	taken, portClosed, err := b.socket.send(datagrams)
	b.portClosed += int64(portClosed)
	if err != nil {
		b.sendErrors++
	}
	b.sendTrouble.Note(b.log, err)
	return taken
}

// room is how many records may be added.
func (b *Batcher) room() int {
	if b.sender != nil {
		return b.sender.Room()
	}
	return b.packer.Room()
}

// add takes a record that a visit hands out. What it refuses, no edge writes.
func (b *Batcher) add(record []byte, at consumer.Slot) (err error) {
	if b.sender != nil {
		err = b.sender.Add(record, at)
	} else {
		err = b.packer.Add(record, at)
	}
	if errors.Is(err, batch.ErrFull) {
		panic("BUG: batcher: a visit handed out more than there was room for")
	}
	return err
}

// Counts is what has happened so far.
func (b *Batcher) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := Counts{Boot: b.boot, SendErrors: b.sendErrors, PortClosed: b.portClosed, LaneCounts: b.lanes.Counts()}
	if b.sender != nil {
		b.countAcked(&c)
		return c
	}
	sent := b.packer.Counts()
	c.RecordsSent, c.DatagramsSent, c.BytesSent = sent.Records, sent.Datagrams, sent.Bytes
	return c
}

// Close lets go of lanes and socket without sending anything: for a Batcher
// that does not Run. Closing again does nothing.
func (b *Batcher) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	return errors.Join(b.socket.Close(), b.lanes.Close())
}
