// Package consumer is what the processes between an edge's lanes and the network
// have in common, whatever uplink they send over: a Consumer owns the lanes and
// counts what becomes of their records, a Loop is such a process's pace and end,
// a Trouble is logged once however long it lasts.
package consumer

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postbench/postbench/refserver/lanes"
)

var (
	// ErrLaneDir says that a Config names no lanes.
	ErrLaneDir = errors.New("no lane directory; name one")
	// ErrEvery says that a Config's pace is none.
	ErrEvery = errors.New("take a positive time")
)

// Config is what every process that empties lanes is told. LaneDir is required.
type Config struct {
	LaneDir string
	Every   time.Duration // from visit to visit; 0 means DefaultEvery
	Log     *slog.Logger  // nil means none
}

// WithDefaults fills in what was left out. The error wraps ErrLaneDir or ErrEvery.
func (c Config) WithDefaults() (Config, error) {
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.LaneDir == "":
		return c, ErrLaneDir
	case c.Every < 0:
		return c, fmt.Errorf("a tick every %v; %w", c.Every, ErrEvery)
	}
	return c, nil
}

// LaneCounts are what a Consumer has seen since its start, and what lies before it.
type LaneCounts struct {
	// Corrupt are committed records that cannot be sent, damaged ones above
	// all: each is loss. Torn are slots whose producer died before it had
	// promised anything.
	Corrupt         int64 `json:"corrupt"`
	Torn            int64 `json:"torn"`
	Backlog         int64 `json:"backlog"` // slots that are not free
	Lanes           int   `json:"lanes"`
	UnreadableLanes int   `json:"unreadable_lanes"`
}

// Dir is lanes.Dir, or a test's. Visit hands out each record once, at most max
// of them; a record stays where it is until Free.
type Dir interface {
	Visit(max int, visit func(lanes.Entry)) lanes.Stats
	Free(lane int, pos uint64)
	Backlog() int64
	Close() error
}

// Slot is where a record lies.
type Slot struct {
	Lane int
	Pos  uint64
}

// Consumer is the one consumer of an edge's lanes. It is not safe for concurrent
// use.
type Consumer struct {
	dir     Dir
	log     *slog.Logger
	stats   lanes.Stats // of the last visit
	refused int64       // records that take did not want
	left    int64       // when last asked; all that is known after Close
	closed  bool
	trouble Trouble
}

// Open takes the lanes for this process, which holds them until Close. The error
// is one of lanes.OpenDir.
func Open(c Config) (*Consumer, error) {
	dir, err := lanes.OpenDir(lanes.Options{Dir: c.LaneDir})
	if err != nil {
		return nil, err
	}
	return New(dir, c.Log), nil
}

// New is a Consumer of lanes that are open already. There must be a log.
func New(dir Dir, log *slog.Logger) *Consumer {
	return &Consumer{dir: dir, log: log, trouble: Trouble{What: "lanes cannot be read"}}
}

// Visit gives take the records that it has not been given yet, at most max. A
// record is valid until its slot is freed. An error says that the record can
// never be sent: it counts as Corrupt and its slot is freed at once, so that it
// does not hold its lane.
func (c *Consumer) Visit(max int, take func(record []byte, at Slot) error) {
	before := c.lost()
	c.stats = c.dir.Visit(max, func(e lanes.Entry) {
		if err := take(e.Record, Slot{e.Lane, e.Pos}); err != nil {
			c.refused++
			c.log.Error("a record cannot be sent", "lane", e.Lane, "position", e.Pos, "error", err)
			c.dir.Free(e.Lane, e.Pos)
		}
	})
	if now := c.lost(); now > before {
		c.log.Error("committed records are damaged and lost", "records", now-before, "since_start", now)
	}
	c.trouble.Note(c.log, c.stats.Err)
}

func (c *Consumer) lost() int64 { return c.stats.Corrupt + c.refused }

// Free gives slots back to their producers; their records are invalid from now
// on.
func (c *Consumer) Free(slots []Slot) {
	for _, s := range slots {
		c.dir.Free(s.Lane, s.Pos)
	}
}

// Left is how many slots are not free; after Close, how many were not then.
func (c *Consumer) Left() int64 {
	if !c.closed {
		c.left = c.dir.Backlog()
	}
	return c.left
}

// Counts is what has happened so far.
func (c *Consumer) Counts() LaneCounts {
	return LaneCounts{
		Corrupt: c.lost(), Torn: c.stats.Torn, Backlog: c.Left(),
		Lanes: c.stats.Lanes, UnreadableLanes: c.stats.Unreadable,
	}
}

// Close lets go of the lanes; what they hold stays for the next consumer.
// Closing again does nothing.
func (c *Consumer) Close() error {
	if c.closed {
		return nil
	}
	c.Left()
	c.closed = true
	return c.dir.Close()
}

// Trouble is something that can last for many ticks.
type Trouble struct {
	What    string // a sentence without its full stop
	present bool
}

// Note logs when the trouble begins and when it ends; err is nil without it.
func (t *Trouble) Note(log *slog.Logger, err error) {
	switch {
	case err != nil && !t.present:
		log.Warn(t.What, "error", err)
	case err == nil && t.present:
		log.Info("over: " + t.What)
	}
	t.present = err != nil
}
