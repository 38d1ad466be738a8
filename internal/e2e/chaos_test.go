package e2e

import (
	"maps"
	"strings"
	"testing"

	"github.com/postbench/postbench/reports"
)

// Every variant is broken in every way, and the table says what its ack was worth.
func TestChaosByName(t *testing.T) {
	t.Parallel()
	// 500 ms of an edge's Redis: central is away for 600 ms.
	p := play(t, "compare", "--variants", "monolith,edge-redis,udp-batch", "--embedded", "--chaos", "kill-edge,kill-collector,central-outage",
		"--duration", "2s", "--time-scale", "600", "--settle", "500ms")
	if p.code != 0 {
		t.Errorf("exit code %d; stderr:\n%s", p.code, p.stderr)
	}
	killed := map[string]string{}
	for i := range p.result.Variants {
		v := &p.result.Variants[i]
		if len(v.Faults) != 1 || v.Faults[0].Do != "kill" {
			t.Fatalf("%s: faults %+v", v.Name, v.Faults)
		}
		killed[v.Name] = v.Faults[0].Process
		got := sheet(t, v)
		if got["recorded"] == 0 || got["double_counted"]+got["phantom"]+got["forged_accepted"] != 0 {
			t.Errorf("%s: %v", v.Name, got)
		}
		lossOf(t, v, got["lost_after_ack"], got["lost_at_partner"])
	}
	want := map[string]string{}
	for variant, processes := range map[string][2]string{
		"monolith": {"server", "server"}, "edge-redis": {"edge/0", "collector/0"}, "udp-batch": {"edge/0", "collector/0"},
	} {
		want[variant+"[kill-edge]"], want[variant+"[kill-collector]"], want[variant+"[central-outage]"] = processes[0], processes[1], processes[1]
	}
	if !maps.Equal(killed, want) {
		t.Errorf("killed %v, want %v", killed, want)
	}
	for _, words := range []string{"kill-edge:", "central-outage:", "D3 lost none of", "udp-batch[kill-collector] (D0) lost", "sent in datagrams and never"} {
		if !strings.Contains(p.stdout, words) {
			t.Errorf("stdout does not say %q:\n%s", words, p.stdout)
		}
	}
}

// lossOf holds what was lost against what the variant promises and has counted.
func lossOf(t *testing.T, v *reports.Variant, afterAck, atPartner int64) {
	t.Helper()
	variant, fault, _ := strings.Cut(strings.TrimSuffix(v.Name, "]"), "[")
	switch {
	case v.Durability > "D0" && afterAck != 0:
		t.Errorf("%s (%s) lost %d acked", v.Name, v.Durability, afterAck)
	case variant == "monolith" && fault != "kill-edge" && atPartner == 0:
		t.Errorf("%s: a server that was down refused nobody", v.Name)
	case variant == "monolith" && v.Resources.SQLQueries != nil:
		t.Errorf("%s: %v SQL queries a postback, counted by two servers", v.Name, *v.Resources.SQLQueries)
	case variant == "udp-batch" && fault != "kill-edge":
		if lost := known(t, "sent and not committed", v.Path.Unaccounted()); lost == 0 || afterAck != lost {
			t.Errorf("%s: %d lost, %d sent and not committed", v.Name, afterAck, lost)
		}
	case variant == "edge-redis" && afterAck > 0 && fault != "kill-edge" && v.Path.RecordsExpired < afterAck:
		t.Errorf("%s: %d lost, %d expired", v.Name, afterAck, v.Path.RecordsExpired)
	}
}

// An own server cannot be broken: it has no figures, not zeros.
func TestChaosOfAnOwnServer(t *testing.T) {
	t.Parallel()
	refused(t, []string{"compare", "--variants", write(t, "mine.yaml", "name: mine\nsummary: of a test\nexternal:\n  url: http://127.0.0.1:1\n"), "--chaos", "kill-edge"},
		"there is none among --variants")
	refused(t, []string{"compare", "--variants", "monolith", "--chaos", "kill-edge", "--profile", "post"}, "without TLS")
}
