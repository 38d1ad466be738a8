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
		{"kill-edge,kill-edge", nil, "named twice"},
		{"kill-edgy", nil, `did you mean "kill-edge"?`},
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

// The first process that takes postbacks is a Worker where there is one; a
// server of the user's own cannot be broken, and is not said to have lost nothing.
func TestUnderChaosByComposition(t *testing.T) {
	f := &compareFlags{chaos: []string{"kill-edge"}}
	f.settings.disturb.timeScale = 60
	mine := contender{name: "mine", composition: refserver.Composition{Name: "mine", External: &refserver.External{URL: "http://127.0.0.1:1"}}}
	under, err := f.underChaos([]contender{{name: "edge-worker", composition: load(t, "edge-worker")}, mine}, 3*time.Second)
	if err != nil || len(under) != 1 || under[0].faults[0].Role != refserver.RoleWorker || under[0].faults[0].at != 1500*time.Millisecond {
		t.Errorf("%+v, %v", under, err)
	}
	if !slices.Equal(f.unbroken, []string{"mine"}) {
		t.Errorf("not broken: %v", f.unbroken)
	}
	if _, err := f.underChaos([]contender{mine}, 3*time.Second); err == nil {
		t.Error("nothing to break is no error")
	}
}

// A fault that was not done, say, spoils the table; a busy machine does not.
func TestDoubtsUnderChaos(t *testing.T) {
	var c comparison
	c.doubt("a[kill-edge]", &doubts{machine: []string{"the generator was late"}})
	if err := c.shown(); err != nil {
		t.Errorf("%v", err)
	}
	c.doubt("a[kill-edge]", &doubts{server: []string{"a fault was not injected"}})
	if err := c.shown(); exitCode(err) != exitInvalid {
		t.Errorf("%v", err)
	}
}

// What was counted across the death of a server is not known; that of one of
// its processes does not hide what the others counted.
func TestForgotten(t *testing.T) {
	queries := 2.0
	for process, want := range map[string]bool{"server": true, "edge/0": false} {
		m := measurement{sqlQueries: &queries, goWork: &goWork{}, serverCPUS: 1, faults: []reports.Fault{{Do: refserver.FaultKill, Process: process}}}
		m.forget()
		if got := m.sqlQueries == nil && m.goWork == nil && m.serverCPUS < 0; got != want {
			t.Errorf("%s killed: forgotten %v", process, got)
		}
	}
}

func TestBrokenPromises(t *testing.T) {
	lost := int64(3)
	list := []reports.Variant{{Name: "a", Durability: "D0", Ledger: reports.Ledger{Fates: reports.Fates{LostAfterAck: &lost}}}}
	if err := brokenPromises(list); err != nil {
		t.Errorf("D0 promises nothing: %v", err)
	}
	twice := int64(1)
	list[0].Ledger.DoubleCounted = &twice
	if err := brokenPromises(list); exitCode(err) != exitFailed || !strings.Contains(err.Error(), "counted twice 1") {
		t.Errorf("%v", err)
	}
	list[0].Ledger.DoubleCounted, list[0].Durability = nil, "D1"
	if err := brokenPromises(list); exitCode(err) != exitFailed {
		t.Errorf("%v", err)
	}
}
