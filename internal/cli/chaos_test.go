package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/reports"
)

func TestChaosNames(t *testing.T) {
	for _, test := range []struct {
		chaos string
		names []string
		wrong string
	}{
		{"", nil, ""},
		{"kill:batcher@2s", nil, ""},
		{"kill-edge,central-outage", []string{"kill-edge", "central-outage"}, ""},
		{"kill-edge,kill:batcher@2s", nil, "give one kind of them"},
	} {
		d := &disturbances{chaos: test.chaos}
		names, err := d.chaosNames()
		if !slices.Equal(names, test.names) || (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%q: %v, %v", test.chaos, names, err)
		}
	}
}

// Every variant is broken in every way; a server of one process as a whole.
func TestUnderChaos(t *testing.T) {
	f := &compareFlags{chaos: []string{"kill-edge", "kill-collector", "central-outage"}}
	f.settings.disturb.timeScale = 60
	var list []contender
	for _, name := range []string{"monolith", "udp-batch"} {
		c, err := refserver.LoadVariant(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, contender{name: name, composition: c})
	}
	under, err := f.underChaos(list, 9*time.Second)
	if err != nil || len(under) != 6 {
		t.Fatalf("%d contenders, %v", len(under), err)
	}
	for i, want := range []struct {
		name string
		role refserver.Role
		down time.Duration
	}{
		{"monolith[kill-edge]", roleServer, 0}, {"monolith[kill-collector]", roleServer, 500 * time.Millisecond}, {"monolith[central-outage]", roleServer, 6 * time.Second},
		{"udp-batch[kill-edge]", refserver.RoleEdge, 0}, {"udp-batch[kill-collector]", refserver.RoleCollector, 500 * time.Millisecond},
		{"udp-batch[central-outage]", refserver.RoleCollector, 6 * time.Second},
	} {
		if got := under[i]; got.name != want.name || got.faults[0].Role != want.role || got.faults[0].ForNs != int64(want.down) {
			t.Errorf("%s: %+v, want %+v", got.name, got.faults, want)
		}
	}
	if _, err := f.underChaos(list, 5*time.Second); err == nil || !strings.Contains(err.Error(), "raise --duration or --time-scale") {
		t.Errorf("an outage longer than the run: %v", err)
	}
}

func TestBrokenPromises(t *testing.T) {
	lost := int64(3)
	list := []reports.Variant{{Name: "a", Durability: "D0", Ledger: reports.Ledger{Fates: reports.Fates{LostAfterAck: &lost}}}}
	if err := brokenPromises(list); err != nil {
		t.Errorf("D0 promises nothing: %v", err)
	}
	list[0].Durability = "D1"
	if err := brokenPromises(list); exitCode(err) != exitFailed {
		t.Errorf("%v", err)
	}
}
