// Package netem is a network that is as bad as it is told to be, in user space
// and without privileges. Its UDP half is a relay that loses, duplicates,
// reorders, corrupts and delays datagrams and their answers, drawn from a seed
// or by an exact list. Its TCP half is a Path, whose connections take as long as its round
// trips, its jitter and Linux's recovery of what it loses. Both keep count of
// what they did, as ground truth for the audit.
package netem

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

const (
	// MaxHeldBehind is how many datagrams may overtake a reordered one. It is
	// also how many can be held back at once: who came MaxHeldBehind
	// datagrams ago is on its way, so that the queue of held ones cannot grow.
	MaxHeldBehind = 3
	// MaxHoldNs is how long a datagram is held back if nobody overtakes it.
	MaxHoldNs = 20_000_000
	// MaxDropList is how many datagrams can be listed for dropping.
	MaxDropList = 1 << 20

	// udpStream and udpBackStream keep the relay's draws apart from other uses
	// of the same seed, and its two ways from each other.
	udpStream     = 0x756470
	udpBackStream = 0x6b636162
)

// ErrConfig wraps what is wrong with a Config.
var ErrConfig = errors.New("netem")

// Impairment is what happens to datagrams, each as a share 0..1 of all that
// arrive, drawn independently of each other.
type Impairment struct {
	Loss      float64 // never delivered; outweighs the others
	Duplicate float64 // delivered twice, one behind the other
	Reorder   float64 // held back behind the next 1 to MaxHeldBehind arrivals, at most MaxHoldNs
	Corrupt   float64 // delivered with one bit flipped; of a duplicated one, the second copy
}

// validate names the first share that is none.
func (i Impairment) validate() error {
	for _, s := range []struct {
		name  string
		share float64
	}{{"loss", i.Loss}, {"duplicate", i.Duplicate}, {"reorder", i.Reorder}, {"corrupt", i.Corrupt}} {
		if !(s.share >= 0 && s.share <= 1) { // NaN too
			return fmt.Errorf("%w: %s is %g, expected a share from 0 to 1", ErrConfig, s.name, s.share)
		}
	}
	return nil
}

// Counts is the ground truth. It balances:
// Sent - Dropped + Duplicated = Forwarded + SendFailed + Held + Delayed + Overflowed.
type Counts struct {
	Sent       int64 // datagrams that arrived here; their ordinals are 1 to Sent
	Forwarded  int64 // deliveries, duplicates included
	Dropped    int64 // datagrams, drawn or listed
	Duplicated int64 // datagrams delivered twice
	Reordered  int64 // datagrams that a later one really overtook
	Corrupted  int64 // deliveries with a flipped bit
	Held       int64 // copies held back now
	Delayed    int64 // copies on their way now, in a relay with a delay

	DroppedRecords   int64 // records in the dropped datagrams
	CorruptedRecords int64 // records of which no intact copy was delivered, through corruption

	// What the relay itself could not do, not what it was told to do:
	SendFailed        int64 // deliveries that the kernel refused
	SendFailedRecords int64 // records in those
	Overflowed        int64 // deliveries lost beyond MaxDelayed
	OverflowedRecords int64 // records in those
	Strangers         int64 // datagrams to a sender from elsewhere than Forward; passed on to nobody, in no other count
	KernelDrops       int64 // datagrams lost before they arrived here, their records unknown; or udpsocket.UnknownDrops
}

// Delivery is one datagram on its way out.
type Delivery struct {
	Ordinal uint64 // 1-based, of its arrival
	Peer    uint64 // whose it is, as StepOf was told
	Payload []byte // may be the very bytes given to Step
}

// Core decides what becomes of each datagram. Equal seeds, settings and
// arrivals give equal fates. It has no clock and no sockets, and is one
// goroutine's.
type Core struct {
	impairment Impairment
	drop       map[uint64]struct{}
	records    func(datagram []byte) int
	random     *rand.Rand

	counts     Counts // what the delay and the sockets do is the relay's to fill in
	held       []held // in order of arrival, at most MaxHeldBehind
	newest     uint64 // highest ordinal delivered
	deliveries []Delivery
}

// held is a datagram that waits for others to overtake it.
type held struct {
	ordinal, peer uint64
	releaseAfter  uint64 // the ordinal that lets it go
	deadlineNs    int64
	copies        [2][]byte // the second is nil unless duplicated
}

// NewCore makes a Core of Config's Seed, Impairment, Drop and Records. The
// error wraps ErrConfig.
func NewCore(config Config) (*Core, error) { return newCore(config, udpStream) }

func newCore(config Config, stream uint64) (*Core, error) {
	if err := config.Impairment.validate(); err != nil {
		return nil, err
	}
	if len(config.Drop) > MaxDropList {
		return nil, fmt.Errorf("%w: %d datagrams listed to drop, at most %d are allowed", ErrConfig, len(config.Drop), MaxDropList)
	}
	c := &Core{
		impairment: config.Impairment,
		drop:       make(map[uint64]struct{}, len(config.Drop)),
		records:    config.Records,
		random:     rand.New(rand.NewPCG(config.Seed, stream)),
	}
	for _, ordinal := range config.Drop {
		if ordinal == 0 {
			return nil, fmt.Errorf("%w: datagram 0 listed to drop, the first one is 1", ErrConfig)
		}
		c.drop[ordinal] = struct{}{}
	}
	if c.records == nil {
		c.records = func([]byte) int { return 0 }
	}
	return c, nil
}

// fate is what was drawn for one datagram.
type fate struct {
	lost, duplicated, held, corrupted bool
	behind                            uint64 // arrivals that overtake it, if held
	bit                               uint64 // which one is flipped, modulo the length, if corrupted
}

// draw takes the same number of draws for every datagram, whatever is done
// with them: a share that is changed leaves the fates by the others as they are.
func (c *Core) draw() fate {
	return fate{
		lost:       c.random.Float64() < c.impairment.Loss,
		duplicated: c.random.Float64() < c.impairment.Duplicate,
		held:       c.random.Float64() < c.impairment.Reorder,
		corrupted:  c.random.Float64() < c.impairment.Corrupt,
		behind:     1 + c.random.Uint64()%MaxHeldBehind,
		bit:        c.random.Uint64(),
	}
}

// Step takes the next datagram, which arrived at nowNs, and returns what is to
// be delivered, in that order. The result is valid until the next call. Equal
// seeds give the n-th datagram the same fate whatever it and nowNs are.
func (c *Core) Step(nowNs int64, datagram []byte) []Delivery { return c.StepOf(nowNs, 0, datagram) }

// StepOf is Step for a datagram of one of several peers: its deliveries say
// which. The fates are those of Step.
func (c *Core) StepOf(nowNs int64, peer uint64, datagram []byte) []Delivery {
	c.deliveries = c.deliveries[:0]
	c.release(func(h held) bool { return h.deadlineNs <= nowNs })
	c.counts.Sent++
	ordinal := uint64(c.counts.Sent)
	f := c.draw()
	if _, listed := c.drop[ordinal]; listed || f.lost {
		c.counts.Dropped++
		c.counts.DroppedRecords += int64(c.records(datagram))
		c.releaseAfter(ordinal)
		return c.deliveries
	}
	copies := c.copies(f, datagram)
	if !f.held {
		c.deliver(ordinal, peer, copies)
	}
	c.releaseAfter(ordinal)
	if f.held { // last: those that waited for it leave room for it
		c.hold(held{ordinal, peer, ordinal + f.behind, nowNs + MaxHoldNs, copies})
	}
	return c.deliveries
}

// Expire returns the datagrams that have been held back for long enough.
func (c *Core) Expire(nowNs int64) []Delivery {
	c.deliveries = c.deliveries[:0]
	c.release(func(h held) bool { return h.deadlineNs <= nowNs })
	return c.deliveries
}

// Flush returns all datagrams that are held back.
func (c *Core) Flush() []Delivery {
	c.deliveries = c.deliveries[:0]
	c.release(func(held) bool { return true })
	return c.deliveries
}

// Deadline is when Expire has something to deliver; false if nothing is held.
func (c *Core) Deadline() (ns int64, ok bool) {
	if len(c.held) == 0 {
		return 0, false
	}
	return c.held[0].deadlineNs, true // held for equal times: the first to come is the first to go
}

// Counts returns what happened so far.
func (c *Core) Counts() Counts { return c.counts }

// copies makes what is delivered of one datagram.
func (c *Core) copies(f fate, datagram []byte) (copies [2][]byte) {
	copies[0] = datagram
	last := &copies[0]
	if f.duplicated {
		c.counts.Duplicated++
		copies[1] = datagram
		last = &copies[1]
	}
	if f.corrupted && len(datagram) > 0 {
		c.counts.Corrupted++
		if !f.duplicated {
			c.counts.CorruptedRecords += int64(c.records(datagram))
		}
		flipped := bytes.Clone(datagram)
		bit := f.bit % uint64(8*len(datagram))
		flipped[bit/8] ^= 1 << (bit % 8)
		*last = flipped
	}
	return copies
}

// hold keeps a datagram beyond the call that brought it.
func (c *Core) hold(h held) {
	if len(c.held) == MaxHeldBehind {
		panic("BUG: netem: more datagrams are held back than can be overtaken")
	}
	for i, payload := range h.copies {
		if payload != nil {
			h.copies[i] = append([]byte{}, payload...) // not nil if empty
			c.counts.Held++
		}
	}
	c.held = append(c.held, h)
}

// releaseAfter delivers those that waited for the arrival of ordinal.
func (c *Core) releaseAfter(ordinal uint64) {
	c.release(func(h held) bool { return h.releaseAfter <= ordinal })
}

// release delivers the held ones that are due.
func (c *Core) release(due func(held) bool) {
	c.held = slices.DeleteFunc(c.held, func(h held) bool {
		if !due(h) {
			return false
		}
		for _, payload := range h.copies {
			if payload != nil {
				c.counts.Held--
			}
		}
		if h.ordinal < c.newest {
			c.counts.Reordered++
		}
		c.deliver(h.ordinal, h.peer, h.copies)
		return true
	})
}

func (c *Core) deliver(ordinal, peer uint64, copies [2][]byte) {
	c.newest = max(c.newest, ordinal)
	for _, payload := range copies {
		if payload != nil {
			c.deliveries = append(c.deliveries, Delivery{ordinal, peer, payload})
			c.counts.Forwarded++
		}
	}
}
