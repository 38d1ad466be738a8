package refserver_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postbench/postbench/refserver"
)

// BenchmarkSigned is the whole way of a signed sale, client included.
func BenchmarkSigned(b *testing.B) {
	for _, caps := range []string{refserver.CapsCheckThenInsert, refserver.CapsAtomic} {
		b.Run(caps, func(b *testing.B) {
			s := start(b, config(b, b.TempDir(), caps))
			s.populate()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
			defer client.CloseIdleConnections()
			var next atomic.Int64
			b.SetParallelism(senders / 2)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					response, err := client.Get(s.url + signed("f-1", fmt.Sprint(next.Add(1)), "partner", nowUnixS))
					if err != nil || response.StatusCode != http.StatusOK {
						b.Error(response, err)
						return
					}
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// BenchmarkPopulation uploads clicks whose ids come in no order.
func BenchmarkPopulation(b *testing.B) {
	const rows = 200_000
	var file strings.Builder
	file.WriteString("click_id,offer_id,clicked_unix_s\n")
	for i := range uint64(rows) {
		fmt.Fprintf(&file, "%016x,free,1700000000\n", i*0x9e3779b97f4a7c15)
	}
	for b.Loop() {
		s := start(b, config(b, b.TempDir(), refserver.CapsAtomic))
		s.want("POST", "/population/clicks", file.String(), 200, fmt.Sprintf(`{"loaded":%d}`, rows))
		if err := s.stop(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
