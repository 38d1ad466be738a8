package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/reports"
)

// accountExperiment lets a target lie and looks whether it is found out.
func accountExperiment() experiment {
	return experiment{
		name: "account", title: "Every postback accounted for",
		claim: "A target that acks everything but stores only 99 % and stores 0.5 % twice is reported as exactly that, to the postback; a row that nobody sent, billing over the cap and a changed payout are each caught under their own name.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			f := finding{holds: true, short: "a figure differs from what the target did"}
			t := newTable("target", "figure", "reported", "what the target did")
			for _, c := range liars() {
				scenario, err := c.scenario(l.dir)
				if err != nil {
					return finding{}, err
				}
				target, err := labtarget.Start(c.options)
				if err != nil {
					return finding{}, err
				}
				p, err := l.once(ctx, "run", "--target", target.URL(), "--ledger", target.URL()+"/ledger", "--caps", target.URL(), "--scenario", scenario)
				truth := target.Truth()
				target.Close()
				if err != nil {
					return finding{}, err
				}
				f.commands = []string{strings.ReplaceAll(p.command, l.dir+"/", "")}
				for _, figure := range c.figures {
					reported, did := figure.reported(&p.result.Variants[0]), figure.did(&truth)
					t.row(c.name, figure.name, fmt.Sprint(reported), fmt.Sprint(did))
					f.holds = f.holds && reported == did && did > 0
				}
				f.holds = f.holds && p.result.Variants[0].Ledger.Balanced
			}
			f.body = t.String()
			return f, nil
		},
	}
}

// liar is a target that misbehaves and the figures that must show it.
type liar struct {
	name    string
	options labtarget.Options
	figures []figure
}

type figure struct {
	name     string
	reported func(*reports.Variant) int64
	did      func(*labtarget.Truth) int64
}

func liars() []liar {
	count := func(list func(*labtarget.Truth) []string) func(*labtarget.Truth) int64 {
		return func(t *labtarget.Truth) int64 { return int64(len(list(t))) }
	}
	lost := figure{"lost_after_ack", func(v *reports.Variant) int64 { return *v.Ledger.LostAfterAck }, count(func(t *labtarget.Truth) []string { return t.Lost })}
	twice := figure{"double_counted", func(v *reports.Variant) int64 { return *v.Ledger.DoubleCounted }, count(func(t *labtarget.Truth) []string { return t.Twice })}
	phantom := figure{"phantom", func(v *reports.Variant) int64 { return *v.Ledger.Phantom }, count(func(t *labtarget.Truth) []string { return t.Phantoms })}
	payout := figure{"wrong_payload", func(v *reports.Variant) int64 { return *v.Ledger.WrongPayload }, count(func(t *labtarget.Truth) []string { return t.ChangedPayout })}
	over := figure{"billed_overshoot", func(v *reports.Variant) int64 { return v.Caps.BilledOvershoot }, count(func(t *labtarget.Truth) []string { return t.BilledOverCap })}
	return []liar{
		{"stores 99 %, 0.5 % twice", labtarget.Options{LoseEvery: 100, TwiceEvery: 200}, []figure{lost, twice}},
		{"invents rows", labtarget.Options{PhantomEvery: 1000}, []figure{phantom}},
		{"changes payouts", labtarget.Options{ChangePayoutEvery: 500}, []figure{payout}},
		{"bills over the cap", labtarget.Options{BillOverCap: true, Caps: map[string]int64{"only": 2000}}, []figure{over}},
	}
}

// accountScenario has one offer, whose cap is the target's (0: none).
const accountScenario = `name: account
about: one plain partner and one offer
arrivals: {process: constant, rate_per_s: 1000}
duration: 10s
partners: [{name: lab, profile: plain, share: 1}]
offers: [{id: only, share: 1, payout: 12.5, currency: EUR, cap: %d}]
`

func (c *liar) scenario(dir string) (path string, err error) {
	path = filepath.Join(dir, "account.yaml")
	return path, os.WriteFile(path, fmt.Appendf(nil, accountScenario, c.options.Caps["only"]), 0o600)
}

// pauseExperiment stops the generator in the middle of a run.
func pauseExperiment() experiment {
	return experiment{
		name: "pause", title: "A stopped generator is invalid, not slow",
		claim: "A generator that is SIGSTOPped for 1 s of a 10 s run ends with exit code 4 and the reason.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			target, err := labtarget.Start(labtarget.Options{DiscardRows: true})
			if err != nil {
				return finding{}, err
			}
			defer target.Close()
			out := filepath.Join(l.dir, "paused")
			args := []string{"run", "--target", target.URL(), "--rate", "500", "--duration", "10s", "--out", out}
			command := exec.CommandContext(ctx, l.binary, args...)
			if err := command.Start(); err != nil {
				return finding{}, err
			}
			time.Sleep(4 * time.Second) // well inside the run
			if err := command.Process.Signal(syscall.SIGSTOP); err != nil {
				return finding{}, err
			}
			time.Sleep(time.Second)
			if err := command.Process.Signal(syscall.SIGCONT); err != nil {
				return finding{}, err
			}
			_ = command.Wait() // its exit code is the finding
			defer os.RemoveAll(out)
			result, err := reports.ReadFile(filepath.Join(out, "result.json"))
			if err != nil {
				return finding{}, err
			}
			v := result.Variants[0].Validity
			return finding{
				commands: []string{"postbench " + strings.Join(args[:len(args)-2], " ") + "   # kill -STOP, 1 s, kill -CONT"},
				body:     fmt.Sprintf("Exit code %d, validity %s: %s.\n", command.ProcessState.ExitCode(), v.Verdict, strings.Join(v.Reasons, "; ")),
				holds:    command.ProcessState.ExitCode() == 4 && !v.Valid(), short: "the run called itself valid",
			}, nil
		},
	}
}
