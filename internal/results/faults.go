package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postbench/postbench/reports"
)

// carefulVariant answers after the ring.
const carefulVariant = `name: careful
summary: udp-batch that answers after the buffer
front: zerocopy
answer: after-buffer
buffer: shm
uplink: udp
attribution: memory
caps: atomic
log: json
log_write: background
edges: 1
`

// oneConnection makes the postbacks in flight countable.
const oneConnection = `name: one
about: one connection
template: plain
connections: 1
timeout: 10s
queue: 100000
keep_alive: true
`

// disturbance is a fault and the loss that the composition's class allows.
type disturbance struct {
	variant string
	args    []string
	allowed string
	holds   func(lost int64, v *reports.Variant) bool
}

// none and the functions below say what may be lost after the ack.
func none(lost int64, _ *reports.Variant) bool { return lost == 0 }

func one(lost int64, _ *reports.Variant) bool { return lost == 1 }

func some(lost int64, _ *reports.Variant) bool { return lost > 0 }

func unaccounted(lost int64, v *reports.Variant) bool {
	n := v.Path.Unaccounted()
	return n != nil && lost == *n && lost > 0
}

func dropped(lost int64, v *reports.Variant) bool {
	return v.Netem != nil && v.Netem.Dropped > 0 && lost == v.Netem.DroppedRecords
}

func expired(lost int64, v *reports.Variant) bool { return lost > 0 && lost <= v.Path.RecordsExpired }

func disturbances() []disturbance {
	const allowedNone = "none"
	return []disturbance{
		{"careful", []string{"--chaos", "kill:edge@2s"}, allowedNone, none},
		{"careful", []string{"--chaos", "kill:batcher@2s+500ms"}, allowedNone, none},
		{"careful", []string{"--buffer-for", "10ms", "--chaos", "kill:batcher@1s+3s"}, "none (a full lane answers 503)", none},
		{"udp-batch", []string{"--partner", "one", "--chaos", "crash:edge:answered-not-buffered#200"}, "1, the postback in flight", one},
		{"udp-batch", []string{"--chaos", "kill:collector@2s+500ms"}, "sent and not committed", unaccounted},
		{"udp-batch", []string{"--udp-drop", "3,17,40-45"}, "the records of the list", dropped},
		{"udp-batch", []string{"--udp-loss", "5%"}, "the records that the relay dropped", dropped},
		{"edge-redis", []string{"--chaos", "kill:collector@1s+2s"}, "none (central away for less than the TTL)", none},
		{"edge-redis", []string{"--chaos", "kill:collector@1s+2s", "--time-scale", "600"}, "what outlives 500 ms", expired},
		{"redis-confirmed", []string{"--chaos", "kill:collector@1s+2s", "--time-scale", "600"}, allowedNone, none},
		{"edge-redis", []string{"--chaos", "kill:collector@1s+2s,kill:redis@2s"}, "D0: what Redis held", some},
		{"redis-confirmed", []string{"--chaos", "kill:collector@1s+2s,kill:redis@2s"}, allowedNone, none},
	}
}

// faultsExperiment shows what an ack is worth when something breaks.
func faultsExperiment() experiment {
	return experiment{
		name: "faults", title: "What an ack is worth when something breaks",
		claim: "At 400/s for 5 s, plain postbacks without repeats: what is lost after the ack is what the composition allows, to the postback, and nothing is counted twice.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			files := map[string]string{"careful": carefulVariant, "one": oneConnection}
			for name, text := range files {
				files[name] = filepath.Join(l.dir, name+".yaml")
				if err := os.WriteFile(files[name], []byte(text), 0o600); err != nil {
					return finding{}, err
				}
			}
			f := finding{holds: true, short: "something else was lost, or something was counted twice"}
			t := newTable("variant", "fault", "recorded", "lost after ack", "allowed", "counted twice", "")
			for _, d := range disturbances() {
				args := []string{"run", "--variant", d.variant, "--rate", "400", "--duration", "5s", "--warmup", "0s", "--settle", "1s"}
				for _, arg := range append([]string{}, d.args...) {
					if file, ok := files[arg]; ok {
						arg = file
					}
					args = append(args, arg)
				}
				if file, ok := files[d.variant]; ok {
					args[2] = file
				}
				p, err := l.once(ctx, args...) // late or not: the accounts are what counts
				if err != nil {
					return finding{}, err
				}
				f.commands = append(f.commands, strings.ReplaceAll(p.command, l.dir+string(filepath.Separator), ""))
				d.judge(&p.result.Variants[0], t, &f)
			}
			f.body = t.String() + "\ncareful.yaml:\n\n```yaml\n" + carefulVariant + "```\n\none.yaml:\n\n```yaml\n" + oneConnection + "```\n"
			return f, nil
		},
	}
}

// judge adds a row.
func (d *disturbance) judge(v *reports.Variant, t *table, f *finding) {
	l := &v.Ledger
	if l.LostAfterAck == nil || l.Recorded == nil || l.DoubleCounted == nil {
		f.holds = false
		t.row(d.variant, strings.Join(d.args, " "), "not known", "not known", d.allowed, "not known", "no")
		return
	}
	holds, verdict := d.holds(*l.LostAfterAck, v) && *l.DoubleCounted == 0 && l.Balanced, "holds"
	if !holds {
		f.holds, verdict = false, "does not hold"
	}
	t.row(d.variant, strings.Join(d.args, " "), fmt.Sprint(*l.Recorded), fmt.Sprint(*l.LostAfterAck), d.allowed, fmt.Sprint(*l.DoubleCounted), verdict)
}
