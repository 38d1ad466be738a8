package cost

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/dist"
)

// On the real clock nobody wakes early, and the usual sleeper is hardly late.
func TestPreciseClock(t *testing.T) {
	clock, err := newPreciseClock()
	if err != nil {
		t.Fatal(err)
	}
	const sleepers, each = 20, 10
	var mu sync.Mutex
	var late []time.Duration
	var wait sync.WaitGroup
	for i := range sleepers {
		wait.Go(func() {
			for range each {
				atNs := clock.NowNs() + int64(1+i%7)*1_300_000
				clock.SleepUntil(atNs, nil)
				over := time.Duration(clock.NowNs() - atNs)
				mu.Lock()
				late = append(late, over)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	slices.Sort(late)
	if late[0] < 0 {
		t.Errorf("woken %v early", -late[0])
	}
	// A machine that is busy wakes late; only a clock that does not work at all
	// is slower than this.
	if median := late[len(late)/2]; median > 20*time.Millisecond {
		t.Errorf("median lateness %v", median)
	}
	t.Logf("late: p50 %v, p90 %v, max %v", late[len(late)/2], late[len(late)*9/10], late[len(late)-1])
	if err := clock.Close(); err != nil {
		t.Error(err)
	}
}

func TestPreciseClockIsCut(t *testing.T) {
	s, err := New([]Spec{{Stage: "php", Workers: 1, Points: []dist.Point{{Percentile: 50, Ns: MaxServiceNs}}}}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Slow(int64(MaxSlow), int64(MaxSlow)); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	entered := make(chan struct{}, 2)
	for _, name := range []string{"php", "slow"} {
		wait.Go(func() {
			entered <- struct{}{}
			if leave, err := s.Enter(t.Context(), name); err != nil {
				t.Error(err)
			} else if leave != nil {
				leave()
			}
		})
	}
	<-entered
	<-entered
	if err := s.Close(); err != nil { // also before they really sleep
		t.Error(err)
	}
	wait.Wait()
}

func BenchmarkSleep(b *testing.B) {
	clock, err := newPreciseClock()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = clock.Close() }()
	var over int64
	for b.Loop() {
		atNs := clock.NowNs() + 3_000_000
		clock.SleepUntil(atNs, nil)
		over += clock.NowNs() - atNs
	}
	b.ReportMetric(float64(over)/float64(b.N)/1e3, "µs-late/op")
}
