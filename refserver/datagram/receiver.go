package datagram

import (
	"cmp"
	"crypto/cipher"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// OldBootNs is how long a boot is still accepted after a newer one of its
	// edge appeared: longer than any datagram is under way.
	OldBootNs = int64(60 * time.Second)
	// MaxBoots is how many boots of an edge are known at a time; beyond it the
	// oldest goes early. Only the holder of a key can make a boot known.
	MaxBoots = 8
)

// ErrSameKey says that two keys have the same edge id and key id.
var ErrSameKey = errors.New("datagram: two keys have the same edge id and key id; give them different ids")

// Opened is an authentic datagram, taken for the first time.
type Opened struct {
	EdgeID   uint16
	KeyID    uint16
	Boot     uint64
	Salt     [16]byte // of that boot
	Seq      uint64
	WantsAck bool
	Count    int    // records in the body
	Body     []byte // for Frames; lies in the datagram that was given to Step
}

// Counts is what a Receiver took and refused, in the words of FORMAT.md.
type Counts struct {
	Opened       int64 `json:"opened"`
	Records      int64 `json:"records"`
	Bytes        int64 `json:"bytes"` // of all datagrams, refused ones included
	Short        int64 `json:"short"`
	Long         int64 `json:"long"`
	Magic        int64 `json:"magic"`
	Version      int64 `json:"version"`
	Flags        int64 `json:"flags"`
	UnknownEdge  int64 `json:"unknown_edge"`
	OldBoot      int64 `json:"old_boot"`
	Forged       int64 `json:"forged"`
	Replay       int64 `json:"replay"`
	BehindWindow int64 `json:"behind_window"`
	BadBody      int64 `json:"bad_body"`
}

// Refused is the number of datagrams refused, for whatever reason.
func (c *Counts) Refused() int64 {
	return c.Short + c.Long + c.Magic + c.Version + c.Flags + c.UnknownEdge + c.OldBoot + c.Forged +
		c.Replay + c.BehindWindow + c.BadBody
}

// Receiver is central's end: it tells the authentic datagrams that are new from
// everything else.
type Receiver struct {
	keys   map[keyName]*Edge
	edges  map[uint16]*sender
	nonce  nonce
	counts Counts
}

type keyName struct{ edgeID, keyID uint16 }

// sender is what is known of one edge.
type sender struct {
	boots []*boot // by rising id; the last is the newest
}

// boot is one life of an edge. Its aead is nil from a restart of the collector
// until the boot's first authentic datagram.
type boot struct {
	Boot
	keyID   uint16
	aead    cipher.AEAD
	window  window
	untilNs int64 // 0 for the newest
}

// NewReceiver makes a receiver for these edges that refuses all that came
// before the persisted states; states of other edges are ignored. Its errors
// are ErrNoKey and ErrSameKey.
func NewReceiver(edges []Edge, persisted []BootState) (*Receiver, error) {
	r := &Receiver{keys: make(map[keyName]*Edge, len(edges)), edges: make(map[uint16]*sender, len(edges))}
	for _, e := range edges {
		name := keyName{e.ID, e.KeyID}
		if r.keys[name] != nil {
			return nil, fmt.Errorf("edge %d, key %d: %w", e.ID, e.KeyID, ErrSameKey)
		}
		if err := e.check(); err != nil {
			return nil, err
		}
		// Once here, so that Step need not tell a key that cannot be derived
		// from a forgery.
		if _, err := newAEAD(&e, dataLabel, Boot{}); err != nil {
			return nil, err
		}
		r.keys[name] = &e
		r.edges[e.ID] = &sender{}
	}
	for _, s := range persisted {
		if edge := r.edges[s.EdgeID]; edge != nil {
			edge.restore(s)
		}
	}
	return r, nil
}

// restore keeps the highest of the states that it is given.
func (e *sender) restore(s BootState) {
	if len(e.boots) > 0 {
		known := e.boots[0]
		if cmp.Or(cmp.Compare(known.ID, s.Boot), cmp.Compare(known.window.floor, s.HighestSeq)) >= 0 {
			return
		}
	}
	e.boots = []*boot{{
		Boot: Boot{ID: s.Boot, Salt: s.Salt}, window: window{floor: s.HighestSeq, top: s.HighestSeq},
	}}
}

// Step takes one datagram that came in at nowUnixNs, which should not go
// backwards. Its body is opened in place: whatever the outcome, the datagram's
// bytes are changed. The error is one of the refusals of this package; the
// datagram has then changed nothing else but a count (a bad body's seq stays
// taken). With ErrReplay and ErrBehindWindow, the Opened still says whose
// authentic datagram it was, without a body: it wants its ack once more. Step
// does not allocate unless the datagram claims a boot that has sent nothing yet.
func (r *Receiver) Step(nowUnixNs int64, datagram []byte) (Opened, error) {
	r.counts.Bytes += int64(len(datagram))
	opened, err := r.open(nowUnixNs, datagram)
	if err != nil {
		r.counts.refuse(err)
		return opened, err
	}
	r.counts.Opened++
	r.counts.Records += int64(opened.Count)
	return opened, nil
}

func (r *Receiver) open(nowUnixNs int64, datagram []byte) (Opened, error) {
	var h header
	if err := h.parse(datagram); err != nil {
		return Opened{}, err
	}
	if h.flags&flagAck != 0 {
		return Opened{}, ErrFlags
	}
	key := r.keys[keyName{h.edgeID, h.keyID}]
	if key == nil {
		return Opened{}, ErrUnknownEdge
	}
	edge := r.edges[h.edgeID]
	edge.forget(nowUnixNs)
	b, err := edge.find(h.boot)
	if err != nil {
		return Opened{}, err
	}
	aead, err := b.opener(key, &h)
	if err != nil {
		return Opened{}, ErrForged
	}
	body, err := aead.Open(datagram[HeaderBytes:HeaderBytes], r.nonce.of(h.seq), datagram[HeaderBytes:], datagram[:HeaderBytes])
	if err != nil {
		return Opened{}, ErrForged
	}
	// Only from here on is the header believed.
	if b == nil {
		b = edge.admit(nowUnixNs, h.boot)
	}
	b.aead, b.keyID = aead, h.keyID
	opened := Opened{
		EdgeID: h.edgeID, KeyID: h.keyID, Boot: h.boot.ID, Salt: h.boot.Salt, Seq: h.seq,
		WantsAck: h.flags&flagWantsAck != 0,
	}
	if err := b.window.take(h.seq); err != nil {
		return opened, err
	}
	if err := checkFrames(body, int(h.count), MaxRecordBytes); err != nil {
		return Opened{}, err
	}
	opened.Count, opened.Body = int(h.count), body
	return opened, nil
}

// forget drops the boots whose time is over.
func (e *sender) forget(nowUnixNs int64) {
	e.boots = slices.DeleteFunc(e.boots, func(b *boot) bool { return b.untilNs != 0 && nowUnixNs >= b.untilNs })
}

// find is the known boot that a header claims, or nil for one that is newer
// than all known ones.
func (e *sender) find(claimed Boot) (*boot, error) {
	for _, b := range slices.Backward(e.boots) {
		if claimed.ID > b.ID {
			break
		}
		if claimed.ID == b.ID {
			if claimed.Salt != b.Salt {
				return nil, ErrForged
			}
			return b, nil
		}
	}
	if n := len(e.boots); n > 0 && claimed.ID < e.boots[n-1].ID {
		return nil, ErrOldBoot
	}
	return nil, nil
}

// opener is the AEAD of a boot; b is nil for a new one.
func (b *boot) opener(key *Edge, h *header) (cipher.AEAD, error) {
	if b != nil && b.aead != nil && b.keyID == h.keyID {
		return b.aead, nil
	}
	return newAEAD(key, dataLabel, h.boot)
}

// admit makes a newer boot known, and sets the time of the ones before.
func (e *sender) admit(nowUnixNs int64, newer Boot) *boot {
	if n := len(e.boots); n > 0 {
		e.boots[n-1].untilNs = nowUnixNs + OldBootNs
	}
	if len(e.boots) == MaxBoots {
		e.boots = slices.Delete(e.boots, 0, 1)
	}
	b := &boot{Boot: newer}
	e.boots = append(e.boots, b)
	return b
}

// Counts is what has been taken and refused so far.
func (r *Receiver) Counts() Counts { return r.counts }

// States is what has to be stored in the same commit as the records opened so
// far, one for each edge that has been heard of, by rising edge id. States of
// overlapping commits must be stored in the order in which they were taken.
func (r *Receiver) States() []BootState {
	states := make([]BootState, 0, len(r.edges))
	for _, id := range slices.Sorted(maps.Keys(r.edges)) {
		if boots := r.edges[id].boots; len(boots) > 0 {
			newest := boots[len(boots)-1]
			states = append(states, BootState{
				EdgeID: id, Boot: newest.ID, Salt: newest.Salt, HighestSeq: newest.window.top,
			})
		}
	}
	return states
}

func (c *Counts) refuse(err error) {
	switch {
	case errors.Is(err, ErrShort):
		c.Short++
	case errors.Is(err, ErrLong):
		c.Long++
	case errors.Is(err, ErrMagic):
		c.Magic++
	case errors.Is(err, ErrVersion):
		c.Version++
	case errors.Is(err, ErrFlags):
		c.Flags++
	case errors.Is(err, ErrUnknownEdge):
		c.UnknownEdge++
	case errors.Is(err, ErrOldBoot):
		c.OldBoot++
	case errors.Is(err, ErrForged):
		c.Forged++
	case errors.Is(err, ErrReplay):
		c.Replay++
	case errors.Is(err, ErrBehindWindow):
		c.BehindWindow++
	case errors.Is(err, ErrBadBody):
		c.BadBody++
	default:
		panic("BUG: datagram: refusal without a count: " + err.Error())
	}
}
