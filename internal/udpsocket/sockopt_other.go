//go:build !linux

package udpsocket

import (
	"errors"
	"fmt"
	"net"
	"runtime"
)

// growReceiveBuffer cannot ask what was granted; what was asked for is not
// refused at least.
func growReceiveBuffer(conn *net.UDPConn, wantBytes int) (grantedBytes int, err error) {
	// Systems that refuse what they will not grant get half of it at a time.
	for ; ; wantBytes /= 2 {
		if err = conn.SetReadBuffer(wantBytes); err == nil || wantBytes < 64<<10 {
			return wantBytes, err
		}
	}
}

func kernelDrops(*net.UDPConn) (int64, error) {
	return 0, fmt.Errorf("drops per socket are counted on Linux only, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
