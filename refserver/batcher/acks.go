package batcher

import (
	"errors"
	"maps"
	"net"
	"time"

	"github.com/postbench/postbench/refserver/acked"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/lanes/consumer"
)

// errPortClosed says that nobody listened where an earlier datagram came to.
var errPortClosed = errors.New("batcher: nobody listens at the collector's port")

// AckCounts are what an acked uplink has besides; all zero without.
type AckCounts struct {
	Acked int64 `json:"acked,omitempty"` // records that central has committed
	// ResentRecords are further sendings of records, ResentBytes their bytes
	// with the lengths in front. ResentDatagrams carried one of them at least.
	ResentRecords   int64            `json:"resent_records,omitempty"`
	ResentDatagrams int64            `json:"resent_datagrams,omitempty"`
	ResentBytes     int64            `json:"resent_bytes,omitempty"`
	Probes          int64            `json:"probes,omitempty"`       // datagrams without a record
	Acks            int64            `json:"acks,omitempty"`         // authentic ones
	AcksRefused     map[string]int64 `json:"acks_refused,omitempty"` // by datagram.Reason
	AckErrors       int64            `json:"ack_errors,omitempty"`   // what the kernel said instead of an ack
	InFlight        int64            `json:"in_flight,omitempty"`    // datagrams that are waited for
	RTTUs           int64            `json:"rtt_us,omitempty"`       // from sending to the ack, smoothed
}

func (b *Batcher) countAcked(c *Counts) {
	sent := b.sender.Counts()
	c.RecordsSent, c.DatagramsSent, c.BytesSent = sent.Records, sent.Datagrams, sent.Bytes
	c.AckCounts = AckCounts{
		Acked: sent.Acked, ResentRecords: sent.ResentRecords, ResentDatagrams: sent.ResentDatagrams,
		ResentBytes: sent.ResentBytes, Probes: sent.Probes, Acks: sent.Acks, AcksRefused: maps.Clone(sent.AcksRefused),
		AckErrors: b.ackErrors, InFlight: int64(b.sender.InFlight()),
		RTTUs: time.Duration(b.sender.SmoothedRTTNs()).Microseconds(),
	}
}

// nowNs is the sender's clock.
func (b *Batcher) nowNs() int64 { return time.Since(b.started).Nanoseconds() }

// act does what the sender wants.
func (b *Batcher) act(a acked.Actions[consumer.Slot]) {
	b.lanes.Free(a.Free)
	if len(a.Send) == 0 {
		return
	}
	if taken := b.send(a.Send); taken < len(a.Send) {
		b.sender.Unsent(len(a.Send) - taken)
	}
}

// readAcks takes acks until the socket is closed.
func (b *Batcher) readAcks() {
	buffer := make([]byte, datagram.MaxBytes+1) // a longer one is seen to be too long
	for {
		n, err := b.socket.receive(buffer)
		if errors.Is(err, net.ErrClosed) || !b.takeAck(buffer[:n], err) {
			return
		}
	}
}

// takeAck is false when the batcher is closed.
func (b *Batcher) takeAck(ack []byte, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return false
	case errors.Is(err, errPortClosed):
		b.portClosed++
	case err != nil: // an ICMP message; the tick goes on, and so do we
		b.ackErrors++
		b.ackTrouble.Note(b.log, err)
	default:
		b.ackTrouble.Note(b.log, nil)
		b.act(b.sender.Step(b.nowNs(), acked.Event{Kind: acked.AckArrived, Ack: ack}))
	}
	return true
}
