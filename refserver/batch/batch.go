// Package batch packs records into datagrams. It is the pure core of the
// batcher process: records go in, each with a token that says where it came
// from; on every tick datagrams come out, each with the tokens of its records.
// It is not safe for concurrent use.
package batch

import (
	"errors"
	"fmt"

	"github.com/postbench/postbench/refserver/datagram"
)

const (
	// DefaultMaxDatagramsPerTick is a burst that even an untouched receive
	// buffer of the kernel holds (92 full datagrams) while its reader is not
	// running. At 100 ticks a second and 10 records a datagram it carries
	// 64,000 records a second.
	DefaultMaxDatagramsPerTick = 64
	// LimitDatagramsPerTick is the most that Options may ask for: the buffers
	// of all of them are kept, 4.7 MiB.
	LimitDatagramsPerTick = 4096
	// pendingPerDatagram bounds what may wait, by what one tick may send. It is
	// a little more than a datagram holds of the shortest sensible records.
	pendingPerDatagram = 42
)

var (
	// ErrFull says that a record has to wait where it is: as many are pending
	// as a tick can send.
	ErrFull = errors.New("batch: as many records are pending as a tick can send; try again after it")
	// ErrRecordLength says that no datagram can carry a record.
	ErrRecordLength = errors.New("batch: no datagram carries a record of this length")
	// ErrOptions says that an option is out of range.
	ErrOptions = errors.New("batch: option out of range")
)

// Options bound a Batcher. Zero means the default.
type Options struct {
	MaxDatagramsPerTick int // DefaultMaxDatagramsPerTick, at most LimitDatagramsPerTick
}

// Datagram is sealed and ready to be sent.
type Datagram[T any] struct {
	Seq    uint64
	Bytes  []byte
	Tokens []T // of its records, in the order in which they were added
}

// Counts is what has been sent, as told by Sent.
type Counts struct {
	Records   int64 `json:"records"`
	Datagrams int64 `json:"datagrams"`
	Bytes     int64 `json:"bytes"` // of datagrams, without UDP and IP headers
}

// Batcher collects records and packs them, first come first served. Sequence
// numbers begin at 1 and none is used twice, whether its datagram was sent or
// not: a gap is legal, two bodies under one number would break the cipher.
type Batcher[T any] struct {
	sealer  *datagram.Sealer
	seq     uint64
	records [][]byte // pending; not copied
	tokens  []T      // theirs
	buffers []byte   // MaxBytes for each datagram of a tick
	tick    []Datagram[T]
	options Options
	counts  Counts
}

// New makes a batcher with a sealer that has sealed nothing yet. Its error is
// ErrOptions.
func New[T any](sealer *datagram.Sealer, o Options) (*Batcher[T], error) {
	if o.MaxDatagramsPerTick == 0 {
		o.MaxDatagramsPerTick = DefaultMaxDatagramsPerTick
	}
	if o.MaxDatagramsPerTick < 0 || o.MaxDatagramsPerTick > LimitDatagramsPerTick {
		return nil, fmt.Errorf("%d datagrams per tick, want 1 to %d: %w", o.MaxDatagramsPerTick, LimitDatagramsPerTick, ErrOptions)
	}
	maxPending := o.MaxDatagramsPerTick * pendingPerDatagram
	return &Batcher[T]{
		sealer:  sealer,
		records: make([][]byte, 0, maxPending),
		tokens:  make([]T, 0, maxPending),
		buffers: make([]byte, o.MaxDatagramsPerTick*datagram.MaxBytes),
		tick:    make([]Datagram[T], 0, o.MaxDatagramsPerTick),
		options: o,
	}, nil
}

// Room is how many records may be added before the next tick.
func (b *Batcher[T]) Room() int { return cap(b.records) - len(b.records) }

// Pending is how many records wait to be sent.
func (b *Batcher[T]) Pending() int { return len(b.records) }

// Add takes a record, which must not change until Sent has told that it is
// gone, and the token that stands for it. The errors are ErrFull and
// ErrRecordLength; the record is then not taken. It must not be called between
// Tick and Sent.
func (b *Batcher[T]) Add(record []byte, token T) error {
	if len(record) == 0 || len(record) > datagram.MaxRecordBytes {
		return fmt.Errorf("%d bytes, want 1 to %d: %w", len(record), datagram.MaxRecordBytes, ErrRecordLength)
	}
	if b.Room() == 0 {
		return ErrFull
	}
	b.records, b.tokens = append(b.records, record), append(b.tokens, token)
	return nil
}

// Tick packs the pending records, each datagram as full as their order allows,
// at most MaxDatagramsPerTick. What it returns is valid until Sent, which must
// follow: until then the records stay pending.
func (b *Batcher[T]) Tick() []Datagram[T] {
	b.tick = b.tick[:0]
	for at := 0; at < len(b.records) && len(b.tick) < b.options.MaxDatagramsPerTick; {
		d := b.pack(at)
		at += len(d.Tokens)
		b.tick = append(b.tick, d)
	}
	return b.tick
}

// pack seals the records from the given one on, as many as fit. The body is
// built where its sealed form will be.
func (b *Batcher[T]) pack(from int) Datagram[T] {
	start := len(b.tick) * datagram.MaxBytes
	buffer := b.buffers[start : start : start+datagram.MaxBytes]
	body := buffer[datagram.HeaderBytes:datagram.HeaderBytes]
	to := from
	for to < len(b.records) && datagram.Room(len(body), len(b.records[to])) {
		body = datagram.AppendFrame(body, b.records[to])
		to++
	}
	b.seq++
	return Datagram[T]{
		Seq: b.seq, Bytes: b.sealer.Seal(buffer, b.seq, to-from, body), Tokens: b.tokens[from:to:to],
	}
}

// Sent tells that the first n datagrams of the last Tick are gone. The others'
// records stay pending, first in line, and travel under new numbers.
func (b *Batcher[T]) Sent(n int) {
	gone := 0
	for _, d := range b.tick[:n] {
		gone += len(d.Tokens)
		b.counts.Datagrams++
		b.counts.Bytes += int64(len(d.Bytes))
	}
	b.counts.Records += int64(gone)
	left := copy(b.records, b.records[gone:])
	copy(b.tokens, b.tokens[gone:])
	clear(b.records[left:]) // do not keep what is gone
	clear(b.tokens[left:])
	b.records, b.tokens, b.tick = b.records[:left], b.tokens[:left], b.tick[:0]
}

// Counts is what has been sent so far.
func (b *Batcher[T]) Counts() Counts { return b.counts }
