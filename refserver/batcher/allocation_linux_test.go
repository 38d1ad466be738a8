//go:build !race

package batcher

import (
	"net/netip"
	"testing"

	"github.com/postbench/postbench/refserver/acked"
	"github.com/postbench/postbench/refserver/datagram"
)

// sendAllocations is what handing datagrams to the kernel costs: the function
// that package net calls, and what it captures.
const sendAllocations = 5

// A tick and its ack allocate a little that does not depend on how much is sent.
func TestAckedTickAllocations(t *testing.T) {
	listener, central := listen(t, "127.0.0.1:0"), newCentral(t)
	acker, err := acked.NewAcker([]datagram.Edge{testEdge()}, datagram.Boot{ID: 1, Salt: [16]byte{1}}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	config := testConfig(t)
	config.Collector, config.Acked, config.MaxDatagramsPerTick = listener.LocalAddr().String(), true, 0
	lane := newProducer(t, config.LaneDir)
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	record, buffer, left := recordOf(t, 1), make([]byte, datagram.MaxBytes), 0
	step := func() {
		for range 100 { // some ten datagrams
			if err := lane.TryPush(record); err != nil {
				t.Fatal(err)
			}
			left++
		}
		b.tick()
		for left > 0 {
			n, err := listener.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			o, err := central.Step(1, buffer[:n])
			if err != nil {
				t.Fatal(err)
			}
			ticket, _ := acker.Opened(&o, netip.AddrPort{})
			acker.Committed(ticket)
			left -= o.Count
		}
		for _, a := range acker.Flush() {
			b.takeAck(a.Bytes, nil)
		}
	}
	for range 10 {
		step() // derives keys, finds the lane, grows buffers
	}
	// A visit looks into the directory for new lanes: that is not the send path.
	visit := testing.AllocsPerRun(100, func() { b.lanes.Visit(0, b.add) })
	if n := testing.AllocsPerRun(100, step) - visit; n > sendAllocations {
		t.Errorf("%v allocations, at most %d are expected", n, sendAllocations)
	}
	if c := b.Counts(); c.ResentRecords != 0 || c.Acked != c.RecordsSent {
		t.Errorf("%+v", c)
	}
}
