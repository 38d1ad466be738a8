package netem

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/udpsocket"
)

// maxDatagramBytes is more than IPv4 can carry: nothing is ever cut.
const maxDatagramBytes = 64 << 10

// Config is what a relay does. Only Forward is required, and of a Relay only:
// a Core has no address.
type Config struct {
	Forward    string // host:port on this machine's loopback, where datagrams go
	Seed       uint64
	Impairment Impairment
	// Drop lists datagrams that are lost, by the 1-based ordinal of their
	// arrival, whatever the seed says about them.
	Drop []uint64
	// DelayNs and Jitter are how long every delivery takes. Order is kept: one
	// that is drawn shorter waits for those before it.
	DelayNs int64
	Jitter  dist.Dist
	// Records counts the records in a datagram; nil counts none.
	Records func(datagram []byte) int
}

// Relay passes datagrams from its own address on 127.0.0.1 to another one, one
// way, and impairs them. Counts and Addr are safe for concurrent use.
type Relay struct {
	forward netip.AddrPort
	in, out *net.UDPConn
	drops   *udpsocket.DropCounter // at in
	start   time.Time

	mu     sync.Mutex // guards what follows
	core   *Core
	line   *delayLine
	failed Counts // only SendFailed… and Overflowed…
	clock  *clock // of a Run with a delay
	next   appointment
}

// NewRelay binds the relay's address. Datagrams wait in its socket until Run.
// A bad Config is refused with an error that wraps ErrConfig.
func NewRelay(config Config) (*Relay, error) {
	core, err := NewCore(config)
	if err != nil {
		return nil, err
	}
	line, err := newDelayLine(config)
	if err != nil {
		return nil, err
	}
	to, err := net.ResolveUDPAddr("udp4", config.Forward)
	if err != nil {
		return nil, fmt.Errorf("%w: forward to %q, expected host:port: %w", ErrConfig, config.Forward, err)
	}
	forward := to.AddrPort()
	if !forward.Addr().Unmap().IsLoopback() || forward.Port() == 0 {
		return nil, fmt.Errorf("%w: forward to %s, expected a port on the loopback such as 127.0.0.1:9000", ErrConfig, forward)
	}
	in, _, err := udpsocket.Listen("127.0.0.1:0", 0)
	if err != nil {
		return nil, fmt.Errorf("UDP relay: %w", err)
	}
	// A socket of its own, and not connected: a closed port at the other end
	// would come back as an error of a later, innocent datagram.
	out, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		_ = in.Close()
		return nil, fmt.Errorf("UDP relay: %w", err)
	}
	return &Relay{forward: forward, in: in, out: out, drops: udpsocket.CountDrops(in), start: time.Now(), core: core, line: line}, nil
}

// Addr is where the relay takes datagrams, as host:port.
func (r *Relay) Addr() string { return r.in.LocalAddr().String() }

// Close frees the sockets of a relay that was never run; Run does it itself.
func (r *Relay) Close() error { return errors.Join(r.in.Close(), r.out.Close()) }

// Counts is the ground truth so far.
func (r *Relay) Counts() Counts {
	drops := r.drops.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.core.Counts()
	counts.SendFailed, counts.SendFailedRecords = r.failed.SendFailed, r.failed.SendFailedRecords
	counts.Overflowed, counts.OverflowedRecords = r.failed.Overflowed, r.failed.OverflowedRecords
	counts.Delayed = int64(r.line.len())
	counts.Forwarded -= counts.SendFailed + counts.Overflowed + counts.Delayed
	counts.KernelDrops = drops
	return counts
}

// Run relays until ctx ends and then until the socket is quiet. What is held
// back or delayed goes out at the end, at once. It runs once, and closes the
// sockets.
func (r *Relay) Run(ctx context.Context) error {
	defer func() {
		r.drops.Load() // the last word before the socket is gone
		_ = r.Close()
	}()
	r.startDelay()
	defer r.endDelay()
	drain := udpsocket.NewDrain(ctx, r.in)
	defer drain.Stop()
	buffer := make([]byte, maxDatagramBytes)
	for {
		if err := drain.Await(r.deadline()); err != nil {
			return fmt.Errorf("UDP relay %s: %w", r.Addr(), err)
		}
		n, _, err := r.in.ReadFromUDPAddrPort(buffer)
		switch {
		case err == nil:
			r.step(func(nowNs int64) []Delivery { return r.core.Step(nowNs, buffer[:n]) })
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("UDP relay %s: %w", r.Addr(), err)
		case drain.Ending():
			r.step(func(int64) []Delivery { return r.core.Flush() })
			return nil
		default:
			r.step(r.core.Expire)
		}
	}
}

// deadline is when something held back is to go out; zero if nothing is.
func (r *Relay) deadline() time.Time {
	if ns, ok := r.core.Deadline(); ok { // without the lock: only Run's goroutine changes it
		return r.start.Add(time.Duration(ns))
	}
	return time.Time{}
}

// step lets the core decide and sends what it delivers, at once or delayed.
func (r *Relay) step(decide func(nowNs int64) []Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	nowNs := time.Since(r.start).Nanoseconds()
	for _, d := range decide(nowNs) {
		switch {
		case r.line.idle():
			r.send(d.Payload)
		case !r.line.push(nowNs, d.Payload):
			r.failed.Overflowed++
			r.failed.OverflowedRecords += int64(r.core.records(d.Payload))
		}
	}
	r.arm()
}

func (r *Relay) send(payload []byte) {
	if _, err := r.out.WriteToUDPAddrPort(payload, r.forward); err != nil {
		r.failed.SendFailed++
		r.failed.SendFailedRecords += int64(r.core.records(payload))
	}
}

// startDelay begins to send what was delayed for long enough, if anything is.
func (r *Relay) startDelay() {
	if r.line.idle() {
		return
	}
	r.next.call = func(nowNs int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sendArrived(nowNs)
		r.arm()
	}
	r.clock = newClock(r.start)
}

// endDelay sends what is still on its way.
func (r *Relay) endDelay() {
	if r.clock == nil {
		return
	}
	r.clock.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sendArrived(neverNs - 1)
}

func (r *Relay) sendArrived(nowNs int64) {
	for {
		payload, ok := r.line.pop(nowNs)
		if !ok {
			return
		}
		r.send(payload)
	}
}

func (r *Relay) arm() {
	if r.clock != nil {
		r.clock.schedule(&r.next, r.line.deadline())
	}
}
