package collect

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store"
)

// benchClicks is how many clicks are loaded; every record has one of them and
// a txid of its own.
const benchClicks = 100_000

// maxUncommitted paces the sender, in records: far less than the socket holds.
const maxUncommitted = 20_000

// source makes datagrams as full as a batcher makes them.
type source struct {
	sealer  *datagram.Sealer
	seq     uint64
	next    int // record
	record  []byte
	body    []byte
	sealed  []byte
	records int // in sealed
}

func newSource(b *testing.B) *source {
	b.Helper()
	sealer, err := datagram.NewSealer(testEdge(1), testBoot(1))
	if err != nil {
		b.Fatal(err)
	}
	return &source{sealer: sealer}
}

func benchClickID(n int) []byte { return fmt.Appendf(nil, "clk-%018d", n) }

func (s *source) encode(b *testing.B) {
	var err error
	s.record, err = postback.AppendRecord(s.record[:0], &postback.Record{
		ClickID: benchClickID(s.next * 7919 % benchClicks), TxID: fmt.Appendf(nil, "tx-%012d", s.next),
		OfferID: []byte("offer-17"), KID: []byte("k1"), Event: postback.EventSale, Payout: 2_500_000,
		Currency: postback.Currency{'E', 'U', 'R'}, ReceivedUnixNs: 1_700_000_000_000_000_000,
	})
	if err != nil {
		b.Fatal(err)
	}
}

// fill seals the next datagram, of at most so many records.
func (s *source) fill(b *testing.B, most int) []byte {
	s.body, s.records = s.body[:0], 0
	for s.records < most {
		s.encode(b)
		if !datagram.Room(len(s.body), len(s.record)) {
			break
		}
		s.body = datagram.AppendFrame(s.body, s.record)
		s.records++
		s.next++
	}
	s.seq++
	s.sealed = s.sealer.Seal(s.sealed[:0], s.seq, s.records, s.body)
	return s.sealed
}

func benchCollector(b *testing.B) *Collector {
	b.Helper()
	s := openPebble(b, b.TempDir())
	b.Cleanup(func() { closePebble(b, s) })
	_, err := s.LoadOffers(b.Context(), func(yield func(store.Offer, error) bool) {
		yield(store.Offer{OfferID: "offer-17", Cap: 1 << 40, Payout: 2_500_000, Currency: postback.Currency{'E', 'U', 'R'}}, nil)
	})
	if err != nil {
		b.Fatal(err)
	}
	_, err = s.LoadClicks(b.Context(), func(yield func(store.Click, error) bool) {
		for n := range benchClicks {
			if !yield(store.Click{ClickID: string(benchClickID(n)), OfferID: "offer-17", ClickedUnixS: 1_699_999_999}, nil) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(b.Context(), Config{
		UDPAddr: "127.0.0.1:0", Edges: []datagram.Edge{testEdge(1)}, Store: s, Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// report tells the rate on the wall, and per second that the process used of
// any core, compactions and the sender included: a busy machine spoils that less.
func report(b *testing.B, cpuBefore time.Duration) {
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(b.N)/(cpuTime(b)-cpuBefore).Seconds(), "records/cpu-s")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkRun is one record from an edge's socket into the synced ledger, the
// sender (who seals, too) beside it on the same machine.
func BenchmarkRun(b *testing.B) {
	c := benchCollector(b)
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	conn, err := net.DialUDP("udp4", nil, c.conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	s := newSource(b)
	uncommitted := func() int64 { return int64(s.next) - c.counts.committed.Load() }
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	for s.next < b.N {
		if _, err := conn.Write(s.fill(b, b.N-s.next)); err != nil {
			b.Fatal(err)
		}
		for uncommitted() > maxUncommitted {
			time.Sleep(100 * time.Microsecond) // a batcher has its 10 ms; spinning would take the core that commits
		}
	}
	for deadline := time.Now().Add(patience); uncommitted() > 0 && time.Now().Before(deadline); {
		time.Sleep(100 * time.Microsecond) // the last commits; far less than the rounding of the result
	}
	report(b, before)
	b.ReportMetric(float64(b.N)/float64(max(s.seq, 1)), "records/datagram")
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if counts := c.Counts(); counts.Committed != int64(b.N) || counts.KernelDrops > 0 || counts.Duplicates != 0 {
		b.Errorf("%d sent, %+v", b.N, counts)
	}
}

// BenchmarkStepAndCommit is the same without the network: datagrams of memory,
// sealed outside the measured time, in the batches that Run makes at full load.
func BenchmarkStepAndCommit(b *testing.B) {
	c := benchCollector(b)
	s, l, batch := newSource(b), newLane(0), newBatch()
	var sealed [maxDatagrams][]byte
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	for s.next < b.N {
		b.StopTimer()
		n := 0
		for ; n < maxDatagrams && s.next < b.N; n++ {
			sealed[n] = append(sealed[n][:0], s.fill(b, b.N-s.next)...)
		}
		b.StartTimer()
		c.mu.Lock()
		for _, d := range sealed[:n] {
			opened, err := c.receiver.Step(1, d)
			if err != nil {
				b.Fatal(err)
			}
			for frames := datagram.Frames(opened.Body); frames.Next(); {
				if err := batch.add(frames.Record()); err != nil {
					b.Fatal(err)
				}
			}
		}
		batch.boots = c.receiver.States()
		c.mu.Unlock()
		if err := c.commit(b.Context(), batch, l); err != nil {
			b.Fatal(err)
		}
		batch.reset()
	}
	report(b, before)
}
