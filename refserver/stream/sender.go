// Package stream is the uplink `grpc`: a process between an edge's lanes and
// central, like package batcher, but over one bidirectional gRPC stream on which
// central acks every batch after its synced commit (postbench.v1.Uplink). Until
// then its records stay in their lanes. What is sent when, again above all, is
// the business of the pure core in package delivery; here are the lanes, the
// connection and the clock. Central's end is the Receiver.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/stream/delivery"
)

const (
	// DefaultEvery is how often the lanes are visited, as a batcher does.
	DefaultEvery = 10 * time.Millisecond
	// DrainLimit is how long a Sender that was told to stop goes on until all is
	// acked. What is left then is sent after the next start.
	DrainLimit = 4 * time.Second
	// ConnectLimit bounds an attempt to reach central, TCP and HTTP/2.
	ConnectLimit = 5 * time.Second
)

var (
	// ErrConfig says that a required field of a config is missing or out of range.
	ErrConfig = errors.New("stream: bad config")
	// ErrNotDrained says that lanes still held records when the Sender stopped.
	ErrNotDrained = errors.New("stream: stopped before central had acked everything; the rest is sent after the next start")
)

// SenderConfig is what a Sender is made of.
type SenderConfig struct {
	LaneDir string        // "" means Lanes.Dir
	Lanes   lanes.Options // only the directory counts
	Central string        // host:port, as Dial takes it
	Token   string        // tells central whom it listens to
	// Dial connects to central, at the latest until ctx ends; nil means TCP.
	Dial  func(ctx context.Context, addr string) (net.Conn, error)
	Every time.Duration // 0 means DefaultEvery
	Log   *slog.Logger  // nil means none
}

// Counts is what a Sender has done since its start, and what lies before it.
type Counts struct {
	delivery.Counts
	// Corrupt are committed records that were damaged: each is loss. Torn are
	// slots whose producer died before it had promised anything.
	Corrupt         int64 `json:"corrupt"`
	Torn            int64 `json:"torn"`
	Backlog         int64 `json:"backlog"` // slots that are not free
	Lanes           int   `json:"lanes"`
	UnreadableLanes int   `json:"unreadable_lanes"`
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

// slot is where a record lies.
type slot struct {
	lane int
	pos  uint64
}

// Sender is one life of the process. Counts may be called beside Run.
type Sender struct {
	config SenderConfig
	start  time.Time
	events chan happening
	link   *link // the current one, or the last; nil before the first

	mu       sync.Mutex // one step, or a look at the counts
	lanes    laneDir
	core     *delivery.Core[slot]
	closed   bool
	stats    lanes.Stats // of the last visit
	backlog  int64       // at the end of the last tick
	troubled trouble     // lanes
	cannot   trouble     // central does not take what is sent
}

// happening is an event with its cause, for the log.
type happening struct {
	event delivery.Event
	cause error // why there is no connection, or no commit
}

// NewSender takes the lanes for this process. It holds them until Run or Close
// returns, and does not connect before Run. The error wraps ErrConfig, one of
// package lanes or the operating system's.
func NewSender(config SenderConfig) (*Sender, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := lanes.OpenDir(config.Lanes)
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return newSender(config, dir), nil
}

func (c SenderConfig) withDefaults() (SenderConfig, error) {
	if c.LaneDir != "" {
		c.Lanes.Dir = c.LaneDir
	}
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Lanes.Dir == "":
		return c, fmt.Errorf("%w: no lane directory; name one", ErrConfig)
	case c.Central == "":
		return c, fmt.Errorf("%w: no central; give its host:port", ErrConfig)
	case c.Token == "":
		return c, fmt.Errorf("%w: no token; give central's", ErrConfig)
	case c.Every < 0:
		return c, fmt.Errorf("%w: a tick every %v; take a positive time", ErrConfig, c.Every)
	}
	return c, nil
}

func newSender(config SenderConfig, dir laneDir) *Sender {
	return &Sender{
		config: config, lanes: dir, start: time.Now(), events: make(chan happening, 2*delivery.DefaultWindow),
		core: delivery.New[slot](delivery.Options{
			BatchRecords: delivery.MaxBatchRecords, Window: delivery.DefaultWindow, AckLimitNs: delivery.DefaultAckLimitNs,
		}),
		troubled: trouble{what: "lanes cannot be read"},
		cannot:   trouble{what: "central does not take records"},
	}
}

// Run sends until ctx ends, then until central has acked all that the lanes
// hold, at most for DrainLimit, and lets go of everything. It may be called
// once; its error is ErrNotDrained or one of closing.
func (s *Sender) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.config.Every)
	defer ticker.Stop()
	s.tick()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			s.tick()
		case h := <-s.events:
			s.take(h)
		case <-ctx.Done():
		}
	}
	err := s.drain(ticker.C)
	if s.link != nil {
		s.link.end()
		<-s.link.gone // it may still be reading from the lanes
	}
	return errors.Join(err, s.Close())
}

func (s *Sender) drain(ticks <-chan time.Time) error {
	limit := time.NewTimer(DrainLimit)
	defer limit.Stop()
	for left := s.tick(); left > 0; {
		select {
		case <-ticks:
			left = s.tick()
		case h := <-s.events:
			left = s.take(h)
		case <-limit.C:
			return fmt.Errorf("%d records: %w", left, ErrNotDrained)
		}
	}
	return nil
}

// tick sends what the lanes hold, and returns how many slots are not free.
func (s *Sender) tick() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.stats.Corrupt
	s.stats = s.lanes.Visit(s.core.Room(), func(e lanes.Entry) { s.core.Add(e.Record, slot{e.Lane, e.Pos}) })
	if now := s.stats.Corrupt; now > lost {
		s.config.Log.Error("committed records are damaged and lost", "records", now-lost, "since_start", now)
	}
	s.troubled.note(s.config.Log, s.stats.Err)
	return s.step(delivery.Tick{})
}

// take takes what happened to a connection.
func (s *Sender) take(h happening) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, connected := h.event.(delivery.Connected); !connected { // central has not taken anything yet
		s.cannot.note(s.config.Log, h.cause)
	}
	return s.step(h.event)
}

// step needs the lock. It carries out what the core wants, none of which waits.
func (s *Sender) step(event delivery.Event) int64 {
	actions := s.core.Step(time.Since(s.start).Nanoseconds(), event)
	for _, free := range actions.Free {
		s.lanes.Free(free.lane, free.pos)
	}
	if actions.Disconnect {
		s.link.end()
		s.cannot.note(s.config.Log, errAnswers)
	}
	if actions.Connect != 0 {
		s.link = s.connect(actions.Connect, s.link)
	}
	for _, batch := range actions.Send {
		s.link.send(batch)
	}
	s.backlog = s.lanes.Backlog()
	return s.backlog
}

// Counts is what has happened so far.
func (s *Sender) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.backlog = s.lanes.Backlog()
	}
	return Counts{
		Counts: s.core.Counts(), Corrupt: s.stats.Corrupt, Torn: s.stats.Torn, Backlog: s.backlog,
		Lanes: s.stats.Lanes, UnreadableLanes: s.stats.Unreadable,
	}
}

// Close lets go of the lanes without sending anything: for a Sender that does
// not Run. Closing again does nothing.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.lanes.Close()
}

// trouble logs a state that can last: when it begins and ends.
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
