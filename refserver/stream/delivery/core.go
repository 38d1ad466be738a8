// Package delivery hands an edge's records to central in batches, over a stream
// on which central answers each batch by itself: the sender as a state machine,
// without clock, goroutines and I/O. Package stream is the shell around it.
//
// What it promises: a record's token is given back for one reason only, that
// central has answered that its batch is committed. What a broken connection
// leaves without an answer travels again over the next one, so central may see
// a record twice and must recognise it.
package delivery

import (
	"fmt"
	"slices"
)

const (
	// MaxBatchRecords is how many records a batch has at most: at 480 bytes each
	// it stays under 256 KiB.
	MaxBatchRecords = 512
	// DefaultWindow is how many batches may be without an answer: 8,192 records,
	// 40,000 a second where an answer takes 200 ms.
	DefaultWindow = 16
	// DefaultAckLimitNs is how long central may take for an answer before the
	// connection counts as dead.
	DefaultAckLimitNs = 10_000_000_000

	// BackoffMinNs and BackoffMaxNs bound the pause after failures in a row: it
	// doubles from one to the other.
	BackoffMinNs = 50_000_000
	BackoffMaxNs = 1_000_000_000
)

// Options bound what a Core has in hand; all are at least 1.
type Options struct {
	BatchRecords int // in a batch, at most MaxBatchRecords
	Window       int // batches taken and not committed
	AckLimitNs   int64
}

// Counts is what a Core did since it started. Records and Acked count records,
// the others what they name.
type Counts struct {
	Records       int64 `json:"records"`        // sent for the first time
	Batches       int64 `json:"batches"`        // sent, those sent again included
	Resent        int64 `json:"resent"`         // of the batches, those sent again
	ResentRecords int64 `json:"resent_records"` // records in those
	Acked         int64 `json:"acked"`          // records that central has committed
	Refused       int64 `json:"refused"`        // batches that central could not commit at that time
	Connects      int64 `json:"connects"`       // connections that came about
	Reconnects    int64 `json:"reconnects"`     // of them, those after the first
	Failures      int64 `json:"failures"`       // connections that broke, or did not come about
	AckTimeout    int64 `json:"ack_timeout"`    // of them, those on which an answer was overdue
	BadAnswers    int64 `json:"bad_answers"`    // of them, those with an answer to nothing
	InFlight      int64 `json:"in_flight"`      // records sent and without an answer now
}

// Batch is what travels together. Records are not copied: they stay what they
// are until their tokens are free.
type Batch[T any] struct {
	ID      uint64
	Records [][]byte

	tokens []T
	sentNs int64
}

// An Event is a Tick, or what became of a connection.
type Event interface{ event() }

// Tick is time that has passed, after the records that were added.
type Tick struct{}

// Connected tells that a connection came about.
type Connected struct{ Conn uint64 }

// Disconnected tells that a connection broke, or did not come about.
type Disconnected struct{ Conn uint64 }

// Answered is central's answer to a batch: it is committed and synced, or
// Refused, to be sent again later.
type Answered struct {
	Conn, ID uint64
	Refused  bool
}

func (Tick) event()         {}
func (Connected) event()    {}
func (Disconnected) event() {}
func (Answered) event()     {}

// Actions are what a Core wants done, in the order of the fields. They are the
// Core's own until its next step; the batches live until their tokens are free.
type Actions[T any] struct {
	// Free are the tokens of records that central has.
	Free []T
	// Disconnect wants the current connection ended; nothing of it is awaited.
	Disconnect bool
	// Connect, if it is not 0, wants a connection made; its events carry this
	// number. No connection before it may still be sending when it is Connected.
	Connect uint64
	// Send wants these batches sent over the current connection, without waiting.
	Send []*Batch[T]
}

type state int

const (
	away state = iota
	connecting
	connected
)

// Core is the state machine. It is for one goroutine.
type Core[T any] struct {
	options Options
	counts  Counts
	actions Actions[T]

	state    state
	conn     uint64 // number of the current connection, or the last one
	failures int    // in a row
	// pauseNs is when the next connection is tried, or the next batch after a
	// refusal.
	pauseNs int64
	paused  bool // as of the last step

	lastID   uint64
	fresh    []*Batch[T] // never sent; the last one is being filled
	again    []*Batch[T] // to be sent again
	inFlight []*Batch[T] // sent over the current connection, by ID
}

// New returns a Core without a connection, which its first Tick asks for.
func New[T any](o Options) *Core[T] { return &Core[T]{options: o} }

// Counts returns the counts so far.
func (c *Core[T]) Counts() Counts {
	counts := c.counts
	for _, b := range c.inFlight {
		counts.InFlight += int64(len(b.Records))
	}
	return counts
}

// Room is how many records may be added now: none while they could not be sent.
func (c *Core[T]) Room() int {
	if c.state != connected || c.paused {
		return 0
	}
	batches := c.options.Window - len(c.inFlight) - len(c.again) - len(c.fresh)
	return batches*c.options.BatchRecords + c.roomInLast()
}

func (c *Core[T]) roomInLast() int {
	if len(c.fresh) == 0 {
		return 0
	}
	return c.options.BatchRecords - len(c.fresh[len(c.fresh)-1].Records)
}

// Add takes a record, which the next step sends if it can. There must be room.
func (c *Core[T]) Add(record []byte, token T) {
	if c.Room() <= 0 {
		panic("BUG: delivery: a record was added without room")
	}
	if c.roomInLast() == 0 {
		c.fresh = append(c.fresh, &Batch[T]{})
	}
	b := c.fresh[len(c.fresh)-1]
	b.Records, b.tokens = append(b.Records, record), append(b.tokens, token)
}

// Step takes an event and returns what is to be done. nowNs is any clock that
// does not run backwards.
func (c *Core[T]) Step(nowNs int64, event Event) *Actions[T] {
	c.actions = Actions[T]{Free: c.actions.Free[:0], Send: c.actions.Send[:0]}
	switch e := event.(type) {
	case Tick:
		c.tick(nowNs)
	case Connected:
		if e.Conn == c.conn && c.state == connecting {
			c.state = connected
			c.counts.Connects++
			if c.counts.Connects > 1 {
				c.counts.Reconnects++
			}
		}
	case Disconnected:
		if e.Conn == c.conn && c.state != away {
			c.lose(nowNs)
		}
	case Answered:
		if e.Conn == c.conn && c.state == connected {
			c.answered(nowNs, e)
		}
	default:
		panic(fmt.Sprintf("BUG: delivery: unknown event %T", event))
	}
	c.send(nowNs)
	return &c.actions
}

func (c *Core[T]) tick(nowNs int64) {
	switch {
	case c.state == away && nowNs >= c.pauseNs:
		c.conn++
		c.state = connecting
		c.actions.Connect = c.conn
	case len(c.inFlight) > 0 && nowNs-c.inFlight[0].sentNs >= c.options.AckLimitNs:
		c.counts.AckTimeout++
		c.actions.Disconnect = true
		c.lose(nowNs)
	}
}

// lose gives up the connection. What it leaves without an answer may be
// committed or not.
func (c *Core[T]) lose(nowNs int64) {
	c.state = away
	c.counts.Failures++
	c.again = append(c.again, c.inFlight...)
	c.inFlight = nil
	c.pause(nowNs)
}

func (c *Core[T]) pause(nowNs int64) {
	c.failures++
	waitNs := int64(BackoffMinNs)
	for n := 1; n < c.failures && waitNs < BackoffMaxNs; n++ {
		waitNs *= 2
	}
	c.pauseNs = nowNs + min(waitNs, BackoffMaxNs)
}

func (c *Core[T]) answered(nowNs int64, e Answered) {
	at, found := slices.BinarySearchFunc(c.inFlight, e.ID, func(b *Batch[T], id uint64) int {
		switch {
		case b.ID < id:
			return -1
		case b.ID > id:
			return 1
		}
		return 0
	})
	if !found { // whatever that is on the other side, it cannot be trusted to have a batch
		c.counts.BadAnswers++
		c.actions.Disconnect = true
		c.lose(nowNs)
		return
	}
	b := c.inFlight[at]
	c.inFlight = slices.Delete(c.inFlight, at, at+1)
	if e.Refused {
		c.counts.Refused++
		c.again = append(c.again, b)
		c.pause(nowNs)
		return
	}
	c.failures = 0
	c.counts.Acked += int64(len(b.tokens))
	c.actions.Free = append(c.actions.Free, b.tokens...)
}

// send sends what may travel, what has travelled before first.
func (c *Core[T]) send(nowNs int64) {
	c.paused = nowNs < c.pauseNs
	if c.state != connected || c.paused {
		return
	}
	for _, b := range c.again {
		c.counts.Resent++
		c.counts.ResentRecords += int64(len(b.Records))
		c.sendBatch(nowNs, b)
	}
	for _, b := range c.fresh {
		c.counts.Records += int64(len(b.Records))
		c.sendBatch(nowNs, b)
	}
	c.again, c.fresh = nil, nil
}

func (c *Core[T]) sendBatch(nowNs int64, b *Batch[T]) {
	c.lastID++
	b.ID, b.sentNs = c.lastID, nowNs
	c.counts.Batches++
	c.inFlight = append(c.inFlight, b)
	c.actions.Send = append(c.actions.Send, b)
}
