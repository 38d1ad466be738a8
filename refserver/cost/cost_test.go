package cost

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/refserver/accept"
)

// php is a stage with a constant service time.
func php(workers, queue int, service time.Duration) Spec {
	return Spec{Stage: "php", Workers: workers, Queue: queue, Points: []dist.Point{{Percentile: 50, Ns: int64(service)}}}
}

// stagesOf run on the bubble's clock.
func stagesOf(t *testing.T, specs ...Spec) *Stages {
	t.Helper()
	s, err := New(specs, 1, newRuntimeClock())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stagesOf(t, php(2, 0, 10*time.Millisecond))
		start := time.Now()
		var mu sync.Mutex
		var order []int
		var took []time.Duration
		var wait sync.WaitGroup
		for i := range 6 {
			wait.Go(func() {
				leave, err := s.Enter(t.Context(), "php")
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				mu.Lock()
				defer mu.Unlock()
				order, took = append(order, i), append(took, time.Since(start))
			})
			synctest.Wait() // in the order of i
		}
		wait.Wait()
		for n, i := range order {
			want := time.Duration(1+n/2) * 10 * time.Millisecond
			if i/2 != n/2 || took[n] != want {
				t.Errorf("%d. was %d after %v, want a pair every 10ms", n, i, took[n])
			}
		}
		got := s.Report()[0]
		want := StageTruth{Stage: "php", Count: 6, MaxQueue: 4, WaitNs: (2*10 + 2*20) * 1e6, ServedNs: 60e6, HeldNs: 60e6}
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestWorkerIsKeptUntilLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stagesOf(t, php(1, 0, time.Millisecond))
		leave, err := s.Enter(t.Context(), "php")
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan time.Duration)
		start := time.Now()
		go func() {
			leave, err := s.Enter(t.Context(), "php")
			if err != nil {
				t.Error(err)
			}
			leave()
			second <- time.Since(start)
		}()
		time.Sleep(50 * time.Millisecond) // of the bubble: what the worker does besides
		leave()
		if got := <-second; got != 51*time.Millisecond {
			t.Errorf("the second was through after %v, want 51ms", got)
		}
		if got := s.Report()[0]; got.HeldNs != 52e6 || got.ServedNs != 2e6 {
			t.Errorf("%+v", got)
		}
	})
}

func TestFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stagesOf(t, php(1, 1, time.Second))
		for range 2 { // one is served, one waits
			go func() {
				leave, err := s.Enter(t.Context(), "php")
				if err != nil {
					t.Error(err)
					return
				}
				leave()
			}()
		}
		synctest.Wait()
		if _, err := s.Enter(t.Context(), "php"); !errors.Is(err, accept.ErrFull) {
			t.Errorf("%v, want accept.ErrFull", err)
		}
		time.Sleep(3 * time.Second) // of the bubble: both are through
		if leave, err := s.Enter(t.Context(), "php"); err != nil {
			t.Errorf("the refused one has left something behind: %v", err)
		} else {
			leave()
		}
		if got := s.Report()[0]; got.Refused != 1 || got.Count != 3 || got.MaxQueue != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// Who gives up frees its place in the line, and takes no worker along.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stagesOf(t, php(1, 1, time.Second))
		leave, err := s.Enter(t.Context(), "php")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if _, err := s.Enter(impatient, "php"); !errors.Is(err, accept.ErrFull) {
				t.Errorf("%v, want accept.ErrFull", err)
			}
			cancel()
		}
		leave()
		start := time.Now()
		if leave, err = s.Enter(t.Context(), "php"); err != nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		leave()
		if got := s.Report()[0]; got.GaveUp != 3 || got.Count != 2 || got.Refused != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// The mean waits are those of queueing theory: ρ/(1−ρ)·D/2 for M/D/1 by
// Pollaczek and Khinchine, C/(c·(1−ρ)) service times for M/M/c by Erlang's C.
func TestWaitsAreThoseOfTheory(t *testing.T) {
	const serviceNs, load, requests = 10_000_000, 0.8, 200_000
	for _, workers := range []int{1, 4} {
		q := queue{workers: workers, limit: requests}
		random := rand.New(rand.NewPCG(7, uint64(workers)))
		var serve func() int64
		var want float64
		if workers == 1 {
			serve, want = func() int64 { return serviceNs }, load/(1-load)*serviceNs/2
		} else {
			serve = func() int64 { return int64(random.ExpFloat64() * serviceNs) }
			want = erlangC(workers, load) * serviceNs / (float64(workers) * (1 - load))
		}
		play(&q, requests, func() int64 { return int64(random.ExpFloat64() * serviceNs / load / float64(workers)) }, serve)
		if got := float64(q.truth.WaitNs) / float64(q.truth.Count); math.Abs(got/want-1) > 0.05 || q.truth.Count != requests {
			t.Errorf("%d workers: mean wait %.0f ns over %d, theory says %.0f", workers, got, q.truth.Count, want)
		}
	}
}

// erlangC is the share of those who have to wait in M/M/c at a load of each worker.
func erlangC(workers int, load float64) float64 {
	offered, term, sum := float64(workers)*load, 1.0, 0.0
	for k := range workers {
		sum += term
		term *= offered / float64(k+1)
	}
	term /= 1 - load
	return term / (sum + term)
}

// play lets requests come to the queue at drawn distances, in virtual time.
func play(q *queue, requests int, distance, serve func() int64) {
	type end struct {
		ns int64
		t  *ticket
	}
	var ends []end // of those with a worker
	begin := func(t *ticket) { ends = append(ends, end{t.beganNs + t.serviceNs, t}) }
	first := func() int {
		best := 0
		for i := range ends {
			if ends[i].ns < ends[best].ns {
				best = i
			}
		}
		return best
	}
	nowNs := int64(0)
	for n := 0; n < requests || len(ends) > 0; {
		if n == requests {
			nowNs = math.MaxInt64 / 2
		} else {
			nowNs += distance()
		}
		for len(ends) > 0 && ends[first()].ns <= nowNs {
			i := first()
			e := ends[i]
			ends = append(ends[:i], ends[i+1:]...)
			if next := q.leave(e.ns, e.t); next != nil {
				begin(next)
			}
		}
		if n < requests {
			n++
			if t := (&ticket{serviceNs: serve()}); q.arrive(nowNs, t) == begins {
				begin(t)
			}
		}
	}
}

func TestEqualSeedsDrawAlike(t *testing.T) {
	spec := Spec{Stage: "mysql", Workers: 9, Points: []dist.Point{{Percentile: 50, Ns: 5e6}, {Percentile: 95, Ns: 45e6}}}
	draws := func(seed uint64, stage string) (list []int64) {
		spec.Stage = stage
		s, err := New([]Spec{spec}, seed, newRuntimeClock())
		if err != nil {
			t.Fatal(err)
		}
		for range 9 {
			ticket, err := s.stages[stage].arrive(s.clock)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, ticket.serviceNs)
		}
		return list
	}
	a, b, c, d := draws(1, "mysql"), draws(1, "mysql"), draws(2, "mysql"), draws(1, "php")
	for i := range a {
		if a[i] != b[i] || a[i] == c[i] || a[i] == d[i] {
			t.Errorf("%d: %d, %d again, %d of another seed, %d of another stage", i, a[i], b[i], c[i], d[i])
		}
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stagesOf(t)
		enter := func() time.Duration {
			start := time.Now()
			if _, err := s.Enter(t.Context(), accept.StageSlow); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		if leave, err := s.Enter(t.Context(), accept.StageSlow); leave != nil || err != nil {
			t.Errorf("a server that is not slow: %v, %v", leave == nil, err)
		}
		slow := func(add, lasting time.Duration) {
			if err := s.Slow(int64(add), int64(lasting)); err != nil {
				t.Error(err)
			}
		}
		slow(time.Second, 10*time.Second)
		if got := enter(); got != time.Second || s.Idle() {
			t.Errorf("slow by 1s: %v, idle %v", got, s.Idle())
		}
		go func() {
			time.Sleep(300 * time.Millisecond) // of the bubble
			slow(0, 0)
		}()
		if got := enter(); got != 300*time.Millisecond {
			t.Errorf("its end ends the waits: %v", got)
		}
		slow(time.Second, 500*time.Millisecond)
		time.Sleep(600 * time.Millisecond) // of the bubble: it is over
		if got := enter(); got != 0 || !s.Idle() {
			t.Errorf("afterwards: %v, idle %v", got, s.Idle())
		}
		for _, bad := range []time.Duration{-1, MaxSlow + 1} {
			if err := s.Slow(int64(bad), 1); !errors.Is(err, ErrSlow) {
				t.Errorf("%v: %v", bad, err)
			}
		}
	})
}

func TestSpecsAreChecked(t *testing.T) {
	good := php(1, 0, time.Millisecond)
	change := func(f func(*Spec)) []Spec {
		s := good
		f(&s)
		return []Spec{s}
	}
	for want, specs := range map[string][]Spec{
		"unknown, expected one of: nginx": change(func(s *Spec) { s.Stage = "apache" }),
		"0 workers":                       change(func(s *Spec) { s.Workers = 0 }),
		"a queue of -1":                   change(func(s *Spec) { s.Queue = -1 }),
		"0 percentiles":                   change(func(s *Spec) { s.Points = nil }),
		"p50 is 1h0m0s":                   {php(1, 0, time.Hour)},
		"php is given twice":              {good, good},
	} {
		if _, err := New(specs, 1, nil); !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestMerge(t *testing.T) {
	got := Merge([]StageTruth{{Stage: "log", Count: 1, MaxQueue: 5}, {Stage: "edge", Count: 2, WaitNs: 3}}, nil,
		[]StageTruth{{Stage: "edge", Count: 1, Refused: 1, GaveUp: 2, WaitNs: 4, ServedNs: 5, HeldNs: 6, MaxQueue: 7}})
	want := []StageTruth{{Stage: "edge", Count: 3, Refused: 1, GaveUp: 2, WaitNs: 7, ServedNs: 5, HeldNs: 6, MaxQueue: 7}, {Stage: "log", Count: 1, MaxQueue: 5}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, want %+v", got, want)
	}
}
