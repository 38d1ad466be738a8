package pebbledb_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/storetest"
)

// BenchmarkCommitBatch commits new conversions with ids of the usual length in
// no order, one in fifty of them twice. Several callers share syncs.
func BenchmarkCommitBatch(b *testing.B) {
	for _, records := range []int{100, 256, 1_000} {
		for _, callers := range []int{1, 4} {
			b.Run("records="+strconv.Itoa(records)+"/callers="+strconv.Itoa(callers), func(b *testing.B) {
				benchmarkCommitBatch(b, records, callers)
			})
		}
	}
}

func benchmarkCommitBatch(b *testing.B, records, callers int) {
	s := fresh(b, 0)
	const clicks = 100_000
	load := make([]store.Click, clicks)
	for i := range load {
		load[i] = store.Click{ClickID: clickID(uint64(i)), OfferID: storetest.FreeOffer, ClickedUnixS: storetest.ClickedUnixS}
	}
	if _, err := s.LoadClicks(b.Context(), storetest.Rows(load, nil)); err != nil {
		b.Fatal(err)
	}
	txIDs := transactions(b.N * records)
	var taken atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			batch := make([]store.Conversion, records)
			outcomes := make([]store.Outcome, records)
			for {
				end := int(taken.Add(1)) * records
				if end > b.N*records {
					return
				}
				for i := range batch {
					n := end - records + i
					if i%50 == 49 {
						n--
					}
					batch[i] = store.Conversion{ClickID: load[mix(uint64(n))%clicks].ClickID, TxID: txIDs[n*txIDBytes:][:txIDBytes],
						ClaimedOfferID: storetest.FreeOffer, Event: postback.EventSale, Payout: 12_500_000,
						Currency: postback.Currency{'E', 'U', 'R'}, ReceivedUnixNs: storetest.ReceivedUnixNs}
				}
				if err := s.CommitBatch(batch, nil, outcomes); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wait.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*records)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(b.N*records)/(cpuTime(b)-before).Seconds(), "records/cpu-s")
}

const txIDBytes = 16

// transactions are n ids of txIDBytes, one after the other.
func transactions(n int) string {
	ids := make([]byte, 0, n*txIDBytes)
	for i := range n {
		ids = appendHex(ids, mix(uint64(i)))
	}
	return string(ids)
}

// cpuTime is what the process has used of all cores, flushes and compactions
// included: a figure that a busy machine spoils less than the time on the wall.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkCommit has many callers with one conversion each, who share syncs.
func BenchmarkCommit(b *testing.B) {
	s := fresh(b, 8)
	var next atomic.Uint64
	b.ReportAllocs()
	b.SetParallelism(256)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c := storetest.Sale("free-0", clickID(next.Add(1)))
			if _, err := s.Commit(b.Context(), &c); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// clickID is an id of 32 bytes; equal numbers make equal ids.
func clickID(n uint64) string {
	return string(appendHex(appendHex(nil, mix(n)), mix(n+1<<40)))
}

// mix scatters numbers (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func appendHex(dst []byte, x uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[x>>shift&15])
	}
	return dst
}
