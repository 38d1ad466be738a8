package scenarios

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/profiles"
)

// What their documents say in words must be so.
func TestPresetsKeepTheirWord(t *testing.T) {
	t.Run("mixed", func(t *testing.T) {
		s := load(t, "mixed")
		platforms := 0
		for _, p := range s.Partners {
			if p.Habits.Template != profiles.TemplatePlain && p.Habits.Template != profiles.TemplateSigned {
				platforms++
			}
		}
		if rate := s.MeanRatePerS(); platforms < 8 || rate != 500 || time.Duration(s.Duration+s.Grace) > 3*time.Second {
			t.Errorf("%d platforms at %v/s for %s and %s; want 8 at 500/s, and short rounds", platforms, rate, s.Duration, s.Grace)
		}
	})
	t.Run("cap-rush", func(t *testing.T) {
		s := load(t, "cap-rush")
		shares := s.OfferShares()
		if len(shares) < 40 || s.Offers[0].Cap != 100 {
			t.Errorf("%d offers with a cap of %d, want 40 with 100", len(shares), s.Offers[0].Cap)
		}
		for _, o := range shares {
			if rate := o.Share * s.MeanRatePerS(); rate < 24 || rate > 26 {
				t.Errorf("%s fills at %v/s, want 25", o.ID, rate)
			}
		}
	})
	t.Run("partner-retry-storm", func(t *testing.T) {
		s := load(t, "partner-retry-storm")
		for _, p := range s.Partners {
			if s.ServerSlow.Add <= p.Habits.Timeout {
				t.Errorf("%s waits %s for a server that takes %s", p.Name, p.Habits.Timeout, s.ServerSlow.Add)
			}
		}
		if s.ServerSlow.At+s.ServerSlow.For >= s.Duration {
			t.Error("the run ends before the queues can come back")
		}
	})
	t.Run("month-2022", func(t *testing.T) { testMonth2022(t, load(t, "month-2022")) })
	t.Run("month-2026", func(t *testing.T) {
		s := load(t, "month-2026")
		regions := map[string]float64{}
		for _, p := range s.Partners {
			regions[p.Region] += p.Share
		}
		for region, want := range map[string]float64{"eu": 0.55, "us": 0.4, "cis": 0.05} {
			if got := regions[region]; got < want-shareTolerance || got > want+shareTolerance || len(regions) != 3 {
				t.Errorf("region %s has %v of %v, want %v", region, got, regions, want)
			}
		}
	})
}

func testMonth2022(t *testing.T, s Scenario) {
	if days := float64(s.Duration) / float64(s.Arrivals.Period); days != 30 {
		t.Errorf("%v days, want 30", days)
	}
	if day := time.Duration(float64(s.Arrivals.Period) * s.TimeScale); day != 24*time.Hour {
		t.Errorf("a day of %s, want 24h", day)
	}
	if dollars := s.intents() * float64(s.Offers[0].Payout) / 1e6; math.Abs(dollars-300_000) > 1 {
		t.Errorf("%.0f dollars, want 300,000", dollars)
	}
	for _, p := range s.Partners {
		bounded := p.Habits.Connections > 0 && p.Habits.Queue <= 2_000 || p.Name == "big-network"
		if timeout := time.Duration(p.Habits.Timeout); timeout < time.Second || timeout > 3*time.Second || !bounded {
			t.Errorf("%s: timeout %s, %d connections, queue %d", p.Name, timeout, p.Habits.Connections, p.Habits.Queue)
		}
	}
	// An ordinary evening is within what the php workers of the post can do, a
	// campaign is not.
	post, err := profiles.Load("post")
	if err != nil {
		t.Fatal(err)
	}
	busyS := 0.0 // of one worker and request
	workers := 0
	for _, stage := range post.Stages {
		if !slices.Contains([]string{"php", "mysql", "clickhouse"}, stage.Name) {
			continue
		}
		if stage.Name == "php" {
			workers = stage.Workers
		}
		d, err := stage.Dist()
		if err != nil {
			t.Fatal(err)
		}
		busyS += time.Duration(d.At(0.5)).Seconds()
	}
	day := time.Duration(s.Arrivals.Period)
	evening := s.Arrivals.RateAt(day/2, time.Duration(s.Duration))
	campaign := s.Arrivals.RateAt(time.Duration(s.Arrivals.Surges[0].At)+day/2, time.Duration(s.Duration))
	if capacity := float64(workers) / busyS; evening > capacity || campaign < 1.5*capacity {
		t.Errorf("%.0f/s in the evening and %.0f/s in a campaign's, with a capacity of %.0f/s", evening, campaign, capacity)
	}
}

// A month's schedule must not take a noticeable part of the run to make.
func BenchmarkMonthSchedule(b *testing.B) {
	s, err := Load("month-2022")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		due, err := s.Arrivals.Schedule(time.Duration(s.Duration), 1)
		if err != nil {
			b.Fatal(err)
		}
		schedule.Count(due)
	}
}
