package acked

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/postbench/postbench/refserver/datagram"
)

const (
	// AckEveryNs is the least time between two acks to an edge.
	AckEveryNs = int64(1_000_000)
	// NeverNs is later than all times.
	NeverNs = math.MaxInt64

	// recordBits is how many seqs are remembered: more than an ack speaks of,
	// by at least what one step of the highest seq clears.
	recordBits = 2 * datagram.AckBits
)

// Ticket stands for a datagram that wants an ack.
type Ticket struct {
	edge uint16
	boot uint64
	seq  uint64
}

// Addressed is an ack on its way.
type Addressed struct {
	To    netip.AddrPort
	Bytes []byte
}

// Acker is one boot of the collector. Of each edge it knows the boots that the
// collector's datagram.Receiver does.
type Acker struct {
	keys        map[keyName]datagram.Edge
	self        datagram.Boot
	windowBytes uint32
	edges       map[uint16][]*lifetime // the newest boot last, at most datagram.MaxBoots
	due         []*lifetime            // with an ack to be sent
	acks        []Addressed
}

type keyName struct{ edgeID, keyID uint16 }

// lifetime is a boot of an edge.
type lifetime struct {
	boot      datagram.Boot
	keyID     uint16
	sealer    *datagram.AckSealer
	to        netip.AddrPort // where the datagram with the highest seq came from
	ack       datagram.Ack
	committed [recordBits / 64]uint64 // bit seq % recordBits
	sentNs    int64                   // of the last ack
	due       bool
	sealed    []byte
}

// NewAcker makes the acker of this boot of the collector, for all edges that
// its receiver knows. Every ack grants the window. The error is
// datagram.ErrNoBoot or datagram.ErrNoKey.
func NewAcker(edges []datagram.Edge, self datagram.Boot, windowBytes uint32) (*Acker, error) {
	a := &Acker{
		keys: make(map[keyName]datagram.Edge, len(edges)), self: self, windowBytes: windowBytes,
		edges: make(map[uint16][]*lifetime, len(edges)),
	}
	for _, e := range edges {
		// Made here once, so that a later one cannot fail.
		if _, err := datagram.NewAckSealer(e, datagram.Boot{ID: 1, Salt: [16]byte{1}}, self); err != nil {
			return nil, err
		}
		a.keys[keyName{e.ID, e.KeyID}] = e
	}
	return a, nil
}

// Opened takes note of a datagram that came from there and was opened, and
// returns what it is to be called by when it is committed; false if it wants
// no ack. The ack for its boot goes there from now on, if it is the boot's
// highest.
func (a *Acker) Opened(o *datagram.Opened, from netip.AddrPort) (Ticket, bool) {
	if !o.WantsAck {
		return Ticket{}, false
	}
	l := a.find(o.EdgeID, o.Boot)
	if l == nil {
		l = a.admit(o)
	}
	if l == nil {
		return Ticket{}, false
	}
	if l.keyID != o.KeyID { // the edge's key was replaced
		l.keyID, l.sealer = o.KeyID, a.sealer(o)
	}
	if o.Seq > l.ack.HighestSeq {
		l.advance(o.Seq)
		l.to = from
	}
	return Ticket{o.EdgeID, o.Boot, o.Seq}, true
}

// Committed says that all records of a datagram are committed and synced, the
// originals of duplicates included.
func (a *Acker) Committed(t Ticket) {
	l := a.find(t.edge, t.boot)
	if l == nil || l.ack.HighestSeq-t.seq >= datagram.AckBits {
		return // nobody asks for it any more, or no ack can say it: it comes again
	}
	bit := t.seq % recordBits
	l.committed[bit/64] |= 1 << (bit % 64)
	a.mark(l)
}

// Replayed says that an authentic datagram came once more. Its sender may have
// missed an ack, so the last state is sent again, to the address that is known
// and not to where the copy came from: anybody can send a copy.
func (a *Acker) Replayed(o *datagram.Opened) {
	if l := a.find(o.EdgeID, o.Boot); l != nil {
		a.mark(l)
	}
}

func (a *Acker) find(edgeID uint16, boot uint64) *lifetime {
	for _, l := range slices.Backward(a.edges[edgeID]) {
		if l.boot.ID == boot {
			return l
		}
	}
	return nil
}

// admit makes a boot known; the oldest goes if there are too many. It is nil
// for a boot that is older than all of a full list.
func (a *Acker) admit(o *datagram.Opened) *lifetime {
	known := a.edges[o.EdgeID]
	at := len(known)
	for at > 0 && known[at-1].boot.ID > o.Boot {
		at--
	}
	if len(known) == datagram.MaxBoots {
		if at == 0 {
			return nil
		}
		a.due = slices.DeleteFunc(a.due, func(l *lifetime) bool { return l == known[0] })
		known, at = slices.Delete(known, 0, 1), at-1
	}
	l := &lifetime{
		boot: datagram.Boot{ID: o.Boot, Salt: o.Salt}, keyID: o.KeyID, sealer: a.sealer(o),
		ack: datagram.Ack{WindowBytes: a.windowBytes}, sentNs: math.MinInt64 / 2,
		sealed: make([]byte, 0, datagram.MaxBytes),
	}
	a.edges[o.EdgeID] = slices.Insert(known, at, l)
	return l
}

func (a *Acker) sealer(o *datagram.Opened) *datagram.AckSealer {
	edge, ok := a.keys[keyName{o.EdgeID, o.KeyID}]
	if !ok {
		panic(fmt.Sprintf("BUG: acked: edge %d, key %d was opened and is unknown", o.EdgeID, o.KeyID))
	}
	sealer, err := datagram.NewAckSealer(edge, datagram.Boot{ID: o.Boot, Salt: o.Salt}, a.self)
	if err != nil {
		panic("BUG: acked: a boot that was opened has no key: " + err.Error())
	}
	return sealer
}

func (a *Acker) mark(l *lifetime) {
	if !l.due {
		l.due = true
		a.due = append(a.due, l)
	}
}

// Step returns the acks to be sent at nowNs, valid until the next call, and
// when to call again if nothing happens before: NeverNs if nothing is due.
func (a *Acker) Step(nowNs int64) (acks []Addressed, nextNs int64) {
	a.acks, nextNs = a.acks[:0], NeverNs
	a.due = slices.DeleteFunc(a.due, func(l *lifetime) bool {
		if at := l.sentNs + AckEveryNs; at > nowNs {
			nextNs = min(nextNs, at)
			return false
		}
		l.sentNs = nowNs
		a.send(l)
		return true
	})
	return a.acks, nextNs
}

// Flush returns all acks that wait, whenever the last ones were sent.
func (a *Acker) Flush() []Addressed {
	a.acks = a.acks[:0]
	for _, l := range a.due {
		a.send(l)
	}
	a.due = a.due[:0]
	return a.acks
}

func (a *Acker) send(l *lifetime) {
	l.due = false
	l.ack.Counter++
	l.bitmap()
	l.sealed = l.sealer.AppendAck(l.sealed[:0], &l.ack)
	a.acks = append(a.acks, Addressed{To: l.to, Bytes: l.sealed})
}

// advance moves the highest seq, and forgets what was recordBits before the
// numbers in between.
func (l *lifetime) advance(seq uint64) {
	first := l.ack.HighestSeq + 1
	if seq-l.ack.HighestSeq > recordBits {
		first = seq - recordBits + 1
	}
	for ; first <= seq; first++ {
		bit := first % recordBits
		l.committed[bit/64] &^= 1 << (bit % 64)
	}
	l.ack.HighestSeq = seq
}

// bitmap fills in the ack's: bit i stands for the highest seq minus i, so the
// words are cut out and turned round.
func (l *lifetime) bitmap() {
	const words = recordBits / 64
	for i := range datagram.AckBits / 64 {
		lowest := l.ack.HighestSeq - uint64(64*i) - 63 // may wrap around below 1, where no bit is set
		at, shift := lowest%recordBits/64, lowest%64
		word := l.committed[at] >> shift
		if shift > 0 {
			word |= l.committed[(at+1)%words] << (64 - shift)
		}
		word = bits.Reverse64(word)
		for b := range 8 {
			l.ack.Committed[8*i+b] = byte(word >> (8 * b))
		}
	}
}
