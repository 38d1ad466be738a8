//go:build !race

package batch

import "testing"

func TestTickDoesNotAllocate(t *testing.T) {
	b, record := newBatcher(t, 4), make([]byte, 100)
	if n := testing.AllocsPerRun(200, func() {
		for b.Room() > 0 {
			if err := b.Add(record, 1); err != nil {
				t.Fatal(err)
			}
		}
		b.Sent(len(b.Tick()))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTick(b *testing.B) {
	batcher, record, records := newBatcher(b, 64), make([]byte, 112), 0
	b.ReportAllocs()
	for b.Loop() {
		for range 640 {
			if err := batcher.Add(record, 1); err != nil {
				b.Fatal(err)
			}
		}
		datagrams := batcher.Tick()
		batcher.Sent(len(datagrams))
		records += 640
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
