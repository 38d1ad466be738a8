package netem

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
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
	// Back is what happens to the datagrams that Forward answers with. A Core
	// has no way back.
	Back Impairment
	// Drop lists datagrams that are lost, by the 1-based ordinal of their
	// arrival, whatever the seed says about them.
	Drop []uint64
	// DelayNs and Jitter are how long every delivery takes, either way. Order is
	// kept: one that is drawn shorter waits for those before it.
	DelayNs int64
	Jitter  dist.Dist
	// Records counts the records in a datagram; nil counts none.
	Records func(datagram []byte) int
}

// Relay passes datagrams from its own address on 127.0.0.1 to another one, and
// what comes back to who it is for, and impairs both. To the other end every
// sender is an address of its own. Counts, BackCounts and Addr are safe for
// concurrent use.
type Relay struct {
	forward netip.AddrPort
	in      *net.UDPConn
	drops   *udpsocket.DropCounter // at in
	start   time.Time
	ahead   *way
	back    *way
	peers   *peers
}

// NewRelay binds the relay's address. Datagrams wait in its socket until Run.
// A bad Config is refused with an error that wraps ErrConfig.
func NewRelay(config Config) (*Relay, error) {
	backward := config
	backward.Impairment, backward.Drop = config.Back, nil
	r := &Relay{start: time.Now(), peers: newPeers()}
	var err error
	if r.ahead, err = newWay(config, udpStream, r.start); err != nil {
		return nil, err
	}
	if r.back, err = newWay(backward, udpBackStream, r.start); err != nil {
		return nil, fmt.Errorf("way back: %w", err)
	}
	r.ahead.write, r.back.write = r.sendAhead, r.sendBack
	to, err := net.ResolveUDPAddr("udp4", config.Forward)
	if err != nil {
		return nil, fmt.Errorf("%w: forward to %q, expected host:port: %w", ErrConfig, config.Forward, err)
	}
	r.forward = unmapped(to.AddrPort())
	if !r.forward.Addr().IsLoopback() || r.forward.Port() == 0 {
		return nil, fmt.Errorf("%w: forward to %s, expected a port on the loopback such as 127.0.0.1:9000", ErrConfig, r.forward)
	}
	if r.in, _, err = udpsocket.Listen("127.0.0.1:0", 0); err != nil {
		return nil, fmt.Errorf("UDP relay: %w", err)
	}
	r.drops = udpsocket.CountDrops(r.in)
	return r, nil
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Addr is where the relay takes datagrams, as host:port.
func (r *Relay) Addr() string { return r.in.LocalAddr().String() }

// Close frees the socket of a relay that was never run; Run does it itself.
func (r *Relay) Close() error { return r.in.Close() }

// Counts is the ground truth so far of the way to Forward.
func (r *Relay) Counts() Counts {
	drops := r.drops.Load()
	counts := r.ahead.counts()
	counts.KernelDrops = drops
	return counts
}

// BackCounts is the ground truth so far of the way back to the senders.
func (r *Relay) BackCounts() Counts {
	counts := r.back.counts()
	counts.KernelDrops = r.peers.kernelDrops()
	return counts
}

// Run relays until ctx ends and then until the sockets are quiet. What is held
// back or delayed goes out at the end, at once. It runs once, and closes the
// sockets.
func (r *Relay) Run(ctx context.Context) error {
	clock := newClock(r.start)
	r.ahead.run(clock)
	r.back.run(clock)
	// Answers may come until all datagrams are out.
	answers, end := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		clock.stop()
		r.ahead.finish()
		end()
		r.peers.readers.Wait()
		r.back.finish()
		r.peers.close()
		r.drops.Load() // the last word before the socket is gone
		_ = r.Close()
	}()
	drain := udpsocket.NewDrain(ctx, r.in)
	defer drain.Stop()
	buffer := make([]byte, maxDatagramBytes)
	for {
		if err := drain.Await(time.Time{}); err != nil {
			return fmt.Errorf("UDP relay %s: %w", r.Addr(), err)
		}
		n, from, err := r.in.ReadFromUDPAddrPort(buffer)
		switch {
		case err == nil:
			p, err := r.peerAt(answers, unmapped(from))
			if err != nil {
				return fmt.Errorf("UDP relay %s: %w", r.Addr(), err)
			}
			r.ahead.take(p.id, buffer[:n])
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("UDP relay %s: %w", r.Addr(), err)
		case drain.Ending():
			return nil
		}
	}
}

// peerAt is the sender at an address; a new one's answers are read from now on.
func (r *Relay) peerAt(answers context.Context, from netip.AddrPort) (*peer, error) {
	p, isNew, err := r.peers.at(from)
	if isNew {
		r.peers.readers.Go(func() { r.readAnswers(answers, p) })
	}
	return p, err
}

// readAnswers takes what Forward sends to a sender, until ctx ends and all is
// read, or the sender is forgotten.
func (r *Relay) readAnswers(ctx context.Context, p *peer) {
	drain := udpsocket.NewDrain(ctx, p.conn)
	defer drain.Stop()
	buffer := make([]byte, maxDatagramBytes)
	for drain.Await(time.Time{}) == nil {
		n, from, err := p.conn.ReadFromUDPAddrPort(buffer)
		switch {
		case err == nil && unmapped(from) == r.forward:
			r.back.take(p.id, buffer[:n])
		case err == nil:
			r.back.stranger()
		case !errors.Is(err, os.ErrDeadlineExceeded), drain.Ending():
			return
		}
	}
}

// sendAhead sends a sender's datagram from the socket that is its own.
func (r *Relay) sendAhead(id uint64, payload []byte) error {
	p := r.peers.of(id)
	if p == nil {
		return errForgotten
	}
	_, err := p.conn.WriteToUDPAddrPort(payload, r.forward)
	return err
}

func (r *Relay) sendBack(id uint64, payload []byte) error {
	p := r.peers.of(id)
	if p == nil {
		return errForgotten
	}
	_, err := r.in.WriteToUDPAddrPort(payload, p.addr)
	return err
}
