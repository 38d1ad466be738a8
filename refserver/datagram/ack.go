package datagram

import (
	"crypto/cipher"
	"encoding/binary"

	"github.com/postbench/postbench/internal/postback"
)

const (
	// AckBits is how many sequence numbers an ack speaks of: the highest and
	// those right below it.
	AckBits = 1024

	bitmapBytes  = AckBits / 8
	ackBodyBytes = 8 + bitmapBytes + 4*4 // before the list

	// MaxClosedBytes is how long the list of an ack may be, its frames included.
	MaxClosedBytes = MaxBodyBytes - ackBodyBytes
)

// Ack is what the collector tells an edge. What is committed stays committed,
// so Has may be believed of every ack; the other fields are a state, to be
// taken only from one that is Newest.
type Ack struct {
	Counter    uint64 // of the ack itself
	HighestSeq uint64 // opened of the edge's boot
	// Committed has bit i set (byte i/8, value 1 << i%8) if seq HighestSeq-i is
	// committed and synced.
	Committed [bitmapBytes]byte
	// WindowBytes is what may be in flight.
	WindowBytes uint32
	// The closed offers: a part of a set that may be longer than one ack.
	CapsEpoch, CapsTotal, CapsFirst uint32
	ClosedCount                     int
	Closed                          []byte // offer ids, for Frames
	// Newest is set by OpenAck: no ack before had a higher counter.
	Newest bool
}

// Has tells whether the ack says that seq is committed and synced.
func (a *Ack) Has(seq uint64) bool {
	behind := a.HighestSeq - seq
	return seq >= 1 && seq <= a.HighestSeq && behind < AckBits && a.Committed[behind/8]&(1<<(behind%8)) != 0
}

// AckSealer makes the acks for one boot of an edge, in one boot of the collector.
type AckSealer struct {
	sealing
	body []byte
}

// NewAckSealer derives the key of this pair of boots. Its errors are ErrNoKey
// and ErrNoBoot.
func NewAckSealer(e Edge, edge, collector Boot) (*AckSealer, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	for _, b := range []Boot{edge, collector} {
		if err := b.check(); err != nil {
			return nil, err
		}
	}
	aead, err := newAEAD(&e, ackLabel, edge, collector)
	if err != nil {
		return nil, err
	}
	h := header{flags: flagAck, keyID: e.KeyID, edgeID: e.ID, boot: collector}
	return &AckSealer{sealing: sealing{aead: aead, header: h}}, nil
}

// AppendAck appends the ack as a datagram. Its counter begins at 1 and rises
// with every call; Closed has at most MaxClosedBytes. Else it panics, as Seal does.
func (s *AckSealer) AppendAck(dst []byte, a *Ack) []byte {
	b := binary.LittleEndian.AppendUint64(s.body[:0], a.HighestSeq)
	b = append(b, a.Committed[:]...)
	for _, field := range []uint32{a.WindowBytes, a.CapsEpoch, a.CapsTotal, a.CapsFirst} {
		b = binary.LittleEndian.AppendUint32(b, field)
	}
	s.body = append(b, a.Closed...)
	return s.seal(dst, a.Counter, a.ClosedCount, s.body)
}

// AckOpener is the edge's end, for one boot of the edge.
type AckOpener struct {
	edge       Edge
	boot       Boot
	collector  Boot // the newest heard of
	aead       cipher.AEAD
	nonce      nonce
	maxCounter uint64 // of that boot
}

// NewAckOpener opens the acks for this boot. Its errors are ErrNoKey and ErrNoBoot.
func NewAckOpener(e Edge, b Boot) (*AckOpener, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	return &AckOpener{edge: e, boot: b}, nil
}

// OpenAck opens an ack in place: the datagram's bytes are changed, and Closed
// lies in them. An ack given twice is no error: it says again what was true.
func (o *AckOpener) OpenAck(datagram []byte) (Ack, error) {
	var h header
	if err := h.parse(datagram); err != nil {
		return Ack{}, err
	}
	switch {
	case h.flags != flagAck:
		return Ack{}, ErrFlags
	case h.edgeID != o.edge.ID || h.keyID != o.edge.KeyID:
		return Ack{}, ErrUnknownEdge
	case h.boot.ID < o.collector.ID:
		return Ack{}, ErrOldBoot
	case h.boot.ID == o.collector.ID && h.boot.Salt != o.collector.Salt:
		return Ack{}, ErrForged
	}
	aead := o.aead
	if h.boot.ID > o.collector.ID {
		var err error
		if aead, err = newAEAD(&o.edge, ackLabel, o.boot, h.boot); err != nil {
			return Ack{}, ErrForged
		}
	}
	if aead == nil { // boot id 0, which no collector has
		return Ack{}, ErrForged
	}
	body, err := aead.Open(datagram[HeaderBytes:HeaderBytes], o.nonce.of(h.seq), datagram[HeaderBytes:], datagram[:HeaderBytes])
	if err != nil {
		return Ack{}, ErrForged
	}
	if h.boot.ID > o.collector.ID {
		o.collector, o.aead, o.maxCounter = h.boot, aead, 0
	}
	ack, err := decodeAck(body, &h)
	if err != nil {
		return Ack{}, err
	}
	ack.Newest = h.seq > o.maxCounter
	o.maxCounter = max(o.maxCounter, h.seq)
	return ack, nil
}

func decodeAck(body []byte, h *header) (Ack, error) {
	if len(body) < ackBodyBytes {
		return Ack{}, ErrBadBody
	}
	fields, closed := body[8+bitmapBytes:ackBodyBytes], body[ackBodyBytes:]
	if err := checkFrames(closed, int(h.count), postback.MaxOfferIDBytes); err != nil {
		return Ack{}, err
	}
	return Ack{
		Counter: h.seq, HighestSeq: binary.LittleEndian.Uint64(body), Committed: [bitmapBytes]byte(body[8:]),
		WindowBytes: binary.LittleEndian.Uint32(fields), CapsEpoch: binary.LittleEndian.Uint32(fields[4:]),
		CapsTotal: binary.LittleEndian.Uint32(fields[8:]), CapsFirst: binary.LittleEndian.Uint32(fields[12:]),
		ClosedCount: int(h.count), Closed: closed,
	}, nil
}
