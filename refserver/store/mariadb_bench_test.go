package store_test

import (
	"fmt"
	"testing"

	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/storetest"
)

func BenchmarkMariaDBLoadClicks(b *testing.B) {
	const rows = 100_000
	server := storetest.StartMariaDB(b)
	clicks := make([]store.Click, rows)
	fill(clicks)
	for b.Loop() {
		b.StopTimer()
		s := openMariaDB(b, store.MariaDBOptions{DSN: server.DSNFor(b, b.TempDir())})
		b.StartTimer()
		if n, err := s.LoadClicks(b.Context(), storetest.Rows(clicks, nil)); n != rows || err != nil {
			b.Fatal(n, err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// The offers are many, since commits of one offer wait for each other's counter.
func BenchmarkMariaDBCommit(b *testing.B) {
	server := storetest.StartMariaDB(b)
	for _, atomic := range []bool{false, true} {
		for _, offers := range []int{1, 64} {
			b.Run(fmt.Sprintf("atomic=%v/offers=%d", atomic, offers), func(b *testing.B) {
				s := openMariaDB(b, store.MariaDBOptions{DSN: server.DSNFor(b, b.TempDir()), AtomicCaps: atomic})
				defer s.Close()
				var population []store.Offer
				for i := range offers {
					population = append(population, store.Offer{OfferID: fmt.Sprint(i)})
				}
				if _, err := s.LoadOffers(b.Context(), storetest.Rows(population, nil)); err != nil {
					b.Fatal(err)
				}
				b.SetParallelism(8)
				b.RunParallel(func(work *testing.PB) {
					for x := uint64(0); work.Next(); x++ {
						id := fmt.Sprintf("%p-%d", work, x)
						c := storetest.Sale(id, id)
						c.Attribution = store.Attribution{Found: true, OfferID: fmt.Sprint(x % uint64(offers))}
						if _, err := s.Commit(b.Context(), &c); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
				b.ReportMetric(float64(s.Queries().Retries), "retries")
			})
		}
	}
}
