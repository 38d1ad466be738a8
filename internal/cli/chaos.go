package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/strictyaml"
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
	down       time.Duration // 0: started again at once
}

// namedFaults are the faults of --chaos that have names. ttl is how long the
// edges' Redis keeps postbacks.
func namedFaults(ttl time.Duration) []namedFault {
	return []namedFault{
		{"kill-edge", "SIGKILL of the first process that takes postbacks", refserver.RoleEdge, 0},
		{"kill-collector", "SIGKILL of central, down for 500ms", refserver.RoleCollector, 500 * time.Millisecond},
		{"central-outage", "central away for 1.2 times as long as an edge's Redis keeps postbacks", refserver.RoleCollector,
			time.Duration(outageShare * float64(ttl))},
	}
}

// chaosNames are the names in --chaos; nil when it lists faults by process.
func (d *disturbances) chaosNames() ([]string, error) {
	var known, names, others []string
	for _, f := range namedFaults(refserver.RedisTTL) {
		known = append(known, f.name)
	}
	for _, text := range splitList(d.chaos) {
		switch {
		case slices.Contains(names, text):
			return nil, fmt.Errorf("--chaos: %s is named twice", text)
		case slices.Contains(known, text):
			names = append(names, text)
		case !strings.Contains(text, ":"):
			return nil, fmt.Errorf("--chaos: %s; or by process, such as kill:collector@2s+1s", strictyaml.Unknown("fault", text, known))
		default:
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
	if f.story || f.vary != "" || f.base != "" {
		return errors.New("--chaos with names breaks every variant in turn: leave out --story, --vary and --base")
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

// underChaos is each contender under each named fault. Servers of the user's own
// are left out and noted: nobody knows here what could be broken in them.
func (f *compareFlags) underChaos(list []contender, length time.Duration) ([]contender, error) {
	if len(f.chaos) == 0 {
		return list, nil
	}
	known := namedFaults(time.Duration(float64(refserver.RedisTTL) / f.settings.disturb.timeScale))
	var under []contender
	for _, c := range list {
		if c.composition.External != nil {
			f.unbroken = append(f.unbroken, c.name)
			continue
		}
		for _, name := range f.chaos {
			fault := known[slices.IndexFunc(known, func(k namedFault) bool { return k.name == name })]
			if fault.down >= length {
				return nil, fmt.Errorf("--chaos %s takes %v, the run %v: raise --duration or --time-scale", name, fault.down, length)
			}
			broken := c
			broken.name = reports.ChaosName(c.name, name)
			broken.faults = []plannedFault{fault.on(&c.composition, length)}
			under = append(under, broken)
		}
	}
	if len(under) == 0 {
		return nil, errors.New("--chaos with names breaks servers of ours; there is none among --variants")
	}
	return under, nil
}

// breakable refuses what would show another loss than the fault's.
func (f *compareFlags) breakable(p *plan, list []contender) error {
	for i := range list {
		c := &list[i].composition
		if len(f.chaos) > 0 && p.profile.TLS && c.External == nil && len(c.Roles()) == 0 {
			return fmt.Errorf("--chaos %s with profile %s: variant %s starts again with TLS on another port, where nobody would find it: choose a profile without TLS",
				f.chaos[0], p.profile.Name, c.Name)
		}
	}
	return nil
}

// on is the fault as it is done to the composition, in the middle of a run of
// that length.
func (n *namedFault) on(c *refserver.Composition, length time.Duration) plannedFault {
	role, roles := n.role, c.Roles()
	switch {
	case len(roles) == 0:
		role = roleServer // it takes postbacks, and is its own central
	case role == refserver.RoleEdge:
		role = roles[0] // a Worker stands before the edges
	}
	return plannedFault{at: (length - n.down) / 2, Fault: refserver.Fault{Do: refserver.FaultKill, Role: role, ForNs: int64(n.down)}}
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
	return strings.Join(append(lines, "each in the middle of the run"), "\n")
}

// doubt keeps what makes a round's losses others than the fault's. That the
// machine was busy does not: the books say what was lost, however late.
func (c *comparison) doubt(name string, d *doubts) {
	for _, reason := range slices.Concat(d.server, d.books, d.ledger) {
		c.doubted = append(c.doubted, name+": "+reason)
	}
}

// shown is the error of a table that does not show what was asked for.
func (c *comparison) shown() error {
	if len(c.doubted) == 0 {
		return nil
	}
	return invalid("the table cannot be trusted: %s", strings.Join(c.doubted, "; "))
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
// to keep, or that counted twice what was sent again, which no class allows; nil
// if none did.
func brokenPromises(variants []reports.Variant) error {
	var broken []string
	for i := range variants {
		v := &variants[i]
		for _, wrong := range []struct {
			n    *int64
			what string
		}{{v.Ledger.LostAfterAck, "lost"}, {v.Ledger.DoubleCounted, "counted twice"}, {v.Ledger.Phantom, "made up"}, {v.Ledger.WrongVerdict, "judged wrongly"}} {
			if wrong.n != nil && *wrong.n > 0 && (wrong.n != v.Ledger.LostAfterAck || v.Durability > "D0") {
				broken = append(broken, fmt.Sprintf("%s (%s) %s %d", v.Name, v.Durability, wrong.what, *wrong.n))
			}
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return &exitError{code: exitFailed, err: fmt.Errorf("what was broken broke a promise: %s", strings.Join(broken, ", "))}
}
