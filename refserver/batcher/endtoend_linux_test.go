package batcher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/collect"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/lanes/consumer"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

// recordOf is the n-th record, as an edge makes it.
func recordOf(t testing.TB, n int) []byte {
	t.Helper()
	record, err := postback.AppendRecord(nil, &postback.Record{
		ClickID: fmt.Appendf(nil, "click-%08d", n), TxID: fmt.Appendf(nil, "tx-%08d", n), OfferID: []byte("offer-1"),
		KID: []byte("k1"), Event: postback.EventSale, Payout: 2_500_000, Currency: postback.Currency{'E', 'U', 'R'},
		ReceivedUnixNs: time.Now().UnixNano(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// part is something that runs until it is stopped.
type part struct {
	cancel context.CancelFunc
	ended  chan error
}

func start(t testing.TB, run func(context.Context) error) part {
	ctx, cancel := context.WithCancel(t.Context())
	p := part{cancel, make(chan error, 1)}
	go func() { p.ended <- run(ctx) }()
	t.Cleanup(cancel)
	return p
}

func (p part) stop() error {
	p.cancel()
	return <-p.ended
}

// path is an edge's lane, its batcher, a bad network and central, all real.
type path struct {
	t         testing.TB
	config    Config
	store     *pebbledb.Store
	collector *collect.Collector
	relay     *netem.Relay
	lane      *lanes.Lane

	collecting, relaying, sending part
	batcher                       *Batcher
	pushed                        int
	tookNs                        []int64 // from the lane to the ledger, sorted, after check
}

func newPath(t testing.TB, impairment netem.Impairment, delay time.Duration) *path {
	t.Helper()
	p := &path{t: t, config: testConfig(t)}
	s, err := pebbledb.Open(t.Context(), pebbledb.Options{Dir: t.TempDir(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	p.store = s
	t.Cleanup(func() { _ = s.Close() })
	p.collect("127.0.0.1:0")
	p.relay, err = netem.NewRelay(netem.Config{
		Forward: p.collector.UDPAddr(), Seed: 7, Impairment: impairment, Back: impairment, DelayNs: delay.Nanoseconds(),
		Records: datagram.RecordCount,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.relaying = start(t, p.relay.Run)
	p.config.Acked, p.config.Collector, p.config.MaxDatagramsPerTick = true, p.relay.Addr(), 0
	if p.lane, err = lanes.OpenProducer(lanes.Options{Dir: p.config.LaneDir, Slots: 1 << 14}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.lane.Close() })
	p.send((*Batcher).Run)
	return p
}

func (p *path) collect(addr string) {
	p.t.Helper()
	c, err := collect.New(p.t.Context(), collect.Config{
		UDPAddr: addr, Edges: []datagram.Edge{testEdge()}, Store: p.store, Now: time.Now,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.collector, p.collecting = c, start(p.t, c.Run)
}

// untilKilled is Run without an end: what is not acked by then stays.
func untilKilled(b *Batcher, ctx context.Context) error {
	var acks sync.WaitGroup
	acks.Go(b.readAcks)
	for ticks := time.Tick(consumer.DefaultEvery); ctx.Err() == nil; <-ticks {
		b.tick()
	}
	err := b.Close()
	acks.Wait()
	return err
}

func (p *path) send(run func(*Batcher, context.Context) error) {
	p.t.Helper()
	p.config.Salt[0]++
	b, err := New(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.batcher, p.sending = b, start(p.t, func(ctx context.Context) error { return run(b, ctx) })
}

// push puts n records into the lane, over so long.
func (p *path) push(n int, over time.Duration) {
	p.t.Helper()
	begin := time.Now()
	for i := range n {
		// The lane is filled at the pace of an edge, not in one burst.
		time.Sleep(time.Until(begin.Add(over * time.Duration(i) / time.Duration(n))))
		if err := p.lane.TryPush(recordOf(p.t, p.pushed)); err != nil {
			p.t.Fatal(err)
		}
		p.pushed++
	}
}

// drained waits until the lanes are empty.
func (p *path) drained() {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if p.batcher.Counts().Backlog == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not drained: %+v\n%+v\n%+v\n%+v", p.batcher.Counts(), p.collector.Counts(), p.relay.Counts(), p.relay.BackCounts())
		}
		time.Sleep(time.Millisecond) // polls what goroutines with real sockets do
	}
}

// check stops everything and holds the ledger against what was pushed.
func (p *path) check() (last Counts) {
	p.t.Helper()
	p.drained()
	for name, part := range map[string]part{"batcher": p.sending, "collector": p.collecting, "relay": p.relaying} {
		if err := part.stop(); err != nil {
			p.t.Errorf("%s: %v", name, err)
		}
	}
	rows := make(map[string]int)
	err := p.store.EachRow(p.t.Context(), func(row store.Row) error {
		rows[row.ClickID]++
		p.tookNs = append(p.tookNs, row.RecordedUnixNs-row.ReceivedUnixNs)
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	slices.Sort(p.tookNs)
	most := 0
	if len(rows) > 0 {
		most = slices.Max(slices.Collect(maps.Values(rows)))
	}
	if len(rows) != p.pushed || most != 1 {
		p.t.Errorf("%d rows of %d records, at most %d of one", len(rows), p.pushed, most)
	}
	return p.batcher.Counts()
}

// report tells what it cost, after check.
func (p *path) report() {
	c := p.batcher.Counts()
	percentile := func(share float64) float64 { return float64(p.tookNs[int(share*float64(len(p.tookNs)-1))]) / 1e6 }
	p.t.Logf("%d records in %d datagrams of %d bytes; sent again: %d records, %.1f %% of the bytes; %d probes; "+
		"%d acks, rtt %d µs; lane to ledger p50 %.1f ms, p99 %.1f ms, most %.1f ms; %d duplicates at central",
		c.RecordsSent, c.DatagramsSent, c.BytesSent, c.ResentRecords, 100*float64(c.ResentBytes)/float64(c.BytesSent), c.Probes,
		p.collector.Counts().AcksSent, c.RTTUs, percentile(0.5), percentile(0.99), percentile(1), p.collector.Counts().Duplicates)
}

// 0 lost and 0 double on real sockets, whatever is lost, doubled and reordered
// on both ways; and what that costs.
func TestNothingIsLostOnTheWay(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.1, 0.3} {
		t.Run(fmt.Sprintf("loss %g", loss), func(t *testing.T) {
			p := newPath(t, netem.Impairment{Loss: loss, Duplicate: 0.5, Reorder: 0.2, Corrupt: 0.01}, 0)
			p.push(4000, time.Second)
			c := p.check()
			central, ahead, back := p.collector.Counts(), p.relay.Counts(), p.relay.BackCounts()
			if c.Acked != 4000 || c.RecordsSent != 4000 || ahead.Duplicated == 0 || ahead.Reordered == 0 || back.Reordered == 0 ||
				central.Refused["replay"] == 0 || loss >= 0.1 && (c.ResentRecords == 0 || ahead.Dropped == 0 || back.Dropped == 0) {
				t.Errorf("%+v\n%+v\n%+v\n%+v", c, central, ahead, back)
			}
			p.report()
		})
	}
}

// Both ends are stopped and started again in the middle: the same.
func TestNothingIsLostAcrossRestarts(t *testing.T) {
	p := newPath(t, netem.Impairment{Loss: 0.1, Duplicate: 0.5, Reorder: 0.2}, 2*time.Millisecond)
	addr := p.collector.UDPAddr()
	stop := func(s part) {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
	stop(p.sending)
	p.send(untilKilled)
	for range 3 {
		p.push(300, 100*time.Millisecond)
		stop(p.collecting)
		p.push(300, 100*time.Millisecond)
		stop(p.sending)
		p.push(300, 50*time.Millisecond)
		p.send(untilKilled)
		p.collect(addr)
	}
	p.check()
}

// BenchmarkAcked is the goodput from a full lane to the ledger, acks included,
// everything in one process.
func BenchmarkAcked(b *testing.B) {
	for _, loss := range []float64{0, 0.01, 0.1, 0.3} {
		b.Run(fmt.Sprintf("loss=%g", loss), func(b *testing.B) {
			p := newPath(b, netem.Impairment{Loss: loss}, 0)
			record := recordOf(b, 0)
			b.ReportAllocs()
			b.ResetTimer()
			for p.pushed < b.N {
				record = recordOf(b, p.pushed)
				for err := p.lane.TryPush(record); err != nil; err = p.lane.TryPush(record) {
					time.Sleep(time.Millisecond) // the lane is full: that is the measured rate
				}
				p.pushed++
			}
			p.drained()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			c := p.check()
			b.ReportMetric(float64(c.BytesSent)/float64(c.BytesSent-c.ResentBytes), "bytes/needed")
			b.ReportMetric(float64(p.collector.Counts().KernelDrops), "kernel-drops")
		})
	}
}
