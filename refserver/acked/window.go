package acked

import "github.com/postbench/postbench/refserver/datagram"

const (
	// MaxInFlight is how many datagrams may be on their way at a time, whatever
	// the window says: half of what an ack speaks of, so that what was lost and
	// sent again is still on the sender's map.
	MaxInFlight = datagram.AckBits / 2
	// InitialWindowBytes holds until the first ack: half of what even an
	// untouched receive buffer of the kernel takes, 92 full datagrams.
	InitialWindowBytes = 46 * datagram.MaxBytes

	// minWindow is what an edge gets however many share the buffer, in datagrams.
	minWindow = 2
	// kernelBytes is what the kernel charges for a full datagram in a receive
	// buffer.
	kernelBytes = 2304
)

// WindowBytes is the window of each of so many edges that share a receive
// buffer, given in the kernel's bytes: together they fill half of it. The other
// half is for what a sender thinks lost while it is still in there.
func WindowBytes(receiveBufferBytes, edges int) uint32 {
	share := receiveBufferBytes / 2 / kernelBytes / max(edges, 1)
	return uint32(min(max(share, minWindow), MaxInFlight) * datagram.MaxBytes)
}
