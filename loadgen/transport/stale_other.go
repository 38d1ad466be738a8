//go:build !unix

package transport

import "net"

// stale cannot look without reading here; a closed connection is then found
// by the request's own error.
func stale(net.Conn) bool { return false }
