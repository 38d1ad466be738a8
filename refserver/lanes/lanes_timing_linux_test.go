package lanes

import (
	"math"
	"os"
	"testing"
)

// benchmarkDir is in memory if the machine has the usual place for it.
func benchmarkDir(b *testing.B) string {
	if dir, err := os.MkdirTemp("/dev/shm", "lanes-benchmark-"); err == nil {
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return b.TempDir()
}

func BenchmarkTryPushVisitFree(b *testing.B) {
	const batch, recordBytes = 64, 120
	o := Options{Dir: benchmarkDir(b)}
	l, err := OpenProducer(o)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	d, err := OpenDir(o)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	record := make([]byte, recordBytes)
	free := func(e Entry) { d.Free(e.Lane, e.Pos) }
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := l.TryPush(record); err != nil {
			b.Fatal(err)
		}
		if i%batch == batch-1 {
			d.Visit(math.MaxInt, free)
		}
	}
}

// What a batcher pays every 10 ms when nothing comes.
func BenchmarkIdleVisit(b *testing.B) {
	o := Options{Dir: benchmarkDir(b)}
	for range DefaultMaxLanes {
		l, err := OpenProducer(o)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
	}
	d, err := OpenDir(o)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.ReportAllocs()
	for b.Loop() {
		d.Visit(math.MaxInt, func(Entry) {})
	}
}
