package e2e

import "testing"

const everySecond = `name: every-second
about: caps that are full about halfway through every second
arrivals: {process: constant, rate_per_s: 300}
duration: 3s
partners:
  - {name: patient, profile: patient, share: 1}
offers:
  - {id: daily, count: 2, share: 0.9, payout: 30, currency: EUR, cap: 60, cap_every: 24h}
  - {id: open, share: 0.1, payout: 1, currency: EUR}
time_scale: 86400
`

// TestCapsThatReset plays days of a second each: whoever decides inside its
// commit holds every day's cap, nobody is refused for whom there was room, and
// the router sees days closed and open again.
func TestCapsThatReset(t *testing.T) {
	t.Parallel()
	scenario := write(t, "every-second.yaml", everySecond)
	for _, variant := range []string{"monolith", "udp-batch", "edge-redis"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			p := play(t, "run", "--variant", variant, "--embedded", "--scenario", scenario)
			v := &p.result.Variants[0]
			got, caps := sheet(t, v), v.Caps
			if got["lost_after_ack"]+got["double_counted"]+got["wrong_verdict"]+got["phantom"] != 0 {
				t.Errorf("%v", got)
			}
			// Two offers, and 3 s that begin at any moment of a second.
			if caps == nil || caps.Offers < 6 || caps.Offers > 10 || caps.TrafficOvershootMeanPct == nil || caps.VisibleP95Us == nil ||
				caps.Undershoot == nil || *caps.Undershoot != 0 {
				t.Fatalf("caps %+v\n%s", caps, p.stdout)
			}
			if variant != "monolith" && caps.BilledOvershoot != 0 {
				t.Errorf("billed %d past the caps", caps.BilledOvershoot)
			}
			// 135 come in a day for a cap of 60: 125 % too many if no day's closing were seen.
			if *caps.TrafficOvershootMeanPct > 60 {
				t.Errorf("traffic overshoot %v %% on average", *caps.TrafficOvershootMeanPct)
			}
			t.Logf("%d windows, traffic overshoot %.1f %% on average, seen after %.1f ms", caps.Offers, *caps.TrafficOvershootMeanPct, *caps.VisibleP95Us/1e3)
		})
	}
}
