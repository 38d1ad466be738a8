package netem

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/postbench/postbench/internal/udpsocket"
)

const (
	// MaxSenders is how many senders a relay knows at a time; beyond it, the one
	// that has been silent for longest is forgotten with its socket. What is
	// still on its way from or to it then counts as SendFailed.
	MaxSenders = 1024
	// answerBufferBytes is asked of the kernel for a sender's answers.
	answerBufferBytes = 4 << 20
)

var errForgotten = errors.New("netem: the relay has forgotten this sender")

// peer is a sender, as the other end knows it.
type peer struct {
	id     uint64
	addr   netip.AddrPort
	conn   *net.UDPConn // not connected: a closed port would come back as an error of a later, innocent datagram
	drops  *udpsocket.DropCounter
	lastly uint64 // rises with every datagram of any sender
}

// peers are the senders that a relay knows.
type peers struct {
	readers sync.WaitGroup // of answers

	mu     sync.Mutex // guards what follows
	byAddr map[netip.AddrPort]*peer
	byID   map[uint64]*peer
	lastID uint64
	turn   uint64
	closed int64 // kernel drops at sockets that are closed
}

func newPeers() *peers {
	return &peers{byAddr: make(map[netip.AddrPort]*peer), byID: make(map[uint64]*peer)}
}

// at is the sender at an address, known from now on.
func (ps *peers) at(addr netip.AddrPort) (p *peer, isNew bool, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.turn++
	if p = ps.byAddr[addr]; p != nil {
		p.lastly = ps.turn
		return p, false, nil
	}
	if len(ps.byAddr) == MaxSenders {
		ps.forget(ps.silent())
	}
	conn, _, err := udpsocket.Listen("127.0.0.1:0", answerBufferBytes)
	if err != nil {
		return nil, false, fmt.Errorf("open a socket for the sender at %s: %w", addr, err)
	}
	ps.lastID++
	p = &peer{id: ps.lastID, addr: addr, conn: conn, drops: udpsocket.CountDrops(conn), lastly: ps.turn}
	ps.byAddr[addr], ps.byID[p.id] = p, p
	return p, true, nil
}

// of is nil for a sender that is forgotten.
func (ps *peers) of(id uint64) *peer {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.byID[id]
}

// silent is who has been silent for longest.
func (ps *peers) silent() (oldest *peer) {
	for _, p := range ps.byAddr {
		if oldest == nil || p.lastly < oldest.lastly {
			oldest = p
		}
	}
	return oldest
}

func (ps *peers) forget(p *peer) {
	ps.closed = addDrops(ps.closed, p.drops.Load())
	_ = p.conn.Close()
	delete(ps.byAddr, p.addr)
	delete(ps.byID, p.id)
}

func (ps *peers) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.byAddr {
		ps.forget(p)
	}
}

func (ps *peers) kernelDrops() int64 {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	sum := ps.closed
	for _, p := range ps.byAddr {
		sum = addDrops(sum, p.drops.Load())
	}
	return sum
}

// addDrops adds counts of which one may be unknown.
func addDrops(a, b int64) int64 {
	if a == udpsocket.UnknownDrops || b == udpsocket.UnknownDrops {
		return udpsocket.UnknownDrops
	}
	return a + b
}
