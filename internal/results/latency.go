package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/reports"
)

// compareExperiment is the main job as it comes.
func compareExperiment() experiment {
	return experiment{
		name: "compare", title: "The main job: three architectures",
		claim: "`make compare` ends with exit code 0 and balanced books.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			p, err := l.once(ctx, "compare")
			if err != nil {
				return finding{}, err
			}
			f := finding{commands: []string{p.command}, body: "```\n" + p.stdout + "```\n", holds: p.exit == 0}
			for _, v := range p.result.Variants {
				if !v.Ledger.Balanced {
					f.holds, f.short = false, v.Name+": the books do not balance"
				}
			}
			if p.exit != 0 {
				f.short = fmt.Sprintf("exit code %d: the machine spoilt a round three times", p.exit)
			}
			return f, nil
		},
	}
}

// boundedPartner is a partner of few connections: what queues behind them is
// charged to the response and hidden from the service latency.
const boundedPartner = `name: bounded
about: 64 connections
template: plain
connections: 64
timeout: 10s
queue: 100000
keep_alive: true
`

// stallExperiment is the test for coordinated omission: a target that stands
// still for 1 s of every 10 s delays a tenth of the postbacks by 0 to 1 s, so
// that p95 is 500 ms, p99 900 ms and p99.9 990 ms.
func stallExperiment() experiment {
	return experiment{
		name: "stall", title: "No coordinated omission",
		claim: "Against a target that stalls for 1 s out of every 10 s, at 1,000/s: response p95 490–560 ms, p99 880–940 ms, p99.9 975–1,010 ms, whether the partner opens as many connections as it needs or only 64. Service latency beside it, what closed-loop tools print, hides the stall in the latter case.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			bounded := filepath.Join(l.dir, "bounded.yaml")
			if err := os.WriteFile(bounded, []byte(boundedPartner), 0o600); err != nil {
				return finding{}, err
			}
			f := finding{holds: true, short: "a percentile lies outside its range, or the run was invalid"}
			t := newTable("connections", "", "p50", "p95", "p99", "p99.9", "max")
			t.row("", "truth (open loop)", "–", "500 ms", "900 ms", "990 ms", "1,000 ms")
			for _, partner := range []string{"plain", bounded} {
				if err := stalled(ctx, l, partner, t, &f); err != nil {
					return finding{}, err
				}
			}
			f.body = t.String()
			return f, nil
		},
	}
}

func stalled(ctx context.Context, l *lab, partner string, t *table, f *finding) error {
	target, err := labtarget.Start(labtarget.Options{StallEvery: 10 * time.Second, StallFor: time.Second})
	if err != nil {
		return err
	}
	defer target.Close()
	p, err := l.once(ctx, "run", "--target", target.URL(), "--scenario", "plain", "--partner", partner, "--rate", "1000", "--duration", "30s", "--warmup", "0s")
	if err != nil {
		return err
	}
	f.commands = append(f.commands, strings.ReplaceAll(p.command, l.dir+"/", ""))
	name := strings.TrimSuffix(filepath.Base(partner), ".yaml")
	response, service := &p.result.Variants[0].Latency.Response, &p.result.Variants[0].Latency.Service
	for _, row := range []struct {
		name string
		l    *reports.Latency
	}{{"response (due → end)", response}, {"service (dispatched → end)", service}} {
		t.row(name, row.name, ms(row.l.P50Us), ms(row.l.P95Us), ms(row.l.P99Us), ms(row.l.P999Us), ms(row.l.MaxUs))
	}
	f.holds = f.holds && p.exit == 0 && within(value(response.P95Us), 490e3, 560e3) && within(value(response.P99Us), 880e3, 940e3) &&
		within(value(response.P999Us), 975e3, 1010e3)
	return nil
}

const engineRounds = 7

// enginesExperiment holds the native engine against vegeta, round by round.
func enginesExperiment() experiment {
	return experiment{
		name: "engines", title: "Two engines, one service latency",
		claim: fmt.Sprintf("At 500/s on a 10 ms target the native engine and vegeta agree on service p50 and p99 within 5 %% (median of the ratios of %d interleaved rounds).", engineRounds),
		run: func(ctx context.Context, l *lab) (finding, error) {
			target, err := labtarget.Start(labtarget.Options{Delay: 10 * time.Millisecond, DiscardRows: true})
			if err != nil {
				return finding{}, err
			}
			defer target.Close()
			f := finding{short: "the engines differ by more than 5 %"}
			t := newTable("round", "native p50", "vegeta p50", "ratio", "native p99", "vegeta p99", "ratio")
			var ratios50, ratios99 []float64
			for round := range engineRounds {
				native, vegeta, err := enginePair(ctx, l, target.URL(), round, &f)
				if err != nil {
					return finding{}, err
				}
				ratio50, ratio99 := value(native.P50Us)/value(vegeta.P50Us), value(native.P99Us)/value(vegeta.P99Us)
				ratios50, ratios99 = append(ratios50, ratio50), append(ratios99, ratio99)
				t.row(fmt.Sprint(round+1), ms(native.P50Us), ms(vegeta.P50Us), fmt.Sprintf("%.3f", ratio50),
					ms(native.P99Us), ms(vegeta.P99Us), fmt.Sprintf("%.3f", ratio99))
			}
			p50, p99 := medianOf(ratios50), medianOf(ratios99)
			f.body = t.String() + fmt.Sprintf("\nMedian ratio native / vegeta: p50 %.3f, p99 %.3f.\n", p50, p99)
			f.holds = math.Abs(p50-1) <= 0.05 && math.Abs(p99-1) <= 0.05
			return f, nil
		},
	}
}

func enginePair(ctx context.Context, l *lab, url string, round int, f *finding) (native, vegeta *reports.Latency, err error) {
	var both [2]*reports.Latency
	for i, engine := range []string{"native", "vegeta"} {
		p, err := l.play(ctx, "run", "--target", url, "--rate", "500", "--duration", "8s", "--warmup", "2s", "--engine", engine)
		if err != nil {
			return nil, nil, err
		}
		if round == 0 {
			f.commands = append(f.commands, p.command)
		}
		both[i] = &p.result.Variants[0].Latency.Service
	}
	return both[0], both[1], nil
}

const rateRounds = 3

// rateExperiment asks for more than small machines like to give.
func rateExperiment() experiment {
	return experiment{
		name: "rate", title: "10,000/s from one machine",
		claim: "Native holds 10,000/s on loopback with lag_generator p99 ≤ 1 ms, or says invalid.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			target, err := labtarget.Start(labtarget.Options{DiscardRows: true})
			if err != nil {
				return finding{}, err
			}
			defer target.Close()
			f := finding{holds: true, short: "a run with a late generator called itself valid"}
			t := newTable("round", "achieved", "lag_generator p50", "p99", "response p50", "p99", "client CPU per 1,000 requests", "validity")
			for round := range rateRounds {
				p, err := l.once(ctx, "run", "--target", target.URL(), "--rate", "10000", "--duration", "10s", "--warmup", "2s")
				if err != nil {
					return finding{}, err
				}
				v := &p.result.Variants[0]
				lag := &v.Latency.LagGenerator
				cpu := *v.Resources.ClientCPUS * 1e3 / float64(v.Ledger.Attempts) * 1e3
				t.row(fmt.Sprint(round+1), fmt.Sprintf("%.0f/s", v.AchievedPerS), ms(lag.P50Us), ms(lag.P99Us), ms(v.Latency.Response.P50Us),
					ms(v.Latency.Response.P99Us), fmt.Sprintf("%.0f ms", cpu), v.Validity.Verdict)
				limit := math.Max(1000, 0.05*value(v.Latency.Response.P99Us))
				f.holds = f.holds && (v.Validity.Verdict == reports.VerdictInvalid) == (p.exit == 4) && (p.exit == 4 || value(lag.P99Us) <= limit)
				f.commands = []string{p.command}
			}
			f.body = t.String()
			return f, nil
		},
	}
}
