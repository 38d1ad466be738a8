package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postbench/postbench/reports"
)

// ackedLosses are the losses, each way, under which nothing may be lost.
func ackedLosses() []string { return []string{"0%", "1%", "10%", "30%"} }

// ackedExperiment shows what losing nothing costs.
func ackedExperiment() experiment {
	return experiment{
		name: "acked", title: "Acknowledged UDP loses nothing, and what that costs",
		claim: "`udp-acked`, 500/s for 10 s over a relay that loses datagrams and acks alike, delivers half of what is left twice and lets a fifth be overtaken: 0 lost after the ack, 0 counted twice. The cost is bytes that are sent again, and rows that come later.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			f := finding{holds: true}
			t := newTable("lost each way", "lost after the ack", "counted twice", "records acked", "sent again", "bytes a record", "bytes for the second time or later", "an ack after", "due to row: p50", "p99", "max")
			for _, loss := range ackedLosses() {
				p, err := l.play(ctx, "run", "--variant", "udp-acked", "--rate", "500", "--duration", "10s", "--udp-loss", loss, "--udp-duplicate", "50%", "--udp-reorder", "20%")
				if err != nil {
					return finding{}, err
				}
				f.commands = append(f.commands, p.command)
				v := &p.result.Variants[0]
				if v.Path == nil || v.Path.Acked == nil || v.Ledger.LostAfterAck == nil {
					return finding{}, fmt.Errorf("%s: no acks, or no ledger", p.command)
				}
				a, recorded := v.Path.Acked, &v.Latency.Recorded
				t.row(loss, fmt.Sprint(*v.Ledger.LostAfterAck), fmt.Sprint(*v.Ledger.DoubleCounted), fmt.Sprint(a.Records), fmt.Sprint(a.RecordsResent),
					fmt.Sprint(a.Bytes/max(1, a.Records)), percentOf(a.BytesResent, a.Bytes), ms(&a.AckRTTUs), ms(recorded.P50Us), ms(recorded.P99Us), ms(recorded.MaxUs))
				if *v.Ledger.LostAfterAck != 0 || *v.Ledger.DoubleCounted != 0 || !v.Ledger.Balanced {
					f.holds, f.short = false, "a postback was lost or counted twice at a loss of "+loss
				}
			}
			f.body = t.String()
			return f, nil
		},
	}
}

func percentOf(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

const manyEdges = 50

// manyEdgesVariant is the post's 50 data centres; the lanes are small, so that
// all of them fit into a container's shared memory.
const manyEdgesVariant = `name: fifty-edges
summary: udp-acked with 50 edges
front: zerocopy
answer: after-buffer
buffer: shm
uplink: udp-acked
attribution: memory
caps: atomic
log: capnp
log_write: mapped
edges: 50
`

// newEachTime spreads postbacks over all edges: the kernel gives each connection
// to one of them.
const newEachTime = `name: new-each-time
about: a new connection for each postback
template: plain
connections: 0
timeout: 10s
keep_alive: false
`

// edgesExperiment is about the post's 50 data centres on one machine.
func edgesExperiment() experiment {
	return experiment{
		name: "edges", title: "50 edges and one central on one machine",
		claim: "50 edge processes, 50 batchers and one collector take 1,000/s in all for 10 s, a new connection for each postback: balanced, valid, nothing lost or counted twice.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			file := filepath.Join(l.dir, "fifty-edges.yaml")
			if err := os.WriteFile(file, []byte(manyEdgesVariant), 0o600); err != nil {
				return finding{}, err
			}
			partner := filepath.Join(l.dir, "new-each-time.yaml")
			if err := os.WriteFile(partner, []byte(newEachTime), 0o600); err != nil {
				return finding{}, err
			}
			p, err := l.play(ctx, "run", "--variant", file, "--partner", partner, "--rate", "1000", "--duration", "10s", "--buffer-for", "20ms")
			if err != nil {
				return finding{}, err
			}
			v := &p.result.Variants[0]
			t := newTable("edges", "offered/s", "achieved/s", "p50", "p95", "p99", "due to row p95", "lost", "counted twice", "server CPU", "validity")
			t.row(fmt.Sprint(v.Composition.Edges), fmt.Sprintf("%.0f", v.OfferedPerS), fmt.Sprintf("%.0f", v.AchievedPerS), ms(v.Latency.Response.P50Us),
				ms(v.Latency.Response.P95Us), ms(v.Latency.Response.P99Us), ms(v.Latency.Recorded.P95Us), fmt.Sprint(v.Ledger.Lost()),
				fmt.Sprint(*v.Ledger.DoubleCounted), fmt.Sprintf("%.1f s", value(v.Resources.ServerCPUS)), validity(v))
			f := finding{commands: []string{"# fifty-edges.yaml: " + strings.Join(strings.Fields(manyEdgesVariant), " "), "# new-each-time.yaml: " + strings.Join(strings.Fields(newEachTime), " "), p.command}, body: t.String()}
			f.holds = v.Composition.Edges == manyEdges && soundBooks(v)
			f.short = "a run was invalid, or lost or counted twice"
			return f, nil
		},
	}
}

// gcVariants are the same but for the front.
const gcVariants = "udp-batch,hot-path"

// gcRounds is how often both are played.
const gcRounds = 6

// gcExperiment holds the garbage collector's stops of both fronts against the
// post's.
func gcExperiment() experiment {
	return experiment{
		name: "gcstops", title: "What garbage collection costs the hot path",
		claim: "The same load, 1,000/s, on `plain` (udp-batch) and on `zerocopy` (hot-path): the zero-copy front allocates fewer objects for a postback and its process stops less often. The post had stops of 2–4 ms before its rewrite.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			p, err := l.play(ctx, "compare", "--variants", gcVariants, "--rate", "1000", "--duration", "10s", "--rounds", fmt.Sprint(gcRounds))
			if err != nil {
				return finding{}, err
			}
			t := newTable("variant", "GC stops in all rounds", "longest", "objects allocated for a postback", "server CPU for a postback", "response p50", "p95", "p99", "validity")
			var stops []int64
			var allocated []float64
			for i := range p.result.Variants {
				v := &p.result.Variants[i]
				r := &v.Resources
				if r.ServerGCStops == nil || r.AllocsPerRequest == nil || r.ServerCPUS == nil {
					return finding{}, fmt.Errorf("%s: the stops of %s are not known", p.command, v.Name)
				}
				stops, allocated = append(stops, *r.ServerGCStops), append(allocated, *r.AllocsPerRequest)
				t.row(v.Name, fmt.Sprint(*r.ServerGCStops), ms(r.ServerGCStopMaxUs), fmt.Sprintf("%.1f", *r.AllocsPerRequest),
					fmt.Sprintf("%.0f µs", *r.ServerCPUS*1e6/float64(v.Ledger.Attempts)), ms(v.Latency.Response.P50Us), ms(v.Latency.Response.P95Us),
					ms(v.Latency.Response.P99Us), validity(v))
			}
			f := finding{commands: []string{p.command}, body: t.String()}
			f.holds = slices.IsSortedFunc(stops, func(a, b int64) int { return int(b - a) }) && allocated[1] < allocated[0]
			f.short = "the zero-copy front does not stop less often"
			return f, nil
		},
	}
}

// chaosExperiment shows what an ack of every variant is worth.
func chaosExperiment() experiment {
	return experiment{
		name: "chaos", title: "What every rung's ack is worth",
		claim: "`compare --chaos kill-edge,kill-collector,central-outage` over the ladder: classes D1 and higher lose nothing that they acked; D0 loses what its class allows.",
		run: func(ctx context.Context, l *lab) (finding, error) {
			p, err := l.play(ctx, "compare", "--variants", chaosVariants, "--chaos", "kill-edge,kill-collector,central-outage")
			if err != nil {
				return finding{}, err
			}
			f := finding{commands: []string{p.command}, body: "```\n" + strings.TrimSpace(p.stdout) + "\n```\n", holds: p.exit == 0}
			f.short = fmt.Sprintf("exit code %d", p.exit)
			for i := range p.result.Variants {
				if v := &p.result.Variants[i]; !sound(v) {
					f.holds, f.short = false, v.Name+" lost more than its class allows"
				}
			}
			return f, nil
		},
	}
}

const chaosVariants = "monolith,redis-cache,edge-redis,redis-confirmed,edge-worker,grpc-stream,udp-batch,hot-path,binary-log,udp-acked"

// sound tells whether a variant of a class that promises something kept it.
func sound(v *reports.Variant) bool {
	return v.Ledger.Balanced && (v.Durability == "D0" || v.Ledger.LostAfterAck != nil && *v.Ledger.LostAfterAck == 0)
}
