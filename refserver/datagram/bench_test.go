package datagram

import "testing"

func BenchmarkSeal(b *testing.B) {
	s := newSealer(b, testEdge(), testBoot())
	body, count := fullBody()
	buffer, seq := make([]byte, 0, MaxBytes), uint64(0)
	b.SetBytes(MaxBytes)
	b.ReportAllocs()
	for b.Loop() {
		seq++
		buffer = s.Seal(buffer[:0], seq, count, body)
	}
}

// BenchmarkStep opens full datagrams; sealing them anew is not timed.
func BenchmarkStep(b *testing.B) {
	const lap = 4096
	s, r := newSealer(b, testEdge(), testBoot()), newReceiver(b, []Edge{testEdge()})
	body, count := fullBody()
	buffer, seq, records := make([]byte, lap*MaxBytes), uint64(0), 0
	b.SetBytes(MaxBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		at := i % lap * MaxBytes
		if at == 0 {
			b.StopTimer()
			for j := range lap {
				seq++
				s.Seal(buffer[j*MaxBytes:j*MaxBytes], seq, count, body)
			}
			b.StartTimer()
		}
		opened, err := r.Step(nowNs, buffer[at:at+MaxBytes])
		if err != nil {
			b.Fatal(err)
		}
		records += opened.Count
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkStepForgedBoot is what the dearest forgery costs: it claims a newer
// boot, so that a key has to be derived to refuse it.
func BenchmarkStepForgedBoot(b *testing.B) {
	impostor := testEdge()
	impostor.PSK[0]++
	r := newReceiver(b, []Edge{testEdge()})
	d := sealed(newSealer(b, impostor, testBoot()), 1)
	b.ReportAllocs()
	for b.Loop() {
		if step(r, nowNs, d) == nil {
			b.Fatal("opened")
		}
	}
}
