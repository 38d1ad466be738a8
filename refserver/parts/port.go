package parts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/postbench/postbench/internal/proc"
)

// maxPortTries limits how often a program is started again because somebody else
// has taken its port meanwhile.
const maxPortTries = 5

// FreePort is an address, "127.0.0.1:PORT", that nobody listens on now, for
// programs that cannot be given a listener. Somebody else may take it before the
// program does: then start that with another one, as PortTaken tells.
func FreePort(ctx context.Context) (address string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	address = listener.Addr().String()
	if err := listener.Close(); err != nil {
		return "", fmt.Errorf("release the free port %s: %w", address, err)
	}
	return address, nil
}

// PortTaken says whether a program may have failed to start, with that error,
// because somebody listens on one of its addresses ("127.0.0.1:PORT").
func PortTaken(ctx context.Context, startError error, addresses ...string) bool {
	if !errors.Is(startError, proc.ErrExitedEarly) {
		return false
	}
	for _, address := range addresses {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return true
		}
		_ = listener.Close()
	}
	return false
}

// port is the number behind the last colon.
func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
