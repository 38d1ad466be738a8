// Package replicate hands over to central what an edge buffered in its Redis:
// the keys and stream entries (FORMAT.md) and the replicator as a state machine,
// without clock, goroutines and I/O. Package redisbuf is the shell around it.
package replicate

import "fmt"

const (
	// DefaultBatchEntries bounds what is read, fetched and sent at once: at most
	// 120 KiB of records.
	DefaultBatchEntries = 256
	// DefaultDrainLimitNs is how long the stream is drained after Drain. It is
	// less than the 8 s that the supervisor gives a process to stop.
	DefaultDrainLimitNs = 5_000_000_000

	// BlockNs is how long a read waits for something new. It bounds how late a
	// Drain is noticed.
	BlockNs = 100_000_000
	// BackoffMinNs and BackoffMaxNs bound the pause after failures in a row: it
	// doubles from one to the other.
	BackoffMinNs = 50_000_000
	BackoffMaxNs = 1_000_000_000
)

// Counts is what a replicator did since it started.
type Counts struct {
	Replicated      int64 `json:"replicated"`       // records that central confirmed
	Expired         int64 `json:"expired"`          // entries whose key was gone before that: lost
	Malformed       int64 `json:"malformed"`        // entries and values that are none of ours: deleted
	Batches         int64 `json:"batches"`          // sends that central confirmed
	SendFailures    int64 `json:"send_failures"`    // sends that failed
	RedisFailures   int64 `json:"redis_failures"`   // commands that failed, or Redis with them
	GroupsRecreated int64 `json:"groups_recreated"` // consumer groups lost and made again
}

// Options says how a Core works. BatchEntries and DrainLimitNs are at least 1.
type Options struct {
	BatchEntries int
	// KeepNs is how long a key stays after central confirmed its record; 0
	// leaves keys alone (they have a time to live of their own).
	KeepNs       int64
	DrainLimitNs int64
}

// Core is the replicator's state machine. It is for one goroutine.
//
// What it relies on: entries once read stay on the pending list until they are
// confirmed. So a failure of any kind has one cure, which is also how a
// successor takes over: wait, then read the pending list again from its start.
type Core struct {
	options    Options
	counts     Counts
	failures   int  // in a row
	pending    bool // whether the next read is of the pending list
	needsGroup bool

	draining   bool
	drainEndNs int64

	batch   []Entry  // read and not yet confirmed, at most BatchEntries
	asked   []Entry  // those of the batch whose values are being fetched
	sending []Entry  // those of the batch that are being sent
	records [][]byte // their values
	// done are entries of the batch that only wait for their deletion, because
	// central has them or there was nothing to send. They are known by ID and
	// key: a Redis that came back empty may give an ID again, a key is unique.
	done map[Entry]struct{}

	burst, ended int64 // expired entries of the current burst and of the last one
	clean        bool  // no entry of the batch was newly found expired
}

// New returns a Core whose first event is Started.
func New(o Options) *Core {
	return &Core{options: o, done: make(map[Entry]struct{})}
}

// Counts returns the counts so far.
func (c *Core) Counts() Counts { return c.counts }

// TakeBurst returns how many entries had expired in a row of batches, once,
// when that row is over; else 0.
func (c *Core) TakeBurst() int64 {
	ended := c.ended
	c.ended = 0
	return ended
}

// Drain makes the Core stop when the stream is empty, or DrainLimitNs after the
// first call. It may be called between any two steps.
func (c *Core) Drain(nowNs int64) {
	if !c.draining {
		c.draining, c.drainEndNs = true, nowNs+c.options.DrainLimitNs
	}
}

// Step takes what became of the last action and returns the next one. nowNs is
// any clock that does not run backwards.
func (c *Core) Step(nowNs int64, event Event) Action {
	switch e := event.(type) {
	case Started:
		c.needsGroup = true
		return c.next(nowNs)
	case GroupReady:
		c.needsGroup, c.pending = false, true
		return c.next(nowNs)
	case ReadDone:
		return c.read(nowNs, e.Entries)
	case Fetched:
		return c.fetched(e.Values)
	case Sent:
		c.counts.Batches++
		c.counts.Replicated += int64(len(c.sending))
		c.finish(c.sending)
		return c.confirm()
	case Confirmed:
		clear(c.done)
		c.failures = 0
		if c.clean {
			c.endBurst()
		}
		return c.next(nowNs)
	case SendFailed:
		c.counts.SendFailures++
		return c.backOff(nowNs)
	case RedisFailed:
		c.counts.RedisFailures++
		if e.GroupLost {
			c.counts.GroupsRecreated++
			c.needsGroup = true
		}
		return c.backOff(nowNs)
	case Woke:
		return c.next(nowNs)
	}
	panic(fmt.Sprintf("BUG: replicate: unknown event %T", event))
}

func (c *Core) next(nowNs int64) Action {
	switch {
	case c.draining && nowNs >= c.drainEndNs:
		return c.stop(false)
	case c.needsGroup:
		return CreateGroup{}
	case c.pending || c.draining:
		return Read{Pending: c.pending, Max: c.options.BatchEntries}
	}
	return Read{Max: c.options.BatchEntries, BlockNs: BlockNs}
}

func (c *Core) stop(drained bool) Action {
	c.endBurst()
	return Stop{Drained: drained}
}

// backOff waits before it begins again with what is pending.
func (c *Core) backOff(nowNs int64) Action {
	c.pending = true
	c.failures++
	waitNs := int64(BackoffMinNs)
	for n := 1; n < c.failures && waitNs < BackoffMaxNs; n++ {
		waitNs *= 2
	}
	waitNs = min(waitNs, BackoffMaxNs)
	if c.draining {
		waitNs = max(0, min(waitNs, c.drainEndNs-nowNs))
	}
	return Wait{WaitNs: waitNs, Failures: c.failures}
}

// read asks for the values of what was read, but for what is already done.
func (c *Core) read(nowNs int64, entries []Entry) Action {
	if len(entries) == 0 {
		return c.readNothing(nowNs)
	}
	c.batch = append(c.batch[:0], entries[:min(len(entries), c.options.BatchEntries)]...)
	c.forgetOthers()
	c.asked, c.clean = c.asked[:0], true
	var keys []string
	for _, entry := range c.batch {
		if _, done := c.done[entry]; done {
			continue
		}
		if _, err := ParseKey(entry.Key); err != nil {
			c.malformed(entry)
			continue
		}
		c.asked = append(c.asked, entry)
		keys = append(keys, entry.Key)
	}
	if len(keys) == 0 {
		return c.confirm()
	}
	return Fetch{Keys: keys}
}

func (c *Core) readNothing(nowNs int64) Action {
	if c.pending {
		c.pending = false
		return c.next(nowNs)
	}
	c.failures = 0
	c.endBurst()
	if c.draining {
		return c.stop(true)
	}
	return c.next(nowNs)
}

// forgetOthers drops from done what is not in the batch: its deletion was
// carried out although the answer was lost. So done never outgrows a batch.
func (c *Core) forgetOthers() {
	if len(c.done) == 0 {
		return
	}
	still := make(map[Entry]struct{}, len(c.done))
	for _, entry := range c.batch {
		if _, done := c.done[entry]; done {
			still[entry] = struct{}{}
		}
	}
	c.done = still
}

func (c *Core) fetched(values [][]byte) Action {
	if len(values) != len(c.asked) {
		panic(fmt.Sprintf("BUG: replicate: %d values for %d keys", len(values), len(c.asked)))
	}
	c.sending, c.records = c.sending[:0], c.records[:0]
	for i, value := range values {
		switch {
		case value == nil:
			c.counts.Expired++
			c.burst++
			c.clean = false
			c.finish(c.asked[i : i+1])
		case len(value) == 0:
			c.malformed(c.asked[i])
		default:
			c.sending = append(c.sending, c.asked[i])
			c.records = append(c.records, value)
		}
	}
	if len(c.records) == 0 {
		return c.confirm()
	}
	return Send{Records: c.records}
}

func (c *Core) malformed(entry Entry) {
	c.counts.Malformed++
	c.done[entry] = struct{}{}
}

func (c *Core) finish(entries []Entry) {
	for _, entry := range entries {
		c.done[entry] = struct{}{}
	}
}

func (c *Core) endBurst() { c.ended, c.burst = c.ended+c.burst, 0 }

func (c *Core) confirm() Action {
	confirm := Confirm{IDs: make([]string, 0, len(c.batch)), KeepNs: c.options.KeepNs}
	for _, entry := range c.batch {
		confirm.IDs = append(confirm.IDs, entry.ID)
		// A key that is none of ours is left alone.
		if _, err := ParseKey(entry.Key); err == nil && c.options.KeepNs > 0 {
			confirm.Keys = append(confirm.Keys, entry.Key)
		}
	}
	return confirm
}
