package accesslog

import (
	"encoding/binary"
	"errors"
	"io"
)

// hole is where several entries or none began: their writers were killed before
// they had stored anything.
type hole struct{ at, sizeBytes int64 }

// fill is what makes a message without content of it. Its other words stay zero.
func (h hole) fill() (word []byte) {
	return binary.LittleEndian.AppendUint64(nil, uint64(h.sizeBytes/wordBytes-1)<<32)
}

// findEnd walks through the file of a writer that is dead: end is where its
// messages end. A *CorruptError says that something else is in the file.
func findEnd(r io.ReaderAt, fileBytes int64) (end int64, holes []hole, err error) {
	w := window{r: r}
	for {
		size, err := w.frame()
		switch {
		case errors.Is(err, io.EOF):
			return w.off, holes, nil
		case err != nil && !errors.Is(err, ErrUnfinished):
			return 0, nil, err
		case size == 0:
			zeros, others, err := w.zeros()
			if err != nil || !others {
				return w.off, holes, err
			}
			if zeros < bytesAt {
				return 0, nil, w.corrupt("%d zero bytes, the shortest message has %d", zeros, bytesAt)
			}
			holes, size = append(holes, hole{w.off, zeros}), zeros
		case w.off+size > fileBytes:
			return w.off, holes, nil
		}
		w.advance(size)
	}
}
