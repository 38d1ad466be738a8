package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"capnproto.org/go/capnp/v3"
)

// Reader reads a log of either kind, while it is being written too. It belongs
// to one goroutine.
type Reader struct {
	window
	next    func() (Record, error) // of the kind; nil until it is known
	skip    int64                  // bytes that Skip passes over
	message capnp.Message
	arena   capnp.ReadOnlySingleSegment
}

// NewReader reads the log in file, whose first byte tells its kind.
func NewReader(file io.ReaderAt) *Reader { return &Reader{window: window{r: file}} }

// Next returns the next entry, whose bytes are valid until the next call.
//
// io.EOF says that there is none yet: later there may be. ErrUnfinished says that
// the next is not whole, although others may follow it: try again later, or Skip
// it. A *CorruptError is for ever.
func (r *Reader) Next() (Record, error) {
	r.skip = 0
	if r.next == nil {
		b, err := r.peek(1)
		switch {
		case err != nil:
			return Record{}, err
		case b[0] == '{':
			r.next = r.nextLine
		case b[0] == 0: // the number of segments less one
			r.next = r.nextMessage
		default:
			return Record{}, r.corrupt("it is neither JSON nor Cap'n Proto")
		}
	}
	record, err := r.next()
	if err != nil {
		r.forget() // the file may have changed until the next call
	}
	return record, err
}

// Skip passes over an entry for which Next has returned ErrUnfinished.
func (r *Reader) Skip() { r.advance(r.skip) }

// Offset is the number of bytes of the file that have been read and understood.
func (r *Reader) Offset() int64 { return r.off }

func (r *Reader) nextMessage() (Record, error) {
	size, err := r.frame()
	if size == 0 && err == nil || errors.Is(err, ErrUnfinished) {
		if err := r.behind(size); err != nil {
			return Record{}, err
		}
		r.forget() // it may have been finished meanwhile, before what is behind it
		size, err = r.frame()
		if size == 0 && err == nil {
			err = ErrUnfinished
		}
	}
	if err != nil {
		return Record{}, err
	}
	b, err := r.peek(int(size))
	if err != nil {
		return Record{}, err
	}
	record, err := r.decode(b[wordBytes:size])
	if err == nil {
		r.advance(size)
	}
	return record, err
}

// behind looks where something follows an entry of size bytes, or of unknown size
// if 0, that was not finished. It returns io.EOF if nothing ever can.
func (r *Reader) behind(size int64) error {
	if size > 0 {
		r.skip = size
		if n, err := r.r.ReadAt(make([]byte, 1), r.off+size-1); n == 0 {
			return err
		}
		return nil
	}
	zeros, others, err := r.zeros()
	r.skip = zeros
	if err == nil && !others {
		return io.EOF
	}
	return err
}

// decode reads the segment that begins here, behind one word.
func (r *Reader) decode(segment []byte) (Record, error) {
	r.message.Release()
	r.arena.ReplaceData(segment)
	if _, err := r.message.Reset(&r.arena); err != nil {
		return Record{}, r.corrupt("%v", err)
	}
	root, err := r.message.Root()
	if err != nil {
		return Record{}, r.corrupt("%v", err)
	}
	entry := root.Struct()
	if !entry.IsValid() {
		return Record{}, r.corrupt("a message without an entry")
	}
	record := Record{
		Entry: Entry{
			UnixNs: int64(entry.Uint64(unixNsAt - unixNsAt)), DurationNs: int64(entry.Uint64(durationNsAt - unixNsAt)),
			Status: int(int32(entry.Uint32(statusAt - unixNsAt))),
		},
		URIBytes: int(entry.Uint32(uriBytesAt - unixNsAt)),
	}
	for i, field := range []*[]byte{&record.Method, &record.URI} {
		pointer, err := entry.Ptr(uint16(i))
		if err != nil {
			return Record{}, r.corrupt("%v", err)
		}
		*field = pointer.Data()
	}
	return record, nil
}

// jsonLine is a line of the JSON log.
type jsonLine struct {
	UnixNs     int64  `json:"unix_ns"`
	DurationNs int64  `json:"duration_ns"`
	Status     int    `json:"status"`
	Method     string `json:"method"`
	URI        string `json:"uri"`
	URIBytes   int    `json:"uri_bytes"`
}

func (r *Reader) nextLine() (Record, error) {
	b, err := r.peek(maxLineBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return Record{}, err
	}
	n := bytes.IndexByte(b, '\n') + 1
	if n == 0 {
		if err == nil {
			err = r.corrupt("a line of more than %d bytes", len(b))
		}
		return Record{}, err
	}
	var l jsonLine
	if json.Unmarshal(b[:n], &l) != nil {
		r.skip = int64(n)
		return Record{}, ErrUnfinished // torn by a write that failed
	}
	method, whole := originalBytes(l.Method)
	uri, wholeURI := originalBytes(l.URI)
	if !whole || !wholeURI {
		r.skip = int64(n)
		return Record{}, ErrUnfinished
	}
	r.advance(int64(n))
	return Record{Entry{l.UnixNs, l.DurationNs, l.Status, method, uri}, l.URIBytes}, nil
}

// originalBytes turns every character back into the byte that it stands for;
// false if one stands for none.
func originalBytes(text string) ([]byte, bool) {
	b := make([]byte, 0, len(text))
	for _, c := range text {
		if c > 0xff {
			return nil, false
		}
		b = append(b, byte(c))
	}
	return b, true
}
