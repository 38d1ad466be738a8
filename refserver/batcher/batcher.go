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
	"github.com/postbench/postbench/refserver/lanes"
)

const (
	// DefaultEvery is how often the lanes are visited, as the post has it.
	DefaultEvery = 10 * time.Millisecond
	// DrainLimit is how long a batcher that was told to stop goes on sending
	// what the lanes hold. What is left then is sent after the next start.
	DrainLimit = 4 * time.Second
)

var (
	// ErrConfig says that a required field of Config is missing or out of range.
	ErrConfig = errors.New("batcher: bad config")
	// ErrNotDrained says that lanes still held records when the batcher stopped.
	ErrNotDrained = errors.New("batcher: stopped before the lanes were empty; they are sent after the next start")
)

// Config is what a Batcher is made of.
type Config struct {
	LaneDir   string        // "" means Lanes.Dir
	Lanes     lanes.Options // only the directory counts
	Collector string        // UDP host:port
	Edge      datagram.Edge
	BootFile  string   // in a directory that exists and outlives the machine
	Salt      [16]byte // random, new for each Batcher
	// Acked keeps every record in its lane until the collector has committed and
	// acked it, and sends it again until then; else it is fire and forget.
	Acked bool
	// MaxDatagramsPerTick bounds a burst; 0 means batch.DefaultMaxDatagramsPerTick.
	MaxDatagramsPerTick int
	Every               time.Duration    // 0 means DefaultEvery
	Now                 func() time.Time // nil means time.Now; only for the boot id
	Log                 *slog.Logger     // nil means none
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
	// Corrupt are committed records that cannot be sent, damaged ones above
	// all: each is loss. Torn are slots whose producer died before it had
	// promised anything.
	Corrupt         int64 `json:"corrupt"`
	Torn            int64 `json:"torn"`
	Backlog         int64 `json:"backlog"` // slots that are not free
	Lanes           int   `json:"lanes"`
	UnreadableLanes int   `json:"unreadable_lanes"`
	AckCounts
}

// laneDir is lanes.Dir, or a test's. Visit hands out each record once, at most
// max of them; a record stays where it is until Free. Only Backlog may be
// called beside the others.
type laneDir interface {
	Visit(max int, visit func(lanes.Entry)) lanes.Stats
	Free(lane int, pos uint64)
	Backlog() int64
	Close() error
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

// slot is where a record lies.
type slot struct {
	lane int
	pos  uint64
}

// Batcher is one life of the process. Counts may be called beside Run.
type Batcher struct {
	log   *slog.Logger
	every time.Duration
	boot  uint64

	mu          sync.Mutex // one tick, one ack, or a look at the counts
	lanes       laneDir
	socket      socket
	packer      *batch.Batcher[slot] // nil if the uplink is acked
	sender      *acked.Sender[slot]  // nil if it is not
	started     time.Time            // of the sender's clock
	closed      bool
	stats       lanes.Stats // of the last visit
	backlog     int64       // at the end of the last tick
	sendErrors  int64
	portClosed  int64
	unsendable  int64
	ackErrors   int64
	datagrams   [][]byte // scratch of forget
	laneTrouble trouble
	sendTrouble trouble
	ackTrouble  trouble
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
	dir, err := lanes.OpenDir(config.Lanes)
	if err != nil {
		return nil, fmt.Errorf("batcher: %w", err)
	}
	udp, err := dial(config.Collector)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	b, err := assemble(config, dir, udp)
	if err != nil {
		return nil, errors.Join(err, dir.Close(), udp.Close())
	}
	return b, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.LaneDir != "" {
		c.Lanes.Dir = c.LaneDir
	}
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Lanes.Dir == "":
		return c, fmt.Errorf("%w: no lane directory; name one", ErrConfig)
	case c.Collector == "":
		return c, fmt.Errorf("%w: no collector; give its host:port", ErrConfig)
	case c.BootFile == "":
		return c, fmt.Errorf("%w: no boot file; name one", ErrConfig)
	case c.Every < 0:
		return c, fmt.Errorf("%w: a tick every %v; take a positive time", ErrConfig, c.Every)
	}
	return c, nil
}

// assemble takes the boot id last: only who holds the lanes may.
func assemble(config Config, dir laneDir, udp socket) (*Batcher, error) {
	boot, err := takeBoot(config.BootFile, config.Now().UnixNano())
	if err != nil {
		return nil, err
	}
	b := &Batcher{
		log: config.Log, every: config.Every, boot: boot, lanes: dir, socket: udp, started: time.Now(),
		laneTrouble: trouble{what: "lanes cannot be read"},
		sendTrouble: trouble{what: "the kernel takes no datagrams"},
		ackTrouble:  trouble{what: "acks cannot be received"},
	}
	life := datagram.Boot{ID: boot, Salt: config.Salt}
	if config.Acked {
		b.sender, err = acked.New[slot](config.Edge, life, acked.Options{MaxDatagramsPerTick: config.MaxDatagramsPerTick})
	} else {
		b.packer, err = newPacker(config, life)
	}
	if err != nil {
		return nil, fmt.Errorf("batcher: %w", err)
	}
	return b, nil
}

func newPacker(config Config, life datagram.Boot) (*batch.Batcher[slot], error) {
	sealer, err := datagram.NewSealer(config.Edge, life)
	if err != nil {
		return nil, err
	}
	return batch.New[slot](sealer, batch.Options{MaxDatagramsPerTick: config.MaxDatagramsPerTick})
}

// Run sends until ctx ends, then until the lanes are empty (with Acked: until
// all is acked), at most for DrainLimit, and lets go of everything. It may be called once; its error is
// ErrNotDrained or one of closing.
func (b *Batcher) Run(ctx context.Context) error {
	ticker := time.NewTicker(b.every)
	defer ticker.Stop()
	var acks sync.WaitGroup
	if b.sender != nil {
		acks.Go(b.readAcks)
	}
	for ctx.Err() == nil {
		b.tick()
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	err := errors.Join(b.drain(ticker.C), b.Close())
	acks.Wait()
	return err
}

// drain keeps the pace: a burst of all that is left would overrun the collector.
func (b *Batcher) drain(ticks <-chan time.Time) error {
	left := b.tick()
	for n := DrainLimit / b.every; left > 0 && n > 0; n-- {
		<-ticks
		left = b.tick()
	}
	if left > 0 {
		return fmt.Errorf("%d records: %w", left, ErrNotDrained)
	}
	return nil
}

// tick sends what there is, and returns how many slots are not free after it.
func (b *Batcher) tick() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	lost := b.stats.Corrupt + b.unsendable
	b.stats = b.lanes.Visit(b.room(), b.add)
	if now := b.stats.Corrupt + b.unsendable; now > lost {
		b.log.Error("committed records are damaged and lost", "records", now-lost, "since_start", now)
	}
	b.laneTrouble.note(b.log, b.stats.Err)
	if b.sender != nil {
		b.act(b.sender.Step(b.nowNs(), acked.Event{Kind: acked.Tick}))
	} else {
		b.forget()
	}
	b.backlog = b.lanes.Backlog()
	return b.backlog
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
		for _, s := range d.Tokens {
			b.lanes.Free(s.lane, s.pos)
		}
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
	b.sendTrouble.note(b.log, err)
	return taken
}

// room is how many records may be added.
func (b *Batcher) room() int {
	if b.sender != nil {
		return b.sender.Room()
	}
	return b.packer.Room()
}

func (b *Batcher) put(record []byte, at slot) error {
	if b.sender != nil {
		return b.sender.Add(record, at)
	}
	return b.packer.Add(record, at)
}

// add takes a record that a visit hands out.
func (b *Batcher) add(e lanes.Entry) {
	if err := b.put(e.Record, slot{e.Lane, e.Pos}); err != nil {
		if errors.Is(err, batch.ErrFull) {
			panic("BUG: batcher: a visit handed out more than there was room for")
		}
		// No edge writes such a record. It can never be sent, so it must not
		// hold its lane either.
		b.unsendable++
		b.log.Error("a record cannot be sent", "lane", e.Lane, "position", e.Pos, "error", err)
		b.lanes.Free(e.Lane, e.Pos)
	}
}

// Counts is what has happened so far.
func (b *Batcher) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.backlog = b.lanes.Backlog()
	}
	c := Counts{
		Boot: b.boot, SendErrors: b.sendErrors, PortClosed: b.portClosed, Corrupt: b.stats.Corrupt + b.unsendable,
		Torn: b.stats.Torn, Backlog: b.backlog, Lanes: b.stats.Lanes, UnreadableLanes: b.stats.Unreadable,
	}
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

// trouble logs a state that can last for many ticks: when it begins and ends.
type trouble struct {
	what    string
	present bool
}

func (t *trouble) note(log *slog.Logger, err error) {
	switch {
	case err != nil && !t.present:
		log.Warn(t.what, "error", err)
	case err == nil && t.present:
		log.Info("over: " + t.what)
	}
	t.present = err != nil
}
