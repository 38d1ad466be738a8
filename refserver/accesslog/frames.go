package accesslog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frameBufferBytes is how much of a file is read at once.
const frameBufferBytes = 64 << 10

// ErrUnfinished says that the next entry was begun and never finished, although
// others follow it: its writer was killed, or is still at it.
var ErrUnfinished = errors.New("access log: an entry that was not finished")

// CorruptError says where a file ceases to be an access log.
type CorruptError struct {
	OffsetBytes int64
	Reason      string
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("no access log entry at byte %d: %s", e.OffsetBytes, e.Reason)
}

// window is the part of a file that begins at off.
type window struct {
	r   io.ReaderAt
	off int64
	buf []byte // the file from off on, as far as it has been read
	mem [frameBufferBytes]byte
}

// peek returns at least n bytes, n ≤ frameBufferBytes: all that are at hand. At
// the file's end it returns what there is, with io.EOF.
func (w *window) peek(n int) ([]byte, error) {
	if len(w.buf) >= n {
		return w.buf, nil
	}
	read, err := w.r.ReadAt(w.mem[:], w.off)
	w.buf = w.mem[:read]
	switch {
	case read >= n:
		return w.buf, nil
	case err == nil || errors.Is(err, io.EOF):
		return w.buf, io.EOF
	}
	return nil, fmt.Errorf("at byte %d: %w", w.off, err)
}

// advance passes over n bytes.
func (w *window) advance(n int64) {
	w.off += n
	w.buf = w.buf[min(n, int64(len(w.buf))):]
}

// forget makes the next peek read the file again.
func (w *window) forget() { w.buf = nil }

// corrupt is an error about what begins here.
func (w *window) corrupt(format string, args ...any) error {
	return &CorruptError{OffsetBytes: w.off, Reason: fmt.Sprintf(format, args...)}
}

// frame is the size of the message that begins here, its first word included.
// The size is 0 if nobody has begun a message: nothing but zeros up to the end,
// or, with ErrUnfinished, up to another message. At the file's end it returns io.EOF.
func (w *window) frame() (sizeBytes int64, err error) {
	b, err := w.peek(unixNsAt)
	if err != nil && (len(b) < wordBytes || !errors.Is(err, io.EOF)) {
		return 0, err // the end, perhaps of a word that was cut
	}
	segments, words := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	switch {
	case segments == 0 && words == 0:
		return 0, nil
	case segments != 0:
		return 0, w.corrupt("it begins with %#x", b[:wordBytes])
	case len(b) < unixNsAt:
		return 0, io.EOF
	}
	sizeBytes = wordBytes + int64(words)*wordBytes
	if binary.LittleEndian.Uint64(b[rootAt:]) == 0 {
		return sizeBytes, ErrUnfinished
	}
	if sizeBytes > int64(maxMessageBytes) {
		return 0, w.corrupt("a message of %d bytes, the longest has %d", sizeBytes, maxMessageBytes)
	}
	return sizeBytes, nil
}

// zeros is how many zero bytes stand here, in whole words; others follow unless
// the file ends with them.
func (w *window) zeros() (n int64, others bool, err error) {
	ahead := window{r: w.r, off: w.off}
	for {
		b, err := ahead.peek(wordBytes)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return ahead.off - w.off, false, err
		}
		for len(b) >= wordBytes {
			if binary.LittleEndian.Uint64(b) != 0 {
				return ahead.off - w.off, true, nil
			}
			b = b[wordBytes:]
			ahead.advance(wordBytes)
		}
	}
}
