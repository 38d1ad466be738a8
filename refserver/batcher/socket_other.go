//go:build !linux

package batcher

import (
	"errors"
	"fmt"
)

// dial is never reached here: there are no lanes either.
func dial(string) (socket, error) {
	return nil, fmt.Errorf("batcher: the path through shared memory needs Linux; choose another variant: %w", errors.ErrUnsupported)
}
