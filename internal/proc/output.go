package proc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

const (
	maxReadyLineBytes = 4 << 10 // a longer first line on stdout is not a ready line
	maxTailBytes      = 4 << 10 // how much of the end of stderr is kept for messages
)

// readyMessage is the one line by which a child says that it serves.
type readyMessage struct {
	Addr string            `json:"addr"`
	Also map[string]string `json:"also,omitempty"`
}

// AnnounceReady tells the parent, on the child's stdout, that the child serves at
// addr (host:port). It must be the first thing that the child writes there.
//
// also names further addresses, for Child.Also; nil if there are none.
func AnnounceReady(w io.Writer, addr string, also map[string]string) error {
	line, err := json.Marshal(readyMessage{Addr: addr, Also: also})
	if err != nil {
		return fmt.Errorf("announce %q: %w", addr, err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("announce %q: %w", addr, err)
	}
	return nil
}

// parseReady reads a ready line; unknown keys are ignored.
func parseReady(line []byte) (m readyMessage, err error) {
	if json.Unmarshal(line, &m) != nil || m.Addr == "" {
		return readyMessage{}, fmt.Errorf("%w: %.100q", ErrReadyLine, line)
	}
	return m, nil
}

type readyLine struct {
	message readyMessage
	err     error
}

// readyWriter takes the child's stdout: the first line is the ready line, what
// follows is thrown away, so that a talkative child never blocks. It never fails.
type readyWriter struct {
	line chan readyLine // receives exactly one value at most
	buf  []byte
	seen bool
}

func newReadyWriter() *readyWriter { return &readyWriter{line: make(chan readyLine, 1)} }

func (w *readyWriter) Write(p []byte) (int, error) {
	if w.seen {
		return len(p), nil
	}
	line, _, complete := bytes.Cut(p, []byte{'\n'})
	w.buf = append(w.buf, line[:min(len(line), maxReadyLineBytes)]...)
	if complete || len(w.buf) >= maxReadyLineBytes {
		message, err := parseReady(w.buf)
		w.line <- readyLine{message, err}
		w.seen, w.buf = true, nil
	}
	return len(p), nil
}

// tailWriter takes the child's stderr: it keeps the end and, once the child is
// ready, passes it on to log. Whoever never gets ready says why in the error of
// Start, and only there. It never fails.
type tailWriter struct {
	log     io.Writer
	mu      sync.Mutex
	buf     []byte
	passing bool
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pass(p)
	w.buf = append(w.buf, p[max(0, len(p)-maxTailBytes):]...)
	w.buf = w.buf[max(0, len(w.buf)-maxTailBytes):]
	return len(p), nil
}

// passOn passes on what was kept, and everything from now on.
func (w *tailWriter) passOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passing = true
	w.pass(w.buf)
}

func (w *tailWriter) pass(p []byte) {
	if w.passing && w.log != nil && len(p) > 0 {
		_, _ = w.log.Write(p) // see Spec.Log
	}
}

func (w *tailWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.buf)
}
