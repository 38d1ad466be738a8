//go:build !race

package acked

import (
	"testing"

	"github.com/postbench/postbench/refserver/datagram"
)

// exchange sends four datagrams and acks three of them: the fourth is sent
// again with the next ones.
func exchange(t testing.TB) (step func()) {
	p, record, nowNs := newPair(t, 0), make([]byte, 100), int64(0)
	return func() {
		nowNs += 10 * msNs
		for range 40 {
			if err := p.sender.Add(record, 1); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range p.sender.Step(nowNs, Event{}).Send {
			o, err := p.receiver.Step(nowNs, d)
			if err != nil {
				t.Fatal(err)
			}
			if ticket, _ := p.acker.Opened(&o, testAddr(1)); o.Seq%4 != 0 {
				p.acker.Committed(ticket)
			}
		}
		acks, _ := p.acker.Step(nowNs)
		for _, a := range acks {
			p.sender.Step(nowNs+msNs, Event{Kind: AckArrived, Ack: a.Bytes})
		}
	}
}

func TestStepsDoNotAllocate(t *testing.T) {
	step := exchange(t)
	for range 10 {
		step() // derives keys, grows buffers
	}
	if n := testing.AllocsPerRun(500, step); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkExchange is both ends at full load: a tick of 640 records, committed
// at once, acked by one ack.
func BenchmarkExchange(b *testing.B) {
	p, record, nowNs, records := newPair(b, 64), make([]byte, 112), int64(0), 0
	p.acker.windowBytes = MaxInFlight * datagram.MaxBytes
	b.ReportAllocs()
	for b.Loop() {
		nowNs += 10 * msNs
		for range min(640, p.sender.Room()) {
			if err := p.sender.Add(record, 1); err != nil {
				b.Fatal(err)
			}
			records++
		}
		for _, d := range p.sender.Step(nowNs, Event{}).Send {
			o, err := p.receiver.Step(nowNs, d)
			if err != nil {
				b.Fatal(err)
			}
			ticket, _ := p.acker.Opened(&o, testAddr(1))
			p.acker.Committed(ticket)
		}
		for _, a := range p.acker.Flush() {
			p.sender.Step(nowNs+msNs, Event{Kind: AckArrived, Ack: a.Bytes})
		}
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
