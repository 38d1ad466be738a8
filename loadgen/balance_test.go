package loadgen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/loadgen/transport"
)

const randomRuns = 200

// The books balance whatever partners are like and whatever a server does.
func TestBooksAlwaysBalance(t *testing.T) {
	for seed := range uint64(randomRuns) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				w := newWorld(nil)
				w.behave = randomServer(rand.New(rand.NewPCG(seed, 2))) // called under the world's lock
				cfg := randomConfig(t, w, random)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				interrupted := random.IntN(3) == 0
				if interrupted {
					time.AfterFunc(randomTime(random, time.Second), cancel)
				}
				o := mustRun(t, ctx, cfg)

				if o.Attempts.Total != w.requests() {
					t.Errorf("%d attempts, %d requests on the wire", o.Attempts.Total, w.requests())
				}
				if o.Interrupted && !interrupted {
					t.Error("marked interrupted")
				}
				if limit := time.Second + cfg.Grace + 2*time.Second; o.Duration > limit {
					t.Errorf("the run took %v, more than %v", o.Duration, limit)
				}
				if max := o.Latencies.LagGenerator.MaxNs(); max > 1000 {
					t.Errorf("lag_generator max %d ns in a bubble where this program takes no time", max)
				}
			})
		})
	}
}

// randomTime is in [0, limit), and often 0.
func randomTime(random *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(limit))) * time.Duration(min(1, random.IntN(4)))
}

func randomServer(random *rand.Rand) func(string, int) answer {
	classes := transport.Classes()
	return func(string, int) answer {
		a := answer{after: randomTime(random, 100*time.Millisecond), status: 200}
		a.body = []string{"OK", "DUP"}[random.IntN(2)]
		switch random.IntN(8) {
		case 0:
			a.after = never
		case 1:
			a.status = 500 + random.IntN(4)
		case 2:
			a.status = 300 + random.IntN(200)
		case 3:
			a.class = classes[random.IntN(len(classes))]
		}
		return a
	}
}

func randomConfig(t *testing.T, w *world, random *rand.Rand) Config {
	generator := generatorOf(t, func(s *intent.Spec) {
		s.Seed = random.Uint64()
		for i := range random.IntN(3) {
			s.Partners = append(s.Partners, intent.Partner{Name: fmt.Sprint("p", i), Share: random.Float64() + 0.1})
		}
		s.Mix = intent.Mix{Duplicates: random.Float64() / 2, UnknownClicks: 0.1, Malformed: 0.2 * random.Float64(),
			DuplicateAfterNs: int64(randomTime(random, 300*time.Millisecond))}
	})
	cfg := configOf(t, w, generator, float64(1+random.IntN(100)), time.Second)
	if random.IntN(2) == 0 {
		due, err := schedule.Poisson(float64(1+random.IntN(100)), 1e9, random.Uint64())
		if err != nil {
			t.Fatal(err)
		}
		cfg.Schedule = due
	}
	cfg.Warmup = randomTime(random, time.Second)
	cfg.Grace = 1 + randomTime(random, time.Second)
	for i := range cfg.Partners {
		p := &cfg.Partners[i]
		p.Connections, p.Queue = random.IntN(5), random.IntN(5)
		p.DropOldest = random.IntN(2) == 0
		if random.IntN(4) == 0 {
			p.Success.Bodies = []string{"OK"}
		}
		if random.IntN(4) == 0 {
			p.Breaker = intent.Breaker{Failures: 1 + random.IntN(4), WithinNs: int64(randomTime(random, time.Second))}
		}
		p.Timeout = 1 + randomTime(random, 200*time.Millisecond)
		if random.IntN(10) == 0 {
			p.NewSender = w.deafSender
		}
		p.Retry = intent.RetryPolicy{OnTimeout: random.IntN(2) == 0, OnServerError: random.IntN(2) == 0,
			OnRefused: random.IntN(2) == 0, OnError: random.IntN(2) == 0}
		for range random.IntN(4) {
			p.Retry.DelaysNs = append(p.Retry.DelaysNs, int64(randomTime(random, 300*time.Millisecond)))
		}
	}
	return cfg
}
