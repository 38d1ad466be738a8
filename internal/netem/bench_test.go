package netem

import (
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkExchange paces 2,000 exchanges a second over 500 kept-alive
// connections, with a path and without, the server in the same process. What
// the path costs is the difference of cpu-µs/op.
func BenchmarkExchange(b *testing.B) {
	const conns, perSecond = 500, 2000
	address := serve(b, answer)
	dialers := map[string]func() (net.Conn, error){
		"loopback": func() (net.Conn, error) { return net.Dial("tcp", address) },
	}
	p := newTestPath(b, PathSpec{RTTNs: 85 * msNs, Loss: GilbertElliott{GoodLoss: 0.001}})
	dialers["85ms"] = func() (net.Conn, error) { return p.Dial(b.Context(), "tcp", address) }
	for _, name := range []string{"loopback", "85ms"} {
		b.Run(name, func(b *testing.B) {
			queue := make(chan struct{}, 1<<16)
			var ready, done sync.WaitGroup
			for range conns {
				ready.Add(1)
				done.Go(func() {
					c, err := dialers[name]()
					ready.Done()
					if err != nil {
						b.Error(err)
						return
					}
					defer func() { _ = c.Close() }()
					for range queue {
						if err := exchange(c); err != nil && err != io.EOF {
							b.Error(err)
							return
						}
					}
				})
			}
			ready.Wait()
			runtime.GC()
			before := cpuNs()
			b.ResetTimer()
			start := time.Now()
			for i := range b.N {
				// The pace is a part of the cost: without pauses it would be less.
				time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / perSecond)))
				queue <- struct{}{}
			}
			close(queue)
			done.Wait()
			b.ReportMetric(float64(cpuNs()-before)/float64(b.N)/1000, "cpu-µs/op")
		})
	}
}

// cpuNs is the CPU time of the process.
func cpuNs() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
