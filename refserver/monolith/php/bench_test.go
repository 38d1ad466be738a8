package php

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkPostback is a new conversion through all of the stack.
func BenchmarkPostback(b *testing.B) {
	s := newStand(b)
	identity := new(atomic.Int64)
	for _, connections := range []string{"kept", "new"} {
		for _, clients := range []int{1, 4} {
			b.Run(fmt.Sprintf("mariadb=%s/clients=%d", connections, clients), func(b *testing.B) {
				v := s.serve(b, func(c *Config) { c.Workers, c.NewConnections = 8, connections == "new" })
				for path, csv := range population(time.Now().Unix()) {
					ask(b, http.MethodPost, v.url, "/population/"+path, csv)
				}
				var mu sync.Mutex
				var took []time.Duration
				before := v.CPUTime()
				b.SetParallelism(clients)
				b.ResetTimer()
				var wait sync.WaitGroup
				for range clients {
					wait.Go(func() {
						for range (b.N + clients - 1) / clients {
							began := time.Now()
							target := fmt.Sprintf("/pb?click_id=f-0&txid=%d&event=sale&payout=1.5&currency=EUR", identity.Add(1))
							if _, body := ask(b, http.MethodGet, v.url, target, ""); body != "OK" {
								b.Error(body)
							}
							mu.Lock()
							took = append(took, time.Since(began))
							mu.Unlock()
						}
					})
				}
				wait.Wait()
				b.StopTimer()
				slices.Sort(took)
				b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "req/s")
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
				b.ReportMetric(float64(took[len(took)*95/100].Microseconds()), "p95-us")
				b.ReportMetric(float64((v.CPUTime()-before).Microseconds())/float64(len(took)), "cpu-us/req")
			})
		}
	}
}
