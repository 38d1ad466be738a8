package parts

import (
	"bytes"
	"io"
	"slices"
)

// maxLogLineBytes is how much of a line is looked at and passed on.
const maxLogLineBytes = 4 << 10

// lineFilter passes on the lines that hold one of the words. It never fails: what
// happens to a log must not end a server.
type lineFilter struct {
	to    io.Writer
	words []string
	line  []byte // the last one, incomplete
}

// Write implements io.Writer.
func (f *lineFilter) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		whole := part[len(part)-1] == '\n'
		f.line = append(f.line, part[:min(len(part), max(0, maxLogLineBytes-len(f.line)))]...)
		if !whole {
			continue
		}
		if slices.ContainsFunc(f.words, func(word string) bool { return bytes.Contains(f.line, []byte(word)) }) {
			_, _ = f.to.Write(append(bytes.TrimSuffix(f.line, []byte{'\n'}), '\n'))
		}
		f.line = f.line[:0]
	}
	return len(p), nil
}
