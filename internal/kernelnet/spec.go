// Package kernelnet is TCP by this machine's kernel over a network of our own:
// two network namespaces with a TUN device each, and a relay between the two
// that delays and loses packets. It is what the model of TCP in
// internal/netem is measured against.
//
// It needs Linux, the right to make network namespaces, and /dev/net/tun.
package kernelnet

import (
	"errors"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/netem"
)

// ErrUnsupported is wrapped by New where such a network cannot be made.
var ErrUnsupported = errors.New("no network namespaces with TUN devices here")

// DefaultCongestionControl is what Linux ships with, whatever this machine's
// administrator preferred.
const DefaultCongestionControl = "cubic"

// UnknownDrops is said where the kernel does not tell.
const UnknownDrops = -1

// Spec is a network. The zero value is one without delay and loss.
type Spec struct {
	RTTNs  int64                // the way there and back, half each
	Loss   netem.GilbertElliott // per packet of whatever kind; each direction has its own chain
	Jitter dist.Dist            // on top, drawn per packet and direction; packets of one connection keep their order
	Seed   uint64
	// Drop loses further packets, whatever is drawn; nil loses none. Each
	// direction calls it from a goroutine of its own, in the order of arrival.
	Drop func(toServer bool, packet []byte) bool
	// CongestionControl of all its sockets; "" is DefaultCongestionControl.
	CongestionControl string
}

// validate wraps netem.ErrConfig.
func (s *Spec) validate() error {
	path := netem.PathSpec{Name: "kernel", RTTNs: s.RTTNs, Loss: s.Loss}
	return path.Validate()
}

// Counts is what became of the packets of one direction. It balances:
// Packets = Lost + Delivered + SendFailed + Overflowed + Waiting.
type Counts struct {
	Packets    int64 // IPv4 packets taken from the sending side
	Lost       int64 // drawn
	Delivered  int64 // given to the receiving side
	SendFailed int64 // refused by the receiving side's kernel
	Overflowed int64 // no room under MaxWaiting
	Waiting    int64 // under way now

	Ignored     int64 // packets of other protocols; not among Packets
	DeviceDrops int64 // lost before they came here, the device's own queue being full; or UnknownDrops; not among Packets
	LateNs      int64 // sum over all delivered: how much later than drawn
}
