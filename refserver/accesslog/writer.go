package accesslog

import (
	"bytes"
	"io"
)

// chunkBytes is about how much one write carries.
const chunkBytes = 64 << 10

// lineWriter formats entries and writes whole lines, so that several processes
// can append to one file. It belongs to one goroutine at a time.
type lineWriter struct {
	w    io.Writer
	buf  []byte // whole lines
	torn bool   // the last write failed in the middle of a line
	err  error  // the first one
}

func newLineWriter(w io.Writer) *lineWriter {
	return &lineWriter{w: w, buf: make([]byte, 0, chunkBytes+maxLineBytes)}
}

// add formats a line and returns the number of lines that were lost on the way.
func (l *lineWriter) add(one line) (lost int64) {
	l.buf = one.appendJSON(l.buf)
	if len(l.buf) < chunkBytes {
		return 0
	}
	return l.flush()
}

// flush writes the lines collected and returns the number of those lost. It
// goes on after an error: a full disk may be emptied.
func (l *lineWriter) flush() (lost int64) {
	if len(l.buf) == 0 {
		return 0
	}
	written := 0
	err := l.endTornLine()
	if err == nil {
		written, err = l.w.Write(l.buf)
	}
	if err != nil {
		lost = int64(bytes.Count(l.buf[written:], []byte{'\n'}))
		l.torn = l.torn || written > 0 && l.buf[written-1] != '\n'
		if l.err == nil {
			l.err = err
		}
	}
	l.buf = l.buf[:0]
	return lost
}

func (l *lineWriter) endTornLine() error {
	if !l.torn {
		return nil
	}
	n, err := l.w.Write([]byte{'\n'})
	l.torn = n == 0
	return err
}
