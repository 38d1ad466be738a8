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
	"net"
	"sync"
	"time"

	"github.com/postbench/postbench/refserver/lanes/consumer"
	"github.com/postbench/postbench/refserver/stream/delivery"
)

// ConnectLimit bounds an attempt to reach central, TCP and HTTP/2.
const ConnectLimit = 5 * time.Second

var (
	// ErrConfig says that a required field of a config is missing or out of range.
	ErrConfig = errors.New("stream: bad config")
	// ErrNotDrained says that lanes still held records when the Sender stopped.
	ErrNotDrained = errors.New("stream: stopped before central had acked everything; the rest is sent after the next start")
)

// SenderConfig is what a Sender is made of.
type SenderConfig struct {
	consumer.Config
	Central string // host:port, as Dial takes it
	Token   string // tells central whom it listens to
	// Dial connects to central, at the latest until ctx ends; nil means TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// Counts is what a Sender has done since its start, and what lies before it.
type Counts struct {
	delivery.Counts
	consumer.LaneCounts
}

// Sender is one life of the process. Counts may be called beside Run.
type Sender struct {
	config SenderConfig
	start  time.Time
	events chan happening
	link   *link // the current one, or the last; nil before the first

	mu     sync.Mutex // one step, or a look at the counts
	lanes  *consumer.Consumer
	core   *delivery.Core[consumer.Slot]
	cannot consumer.Trouble // central does not take what is sent
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
	if err := config.complete(); err != nil {
		return nil, err
	}
	from, err := consumer.Open(config.Config)
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return newSender(config, from), nil
}

// complete fills in what was left out, and says what must not be.
func (c *SenderConfig) complete() (err error) {
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	c.Config, err = c.Config.WithDefaults()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrConfig, err)
	case c.Central == "":
		return fmt.Errorf("%w: no central; give its host:port", ErrConfig)
	case c.Token == "":
		return fmt.Errorf("%w: no token; give central's", ErrConfig)
	}
	return nil
}

func newSender(config SenderConfig, from *consumer.Consumer) *Sender {
	return &Sender{
		config: config, lanes: from, start: time.Now(), events: make(chan happening, 2*delivery.DefaultWindow),
		core: delivery.New[consumer.Slot](delivery.Options{
			BatchRecords: delivery.MaxBatchRecords, Window: delivery.DefaultWindow, AckLimitNs: delivery.DefaultAckLimitNs,
		}),
		cannot: consumer.Trouble{What: "central does not take records"},
	}
}

// Run sends until ctx ends, then until central has acked all that the lanes
// hold, at most for consumer.DrainLimit, and lets go of everything. It may be
// called once; its error is ErrNotDrained or one of closing.
func (s *Sender) Run(ctx context.Context) error {
	var err error
	loop := consumer.Loop[happening]{Every: s.config.Every, Tick: s.tick, Events: s.events, Take: s.take}
	if left := loop.Run(ctx); left > 0 {
		err = fmt.Errorf("%d records: %w", left, ErrNotDrained)
	}
	if s.link != nil {
		s.link.end()
		<-s.link.gone // it may still be reading from the lanes
	}
	return errors.Join(err, s.Close())
}

// tick sends what the lanes hold, and returns how many slots are not free.
func (s *Sender) tick() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes.Visit(s.core.Room(), func(record []byte, at consumer.Slot) error {
		s.core.Add(record, at)
		return nil
	})
	return s.step(delivery.Tick{})
}

// take takes what happened to a connection.
func (s *Sender) take(h happening) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, connected := h.event.(delivery.Connected); !connected { // central has not taken anything yet
		s.cannot.Note(s.config.Log, h.cause)
	}
	return s.step(h.event)
}

// step needs the lock. It carries out what the core wants, none of which waits.
func (s *Sender) step(event delivery.Event) int64 {
	actions := s.core.Step(time.Since(s.start).Nanoseconds(), event)
	s.lanes.Free(actions.Free)
	if actions.Disconnect {
		s.link.end()
		s.cannot.Note(s.config.Log, errAnswers)
	}
	if actions.Connect != 0 {
		s.link = s.connect(actions.Connect, s.link)
	}
	for _, batch := range actions.Send {
		s.link.send(batch)
	}
	return s.lanes.Left()
}

// Counts is what has happened so far.
func (s *Sender) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Counts{s.core.Counts(), s.lanes.Counts()}
}

// Close lets go of the lanes without sending anything: for a Sender that does
// not Run. Closing again does nothing.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes.Close()
}
