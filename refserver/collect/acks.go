package collect

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/postbench/postbench/refserver/acked"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

// bootKey is where the collector's own boot id is in the store.
const bootKey = "collect/self"

// takeBoot gives this life of the collector its id, and returns when no later
// one can be given the same. The caller holds the store, so nobody else takes
// ids there.
func takeBoot(from Store, nowUnixNs int64) (uint64, error) {
	value, err := from.Value(bootKey)
	if err != nil {
		return 0, fmt.Errorf("read state %s: %w", bootKey, err)
	}
	var stored uint64
	switch {
	case value == nil:
	case len(value) != 8 || binary.LittleEndian.Uint64(value) == math.MaxUint64:
		return 0, fmt.Errorf("read state %s: %w", bootKey, datagram.ErrBadState)
	default:
		stored = binary.LittleEndian.Uint64(value)
	}
	boot := max(stored+1, uint64(max(nowUnixNs, 0)))
	state := pebbledb.KV{Key: bootKey, Value: binary.LittleEndian.AppendUint64(nil, boot)}
	if err := from.CommitBatch(nil, []pebbledb.KV{state}, nil); err != nil {
		return 0, fmt.Errorf("write state %s: %w", bootKey, err)
	}
	return boot, nil
}

func newSalt() (salt [16]byte) {
	_, _ = rand.Read(salt[:]) // never fails, see crypto/rand
	return salt
}

// acks tells the edges what is committed: the core behind a lock, and one
// goroutine that sends.
type acks struct {
	conn    *net.UDPConn
	started time.Time // of the core's clock
	news    chan struct{}
	sent    *counters

	mu   sync.Mutex
	core *acked.Acker
}

func newAcks(config *Config, conn *net.UDPConn, receiveBufferBytes int, sent *counters) (*acks, error) {
	boot, err := takeBoot(config.Store, config.Now().UnixNano())
	if err != nil {
		return nil, err
	}
	window := acked.WindowBytes(receiveBufferBytes, len(edgeIDs(config.Edges)))
	core, err := acked.NewAcker(config.Edges, datagram.Boot{ID: boot, Salt: config.Salt}, window)
	if err != nil {
		return nil, err
	}
	return &acks{conn: conn, started: time.Now(), news: make(chan struct{}, 1), sent: sent, core: core}, nil
}

// opened adds the ticket of a datagram that wants an ack.
func (a *acks) opened(tickets []acked.Ticket, o *datagram.Opened, m *ipv4.Message) []acked.Ticket {
	if !o.WantsAck {
		return tickets
	}
	at := m.Addr.(*net.UDPAddr).AddrPort() // which is what a UDP socket tells
	a.mu.Lock()
	defer a.mu.Unlock()
	// IPv4 may be written as IPv6, to which no socket of IPv4 sends.
	if ticket, wanted := a.core.Opened(o, netip.AddrPortFrom(at.Addr().Unmap(), at.Port())); wanted {
		tickets = append(tickets, ticket)
	}
	return tickets
}

// replayed has the last ack of an edge sent again, if a refusal is one that
// its sender waits for an answer to.
func (a *acks) replayed(o *datagram.Opened) {
	if !o.WantsAck {
		return
	}
	a.mu.Lock()
	a.core.Replayed(o)
	a.mu.Unlock()
	a.wake()
}

// committed acks datagrams: all of their records are synced.
func (a *acks) committed(tickets []acked.Ticket) {
	if len(tickets) == 0 {
		return
	}
	a.mu.Lock()
	for _, ticket := range tickets {
		a.core.Committed(ticket)
	}
	a.mu.Unlock()
	a.wake()
}

func (a *acks) wake() {
	select {
	case a.news <- struct{}{}:
	default: // it will look anyhow
	}
}

// run sends until ended is closed, then what is left.
func (a *acks) run(ended <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-a.news:
		case <-timer.C:
		case <-ended:
			a.mu.Lock()
			left := a.core.Flush()
			a.mu.Unlock()
			a.send(left)
			return
		}
		nowNs := time.Since(a.started).Nanoseconds()
		a.mu.Lock()
		due, nextNs := a.core.Step(nowNs)
		a.mu.Unlock()
		a.send(due) // the bytes are ours until the next Step
		if nextNs != acked.NeverNs {
			timer.Reset(time.Duration(nextNs - nowNs))
		}
	}
}

func (a *acks) send(due []acked.Addressed) {
	for _, ack := range due {
		if _, err := a.conn.WriteToUDPAddrPort(ack.Bytes, ack.To); err != nil {
			a.sent.ackErrors.Add(1) // as if it were lost on its way
			continue
		}
		a.sent.acks.Add(1)
	}
}
