package batcher

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/refserver/acked"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/lanes/consumer"
)

// newAcked is a batcher of an acked uplink, with a central that commits at once
// where commits says so.
func newAcked(t *testing.T, commits func(seq uint64) bool) (*Batcher, *fakeLanes, *fakeSocket) {
	t.Helper()
	config := testConfig(t)
	config.Acked = true
	b, dir, udp := newFakeOf(t, config)
	central, err := acked.NewAcker([]datagram.Edge{testEdge()}, datagram.Boot{ID: 1, Salt: [16]byte{1}}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	udp.opened = func(o *datagram.Opened) {
		ticket, wanted := central.Opened(o, netip.AddrPort{})
		if !wanted {
			t.Errorf("datagram %d wants no ack", o.Seq)
		}
		if commits(o.Seq) {
			central.Committed(ticket)
		}
		for _, a := range central.Flush() {
			udp.acks <- arrival{ack: slices.Clone(a.Bytes)}
		}
	}
	return b, dir, udp
}

// run starts the batcher; stop waits for its end.
func run(t *testing.T, b *Batcher) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

// Only an ack frees a slot; what is not acked is sent again under another number.
func TestSlotsAreFreedByAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir, udp := newAcked(t, func(seq uint64) bool { return seq != 2 })
		want := numbered(0, 6) // three datagrams
		dir.push(want...)
		b.tick()
		if len(dir.freed) != 0 || len(udp.acks) != 2 {
			t.Errorf("%d freed, %d acks", len(dir.freed), len(udp.acks))
		}
		stop := run(t, b)
		time.Sleep(time.Millisecond) // virtual time
		synctest.Wait()
		c := b.Counts()
		b.mu.Lock()
		if len(dir.freed) != 4 || dir.freed[2] || dir.freed[3] || c.Acked != 4 || c.Backlog != 2 || c.InFlight != 1 {
			t.Errorf("freed %v, %+v", dir.freed, c)
		}
		b.mu.Unlock()
		time.Sleep(time.Second) // virtual time
		synctest.Wait()
		if err := stop(); err != nil || !dir.closed || !udp.closed {
			t.Error(err)
		}
		c = b.Counts()
		if !slices.Equal(udp.seqs, []uint64{1, 2, 3, 4}) || c.Acked != 6 || c.ResentDatagrams != 1 || c.ResentRecords != 2 ||
			c.ResentBytes != 2*402 || c.RecordsSent != 6 || c.DatagramsSent != 4 || c.Backlog != 0 || c.InFlight != 0 {
			t.Errorf("sent %v, %+v", udp.seqs, c)
		}
	})
}

// The end waits for acks, but not for ever; the next life sends again.
func TestDrainWaitsForAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir, udp := newAcked(t, func(uint64) bool { return false })
		dir.push("a record")
		start := time.Now()
		if err := run(t, b)(); !errors.Is(err, ErrNotDrained) {
			t.Error(err)
		}
		c := b.Counts()
		if took := time.Since(start); took != consumer.DrainLimit || c.Backlog != 1 || len(dir.freed) != 0 || len(udp.records) < 3 {
			t.Errorf("gave up after %v, %d sent, %+v", took, len(udp.records), c)
		}
	})
}

// A kernel that takes nothing delays, and everything leaves once it does.
func TestUnsentAreSentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir, udp := newAcked(t, func(uint64) bool { return true })
		dir.push(numbered(0, 6)...)
		udp.room = 1
		b.tick()
		udp.room = 0
		b.tick()
		if c := b.Counts(); c.RecordsSent != 2 || c.DatagramsSent != 1 || c.SendErrors != 2 || c.InFlight != 1 || c.ResentRecords != 0 {
			t.Errorf("%+v", c)
		}
		udp.room = 1 << 20
		if err := run(t, b)(); err != nil || len(dir.freed) != 6 {
			t.Errorf("%v, %d freed", err, len(dir.freed))
		}
		if c := b.Counts(); c.RecordsSent != 6 || c.DatagramsSent != 3 || c.ResentRecords != 0 || c.Acked != 6 {
			t.Errorf("%+v", c)
		}
	})
}

// What is no ack is counted and frees nothing.
func TestBadAcksAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir, udp := newAcked(t, func(uint64) bool { return false })
		forger, err := datagram.NewAckSealer(datagram.Edge{ID: 4, KeyID: 1, PSK: [32]byte{5}},
			datagram.Boot{ID: b.boot, Salt: [16]byte{9}}, datagram.Boot{ID: 9, Salt: [16]byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		forged := datagram.Ack{Counter: 1, HighestSeq: 1}
		forged.Committed[0] = 1
		dir.push("a record")
		b.tick()
		stop := run(t, b)
		for _, a := range []arrival{
			{ack: nil}, {ack: forger.AppendAck(nil, &forged)}, {err: errPortClosed}, {err: fmt.Errorf("no route to host")},
		} {
			udp.acks <- a
			synctest.Wait()
		}
		c := b.Counts()
		b.mu.Lock()
		if len(dir.freed) != 0 || c.AcksRefused["short"] != 1 || c.AcksRefused["forged"] != 1 || c.PortClosed != 1 || c.AckErrors != 1 {
			t.Errorf("%d freed, %+v", len(dir.freed), c)
		}
		b.mu.Unlock()
		if err := stop(); !errors.Is(err, ErrNotDrained) {
			t.Error(err)
		}
	})
}
