//go:build !linux && !darwin

package accesslog

import (
	"errors"
	"fmt"
	"os"
)

// OpenMapped returns an error that wraps errors.ErrUnsupported.
func OpenMapped(string, MappedOptions) (*Log, error) {
	return nil, fmt.Errorf("a mapped access log needs Linux or macOS; choose a variant with log json: %w", errors.ErrUnsupported)
}

// BeingWritten is false: there is no mapped log here.
func BeingWritten(*os.File) bool { return false }
