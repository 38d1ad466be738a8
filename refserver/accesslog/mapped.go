package accesslog

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// What a mapped log does unless told otherwise. An entry takes some 250 bytes:
// a chunk holds 4,000 of them, a file 60 million.
const (
	DefaultChunkBytes   = 1 << 20
	DefaultMaxFileBytes = 16 << 30
)

const (
	// minChunkBytes keeps room for the longest entry in every chunk.
	minChunkBytes = 64 << 10
	// chunksAhead are ready beyond the chunk in use, at least: what is logged
	// before somebody has made the next one fits into them.
	chunksAhead = 2
	// extendRetry is how long a log that could not grow waits before it tries
	// again: a full disk may be emptied.
	extendRetry = time.Second
)

// Errors of OpenMapped and of the Close that belongs to it.
var (
	// ErrInUse says that another process writes into the file.
	ErrInUse = errors.New("another process writes this access log")
	// ErrFull says that a file has reached its limit.
	ErrFull = errors.New("the access log has reached its limit")
)

// MappedOptions say how a mapped log grows.
type MappedOptions struct {
	// ChunkBytes is by how much the file grows at a time; a multiple of 64 KiB.
	// Up to three chunks are reserved beyond what is written. 0 means the default.
	ChunkBytes int
	// MaxFileBytes bounds the file, and is taken from the address space at once,
	// not from memory: what would go beyond is dropped and counted. 0 means the default.
	MaxFileBytes int64
}

func (o MappedOptions) withDefaults() (MappedOptions, error) {
	o.ChunkBytes = cmp.Or(o.ChunkBytes, DefaultChunkBytes)
	o.MaxFileBytes = cmp.Or(o.MaxFileBytes, DefaultMaxFileBytes)
	if o.ChunkBytes < minChunkBytes || o.ChunkBytes%minChunkBytes != 0 {
		return o, fmt.Errorf("chunks of %d bytes: want a multiple of %d", o.ChunkBytes, minChunkBytes)
	}
	if o.MaxFileBytes < int64(o.ChunkBytes) || o.MaxFileBytes%minChunkBytes != 0 {
		return o, fmt.Errorf("a file of %d bytes at most: want a multiple of %d, and no less than a chunk of %d",
			o.MaxFileBytes, minChunkBytes, o.ChunkBytes)
	}
	return o, nil
}

// ground is the file below a mapped log's memory.
type ground interface {
	// Extend reserves the file's bytes [from, to), all zero, so that storing into
	// their memory cannot fail. Bytes below keep may leave the process's memory.
	Extend(from, to, keep int64) error
	// Close ends the file at size, and the memory with it.
	Close(size int64) error
}

// mapped writes messages into memory that is a file.
type mapped struct {
	mem    []byte // of the largest file; it may be touched below ready only
	chunk  int64
	ground ground
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
	err    error // the first of growing; prepare's, until done

	ready atomic.Int64 // the file's size
	next  atomic.Int64 // where the next message begins; never beyond ready

	refused atomic.Bool // an entry had no room

	mu     sync.RWMutex // read-held while a message is written
	closed bool
}

// newMapped continues a log that ends at end. The first chunks are made now: a
// disk that is full at the start is no log at all.
func newMapped(mem []byte, chunk int, end int64, g ground) (*mapped, error) {
	m := &mapped{
		mem: mem, chunk: int64(chunk), ground: g,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	m.next.Store(end)
	m.ready.Store(end)
	if err := m.extend(); err != nil {
		return nil, err
	}
	go m.prepare()
	return m, nil
}

// add writes an entry; false if there is no room for it. It never waits for the
// file to grow.
func (m *mapped) add(l line) bool {
	one := messageOf(l)
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return false
	}
	size := int64(one.size())
	begin, ok := m.reserve(size)
	if ok {
		one.put(m.mem[begin : begin+size : begin+size])
	}
	return ok
}

// reserve takes n bytes. A plain addition would leave a hole behind each entry
// that is dropped.
func (m *mapped) reserve(n int64) (begin int64, ok bool) {
	for {
		begin = m.next.Load()
		end := begin + n
		if end > m.ready.Load() {
			m.refused.Store(true)
			m.wakeUp()
			return 0, false
		}
		if m.next.CompareAndSwap(begin, end) {
			if begin/m.chunk != end/m.chunk {
				m.wakeUp()
			}
			return begin, true
		}
	}
}

// wakeUp has prepare look whether a chunk is wanted.
func (m *mapped) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// prepare makes chunks before they are wanted, until Close.
func (m *mapped) prepare() {
	defer close(m.done)
	for {
		select {
		case <-m.stop:
			return
		case <-m.wake:
		}
		err := m.extend()
		if err == nil {
			continue
		}
		m.err = cmp.Or(m.err, err)
		select {
		case <-m.stop:
			return
		case <-time.After(extendRetry):
		}
	}
}

// extend makes the chunks that shall be ready now, as far as the limit allows.
func (m *mapped) extend() error {
	limit := int64(len(m.mem))
	for {
		using, ready := m.next.Load()/m.chunk, m.ready.Load()
		if ready == limit || ready/m.chunk > using+chunksAhead {
			return nil
		}
		to := min((ready/m.chunk+1)*m.chunk, limit)
		if err := m.ground.Extend(ready, to, (using-1)*m.chunk); err != nil {
			return err
		}
		m.ready.Store(to)
	}
}

// close waits for the messages on their way and ends the file after the last.
// Its error says why entries were refused, if any were.
func (m *mapped) close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	close(m.stop)
	<-m.done
	err := m.ground.Close(m.next.Load())
	switch limit := int64(len(m.mem)); {
	case !m.refused.Load():
		return err
	case m.ready.Load() == limit:
		return fmt.Errorf("%w of %d bytes: move the file away and start again", ErrFull, limit)
	}
	return cmp.Or(m.err, err)
}
