// Package accesslog writes an entry for each request: one JSON object a line, on
// the request's path or beside it, or one Cap'n Proto message into a
// memory-mapped file. It reads both back. FORMAT.md says what they hold.
package accesslog

import (
	"cmp"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// What a background log does unless told otherwise: it holds some 20,000
// entries, and a reader of the file sees them soon.
const (
	DefaultMaxPendingBytes = 4 << 20
	DefaultFlushEvery      = 100 * time.Millisecond
)

// Entry is one request whose answer is known. Log copies what it keeps: the
// bytes are the caller's again when it returns.
type Entry struct {
	UnixNs     int64 // entry into the handler
	DurationNs int64 // from there until the answer was known
	Status     int   // of the answer
	Method     []byte
	URI        []byte // as sent, with its query
}

// Options say how a Log writes.
type Options struct {
	// Background lets somebody else format and write, later: Log copies the
	// entry and returns. Otherwise Log writes before it returns.
	Background bool
	// MaxPendingBytes bounds the entries that wait for the background writer;
	// as much again may be on its way into the file. 0 means the default.
	MaxPendingBytes int
	// FlushEvery is how long an entry waits at most for the background writer
	// to take it. 0 means the default.
	FlushEvery time.Duration
}

// Log is safe for concurrent use.
type Log struct {
	background bool
	dropped    atomic.Int64
	closing    sync.Once
	halfFull   chan struct{}
	stop, done chan struct{}

	mu      sync.Mutex
	closed  bool
	pending []byte // background only; its capacity never changes

	// out is the background writer's, or mu's holder's if there is none.
	out *lineWriter

	mapped *mapped // takes everything, if not nil
}

// New makes a Log that writes whole lines to w, which stays the caller's to
// close, after Close.
func New(w io.Writer, o Options) *Log {
	l := &Log{background: o.Background, out: newLineWriter(w)}
	if !o.Background {
		return l
	}
	limitBytes := cmp.Or(o.MaxPendingBytes, DefaultMaxPendingBytes)
	l.pending = make([]byte, 0, limitBytes)
	l.halfFull, l.stop, l.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go l.run(cmp.Or(o.FlushEvery, DefaultFlushEvery), make([]byte, 0, limitBytes))
	return l
}

// Log takes an entry. It never waits for the writer in the background mode: an
// entry that does not fit is dropped and counted. An entry that cannot be
// written, or that comes after Close, is dropped and counted in every mode.
func (l *Log) Log(e *Entry) {
	one := cut(e)
	if l.mapped != nil {
		if !l.mapped.add(one) {
			l.dropped.Add(1)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		l.dropped.Add(1)
	case !l.background:
		l.dropped.Add(l.out.add(one) + l.out.flush())
	case one.pendingBytes() > cap(l.pending)-len(l.pending):
		l.dropped.Add(1)
	default:
		l.pending = one.appendPending(l.pending)
		if len(l.pending) > cap(l.pending)/2 {
			select { // do not wait for the next flush
			case l.halfFull <- struct{}{}:
			default:
			}
		}
	}
}

// Dropped is the number of entries that are not in the log and never will be.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Close writes what is pending, waiting for the writer, and returns the first
// error of all writes; only the first call does.
func (l *Log) Close() (err error) {
	l.closing.Do(func() {
		if l.mapped != nil {
			err = l.mapped.close()
			return
		}
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		if l.background {
			close(l.stop)
			<-l.done
		}
		err = l.out.err
	})
	return err
}

// run writes what is pending until Close. It trades its empty buffer, spare,
// for the full one, so that nobody waits while it writes.
func (l *Log) run(every time.Duration, spare []byte) {
	defer close(l.done)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for last := false; !last; {
		select {
		case <-ticker.C:
		case <-l.halfFull:
		case <-l.stop:
			last = true
		}
		l.mu.Lock()
		taken := l.pending
		l.pending = spare
		l.mu.Unlock()
		for rest := taken; len(rest) > 0; {
			var one line
			one, rest = nextPending(rest)
			l.dropped.Add(l.out.add(one))
		}
		l.dropped.Add(l.out.flush())
		spare = taken[:0]
	}
}
