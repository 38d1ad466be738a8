package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/postbench/postbench/reports"
)

// What cap-rush must show under profile post, in percent of the cap.
const (
	rushSeeds   = 3
	rushLowest  = 5.0
	rushHighest = 10.0
	// rushShare is how much of monolith's overshoot udp-batch may have.
	rushShare = 0.5
)

// rushVariants are held against each other.
func rushVariants() [2]string { return [2]string{"monolith", "udp-batch"} }

// rush is the traffic overshoot of both variants, a run an entry.
type rush struct{ monolith, batch []float64 }

// capRushExperiment shows what a slow postback costs where caps are.
func capRushExperiment() experiment {
	return experiment{
		name: "caprush", title: "How far traffic goes past the caps",
		claim: fmt.Sprintf("`cap-rush` under `post`, 40 offers of 100 that fill at 25/s each, the router's default poll: the mean traffic overshoot is %g–%g %% on monolith and at most half of that on udp-batch (means of %d runs each, in turns; no conversion is paid twice or lost after the ack).",
			rushLowest, rushHighest, rushSeeds),
		run: func(ctx context.Context, l *lab) (finding, error) {
			f := finding{}
			t := newTable("seed", "variant", "traffic overshoot, mean", "worst offer", "response p50", "p95", "recorded p50", "p95", "cap seen by the router after (p95)", "validity")
			var all rush
			sound := true
			for seed := 1; seed <= rushSeeds; seed++ {
				for i, list := range []*[]float64{&all.monolith, &all.batch} {
					p, err := l.play(ctx, "run", "--variant", rushVariants()[i], "--profile", "post", "--scenario", "cap-rush", "--seed", fmt.Sprint(seed))
					if err != nil {
						return finding{}, err
					}
					f.commands = append(f.commands, p.command)
					v := &p.result.Variants[0]
					if v.Caps == nil || v.Caps.TrafficOvershootMeanPct == nil {
						return finding{}, fmt.Errorf("%s: no router watched the caps", p.command)
					}
					*list = append(*list, *v.Caps.TrafficOvershootMeanPct)
					sound = sound && soundBooks(v)
					rushRow(t, seed, v)
				}
			}
			f.body = t.String() + "\n" + all.summary()
			f.holds, f.short = all.verdict()
			if f.holds && !sound {
				f.holds, f.short = false, "a run was invalid, or its books show a loss after the ack or a double count"
			}
			return f, nil
		},
	}
}

func rushRow(t *table, seed int, v *reports.Variant) {
	response, recorded := &v.Latency.Response, &v.Latency.Recorded
	worst := "not known"
	if v.Caps.TrafficOvershootMaxPct != nil {
		worst = fmt.Sprintf("%.1f %%", *v.Caps.TrafficOvershootMaxPct)
	}
	t.row(fmt.Sprint(seed), v.Name, fmt.Sprintf("%.2f %%", *v.Caps.TrafficOvershootMeanPct), worst,
		ms(response.P50Us), ms(response.P95Us), ms(recorded.P50Us), ms(recorded.P95Us), ms(v.Caps.VisibleP95Us), validity(v))
}

// summary says what the runs of each variant come to.
func (r *rush) summary() string {
	monolith, batch := meanOf(r.monolith), meanOf(r.batch)
	return fmt.Sprintf("Mean of the runs: monolith %.2f %%, udp-batch %.2f %%: %.2f of monolith's.\n", monolith, batch, batch/monolith)
}

// verdict holds the means against the claim; the text says what falls short.
func (r *rush) verdict() (holds bool, short string) {
	monolith, batch := meanOf(r.monolith), meanOf(r.batch)
	switch {
	case !within(monolith, rushLowest, rushHighest):
		return false, fmt.Sprintf("monolith's mean overshoot is %.2f %%, want %g–%g %%", monolith, rushLowest, rushHighest)
	case batch > rushShare*monolith:
		return false, fmt.Sprintf("udp-batch's mean overshoot is %.2f of monolith's, want at most %g", batch/monolith, rushShare)
	}
	return true, ""
}

// soundBooks reports whether a run is valid, and has lost nothing that it
// acked and counted nothing twice.
func soundBooks(v *reports.Variant) bool {
	l := &v.Ledger
	return v.Validity.Valid() && l.Balanced && l.LostAfterAck != nil && *l.LostAfterAck == 0 && l.DoubleCounted != nil && *l.DoubleCounted == 0
}

// validity is a table cell: the verdict, with its reasons where there are any.
func validity(v *reports.Variant) string {
	if v.Validity.Valid() {
		return v.Validity.Verdict
	}
	return v.Validity.Verdict + ": " + strings.Join(v.Validity.Reasons, "; ")
}

// meanOf is NaN without values.
func meanOf(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
