//go:build !linux

package kernelnet

import (
	"context"
	"fmt"
	"net"
)

// Link is a network with a client's and a server's end. Here there is none.
type Link struct{}

// New refuses: the error wraps ErrUnsupported.
func New(spec Spec) (*Link, error) {
	if err := spec.validate(); err != nil {
		return nil, fmt.Errorf("kernel network: %w", err)
	}
	return nil, fmt.Errorf("kernel network: %w: they need Linux", ErrUnsupported)
}

// Close does nothing.
func (*Link) Close() error { return nil }

// Counts is nothing.
func (*Link) Counts() (toServer, toClient Counts) { return Counts{}, Counts{} }

// Listen refuses.
func (*Link) Listen(uint16) (net.Listener, error) { return nil, ErrUnsupported }

// Dial refuses.
func (*Link) Dial(context.Context, uint16) (net.Conn, error) { return nil, ErrUnsupported }
