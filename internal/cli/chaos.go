package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/reports"
)

const (
	// roleServer is a server of one process as a whole.
	roleServer refserver.Role = "server"
	// chaosScenario is what is played unless a flag says else.
	chaosScenario = "chaos"
	// outageShare is how much longer than the edges' Redis keeps postbacks
	// central is away.
	outageShare = 1.2
)

// namedFault is a fault that every architecture has in its own form.
type namedFault struct {
	name, help string
	role       refserver.Role
	at, down   time.Duration // down 0: started again at once
}

// namedFaults are the faults of --chaos that have names. ttl is how long the
// edges' Redis keeps postbacks.
func namedFaults(ttl time.Duration) []namedFault {
	return []namedFault{
		{"kill-edge", "SIGKILL of the first process that takes postbacks", refserver.RoleEdge, 4 * time.Second, 0},
		{"kill-collector", "SIGKILL of central, down for 500ms", refserver.RoleCollector, 4 * time.Second, 500 * time.Millisecond},
		{"central-outage", "central away for 1.2 times as long as an edge's Redis keeps postbacks", refserver.RoleCollector, time.Second,
			time.Duration(outageShare * float64(ttl))},
	}
}

// chaosNames are the names in --chaos; nil when it lists faults by process.
func (d *disturbances) chaosNames() ([]string, error) {
	var names, others []string
	known := namedFaults(refserver.RedisTTL)
	for _, text := range splitList(d.chaos) {
		if slices.ContainsFunc(known, func(f namedFault) bool { return f.name == text }) {
			names = append(names, text)
		} else {
			others = append(others, text)
		}
	}
	if len(names) > 0 && len(others) > 0 {
		return nil, fmt.Errorf("--chaos: %s is a name, %s a fault of one process: give one kind of them", names[0], others[0])
	}
	return names, nil
}

// asChaos takes names out of --chaos and fills in what they are played with.
func (f *compareFlags) asChaos() (err error) {
	if f.chaos, err = f.settings.disturb.chaosNames(); err != nil || len(f.chaos) == 0 {
		return err
	}
	if f.story || f.vary != "" {
		return errors.New("--chaos with names breaks every variant in turn: leave out --story and --vary")
	}
	f.settings.disturb.chaos = ""
	if !f.traffic.given("scenario") {
		f.traffic.scenario = chaosScenario
	}
	if !f.traffic.given("rounds") {
		f.rounds = 1
	}
	return nil
}

// underChaos is each contender under each named fault.
func (f *compareFlags) underChaos(list []contender, length time.Duration) ([]contender, error) {
	if len(f.chaos) == 0 {
		return list, nil
	}
	known := namedFaults(time.Duration(float64(refserver.RedisTTL) / f.settings.disturb.timeScale))
	var under []contender
	for _, c := range list {
		for _, name := range f.chaos {
			fault := known[slices.IndexFunc(known, func(k namedFault) bool { return k.name == name })]
			if end := fault.at + fault.down; end >= length {
				return nil, fmt.Errorf("--chaos %s is over after %v, the run after %v: raise --duration or --time-scale", name, end, length)
			}
			broken := c
			broken.name = reports.ChaosName(c.name, name)
			broken.faults = []plannedFault{fault.on(&c.composition)}
			under = append(under, broken)
		}
	}
	return under, nil
}

// on is the fault as it is done to the composition.
func (n *namedFault) on(c *refserver.Composition) plannedFault {
	role := n.role
	if len(c.Roles()) == 0 {
		role = roleServer // it takes postbacks, and is its own central
	}
	return plannedFault{at: n.at, Fault: refserver.Fault{Do: refserver.FaultKill, Role: role, ForNs: int64(n.down)}}
}

// serverFaults are those that are done to a server of one process.
func (d *disturbances) serverFaults() []plannedFault {
	return slices.DeleteFunc(slices.Clone(d.faults), func(f plannedFault) bool { return f.Role != roleServer })
}

// chaosHelp lists the names for --help.
func chaosHelp() string {
	var lines []string
	for _, f := range namedFaults(refserver.RedisTTL) {
		lines = append(lines, fmt.Sprintf("  %-15s %s", f.name, f.help))
	}
	return strings.Join(lines, "\n")
}

// unjudged is the error of variants whose losses are not known: their ledger
// could not be read, or their books do not balance.
func unjudged(variants []reports.Variant) error {
	for i := range variants {
		if v := &variants[i]; v.Ledger.LostAfterAck == nil || !v.Ledger.Balanced {
			return untrusted(v)
		}
	}
	return nil
}

// brokenPromises is the error of variants that lost what their class promises
// to keep; nil if none did.
func brokenPromises(variants []reports.Variant) error {
	var broken []string
	for i := range variants {
		if v := &variants[i]; v.Durability > "D0" && v.Ledger.LostAfterAck != nil && *v.Ledger.LostAfterAck > 0 {
			broken = append(broken, fmt.Sprintf("%s (%s) lost %d", v.Name, v.Durability, *v.Ledger.LostAfterAck))
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return &exitError{code: exitFailed, err: fmt.Errorf("acked postbacks were lost that the class promises to keep: %s", strings.Join(broken, ", "))}
}
