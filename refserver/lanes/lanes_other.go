//go:build !linux

package lanes

import (
	"errors"
	"fmt"
)

func unsupported(operation string) error {
	return fmt.Errorf("lanes: %s: shared memory needs Linux; choose a variant without it: %w", operation, errors.ErrUnsupported)
}

// Lane cannot exist here.
type Lane struct{}

// OpenProducer returns an error that wraps errors.ErrUnsupported.
func OpenProducer(Options) (*Lane, error) { return nil, unsupported("open a lane") }

// TryPush returns an error that wraps errors.ErrUnsupported.
func (*Lane) TryPush([]byte) error { return unsupported("push") }

// Path is empty.
func (*Lane) Path() string { return "" }

// Close does nothing.
func (*Lane) Close() error { return nil }

// Dir cannot exist here.
type Dir struct{}

// OpenDir returns an error that wraps errors.ErrUnsupported.
func OpenDir(Options) (*Dir, error) { return nil, unsupported("open the lanes") }

// Visit finds nothing.
func (*Dir) Visit(int, func(Entry)) Stats { return Stats{} }

// Free does nothing.
func (*Dir) Free(int, uint64) {}

// Backlog is 0.
func (*Dir) Backlog() int64 { return 0 }

// Close does nothing.
func (*Dir) Close() error { return nil }

// Backlog returns an error that wraps errors.ErrUnsupported.
func Backlog(string) (int64, error) { return 0, unsupported("read the backlog") }
