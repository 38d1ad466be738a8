package shm

import (
	"runtime"
	"testing"
)

// A record's whole way through the lane, in batches as a batcher takes them.
func BenchmarkTryPushScanFree(b *testing.B) {
	const slots, batch, recordBytes = 16384, 64, 120
	r := newRing(b, slots)
	p, c := r.Producer(0), r.Consumer()
	record := make([]byte, recordBytes)
	visit := func(s Slot) { c.Free(s.Pos) }
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := p.TryPush(testKind, record); err != nil {
			b.Fatal(err)
		}
		if i%batch == batch-1 {
			c.Scan(batch, visit)
		}
	}
}

// Producers on every processor, and a consumer besides.
func BenchmarkTryPushParallel(b *testing.B) {
	const slots, recordBytes = 16384, 120
	r := newRing(b, slots)
	p, c := r.Producer(0), r.Consumer()
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				if c.Scan(slots, func(s Slot) { c.Free(s.Pos) }) == 0 {
					runtime.Gosched()
				}
			}
		}
	}()
	b.RunParallel(func(pb *testing.PB) {
		record := make([]byte, recordBytes)
		for pb.Next() {
			for p.TryPush(testKind, record) != nil {
				runtime.Gosched() // full: wait for the consumer
			}
		}
	})
	close(done)
	<-stopped
}
