package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/refserver"
)

const (
	// maxFaults bounds --chaos, maxDrops the datagrams that --udp-drop names.
	maxFaults = 1_000
	maxDrops  = 100_000
)

// disturbances are the flags about what goes wrong between edges and central,
// on purpose.
type disturbances struct {
	udpLoss, udpDuplicate, udpReorder string
	udpDrop                           string
	timeScale                         float64
	chaos                             string
	bufferFor                         time.Duration

	udp    netem.Impairment
	drop   []uint64
	faults []plannedFault
	crash  *crashFault
}

// maxServerScale keeps the 5 minutes of an edge's Redis at 5 s when a scenario
// compresses a month: a shorter life would lose what is merely under way.
const maxServerScale = 60

// scaleTimes takes the time scale of the traffic; one that was asked for by a
// flag is the server's too, as far as it goes.
func (d *disturbances) scaleTimes(t *traffic, scale float64) {
	d.timeScale = min(scale, refserver.MaxTimeScale)
	if !t.given("time-scale") {
		d.timeScale = min(scale, maxServerScale)
	}
}

// plannedFault is a fault with its time since the start of the run.
type plannedFault struct {
	at time.Duration
	refserver.Fault
}

// crashFault is a process that kills itself at a named point.
type crashFault struct {
	role  refserver.Role
	node  int
	point string // "answered-not-buffered#137"
}

// registerServer registers what a server alone understands, too.
func (d *disturbances) registerServer(flags *pflag.FlagSet) {
	d.registerPath(flags)
	flags.Float64Var(&d.timeScale, "time-scale", 1, "divide times to live by `K`: 60 makes the 5 minutes of an edge's Redis 5 s")
}

func (d *disturbances) registerPath(flags *pflag.FlagSet) {
	for _, f := range d.shares() {
		flags.StringVar(f.text, f.flag, "", f.help)
	}
	flags.StringVar(&d.udpDrop, "udp-drop", "", "`LIST` of the datagrams to central that vanish, counted from 1: 3,17,40-45")
	flags.DurationVar(&d.bufferFor, "buffer-for", refserver.DefaultBufferFor, fmt.Sprintf("how long an edge's lane holds %d postbacks/s that nobody takes; when it is full, the edge answers 503", refserver.BufferRatePerS))
}

func (d *disturbances) register(flags *pflag.FlagSet) {
	d.registerPath(flags)
	d.timeScale = 1 // the scenario's, later
	flags.StringVar(&d.chaos, "chaos", "", "`LIST` of faults of the server: kill:ROLE[/N]@T[+DOWN], stop:ROLE[/N]@T+FOR, crash:ROLE[/N]:POINT#NTH;\nsuch as kill:collector@2s+1s")
}

// udpShare is a flag about what happens to a share of the datagrams.
type udpShare struct {
	flag, help string
	text       *string
	share      *float64 // 0 to 1
}

func (d *disturbances) shares() []udpShare {
	return []udpShare{
		{"udp-loss", "share of the datagrams between edges and central that vanish (`P%`), such as 0.001%", &d.udpLoss, &d.udp.Loss},
		{"udp-duplicate", "share of them that come twice (`P%`)", &d.udpDuplicate, &d.udp.Duplicate},
		{"udp-reorder", "share of them that are overtaken by later ones (`P%`)", &d.udpReorder, &d.udp.Reorder},
	}
}

// resolve reads the flags.
func (d *disturbances) resolve() (err error) {
	for _, f := range d.shares() {
		if *f.share, err = percent(*f.text); err != nil {
			return fmt.Errorf("--%s %w", f.flag, err)
		}
	}
	if d.drop, err = ordinals(d.udpDrop); err != nil {
		return fmt.Errorf("--udp-drop %w", err)
	}
	if d.bufferFor <= 0 {
		return fmt.Errorf("--buffer-for %v: want more than 0s", d.bufferFor)
	}
	if !(d.timeScale > 0) {
		return fmt.Errorf("--time-scale %v: want more than 0", d.timeScale)
	}
	list := splitList(d.chaos)
	if len(list) > maxFaults {
		return fmt.Errorf("--chaos names %d faults, want at most %d", len(list), maxFaults)
	}
	for _, text := range list {
		if err := d.add(text); err != nil {
			return fmt.Errorf("--chaos %q: %w", text, err)
		}
	}
	return nil
}

// fits refuses what the composition has no part for.
func (d *disturbances) fits(c *refserver.Composition) error {
	if c.External != nil && (d.udp != netem.Impairment{} || len(d.drop) > 0 || len(d.faults) > 0 || d.crash != nil) {
		return fmt.Errorf("--chaos and --udp-…: variant %s is a server of your own, whose inside is not known here", c.Name)
	}
	if !c.SendsDatagrams() && (d.udp != netem.Impairment{} || len(d.drop) > 0) {
		return fmt.Errorf("--udp-loss, --udp-duplicate, --udp-reorder and --udp-drop: variant %s sends no datagrams; its uplink is %s", c.Name, c.Uplink)
	}
	roles := c.Roles()
	for _, f := range d.faults {
		if err := hasProcess(c, roles, f.Role, f.Node); err != nil {
			return err
		}
	}
	if d.crash != nil {
		return hasProcess(c, roles, d.crash.role, d.crash.node)
	}
	return nil
}

func hasProcess(c *refserver.Composition, roles []refserver.Role, role refserver.Role, node int) error {
	if slices.Contains(roles, role) && (node < c.Edges && role != refserver.RoleCollector || node == 0) {
		return nil
	}
	if len(roles) == 0 {
		return fmt.Errorf("--chaos: variant %s is one process; its end would be the end of the run", c.Name)
	}
	return fmt.Errorf("--chaos: variant %s has no process %s/%d; its roles are %s, each /0 to /%d (one collector)", c.Name, role, node, joinRoles(roles), c.Edges-1)
}

func joinRoles(roles []refserver.Role) string {
	var names []string
	for _, r := range roles {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// add reads one fault.
func (d *disturbances) add(text string) error {
	do, rest, _ := strings.Cut(text, ":")
	switch do {
	case "kill", "stop":
		f, err := parseFault(do, rest)
		if err != nil {
			return err
		}
		d.faults = append(d.faults, f)
		return nil
	case "crash":
		who, point, ok := strings.Cut(rest, ":")
		_, nth, counted := strings.Cut(point, "#")
		n, err := strconv.ParseUint(nth, 10, 32)
		if !ok || !counted || err != nil || n == 0 {
			return errors.New("want crash:ROLE[/N]:POINT#NTH such as crash:edge:answered-not-buffered#100")
		}
		if d.crash != nil {
			return errors.New("only one crash point can be armed")
		}
		role, node, err := parseProcess(who)
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(point, "#")
		if points := role.CrashPoints(); !slices.Contains(points, name) {
			return fmt.Errorf("%s has no crash point %q; it has: %s", role, name, cmp.Or(strings.Join(points, ", "), "none"))
		}
		d.crash = &crashFault{role, node, point}
		return nil
	}
	return errors.New("want kill:…, stop:… or crash:…")
}

// parseFault reads ROLE[/N]@T[+FOR].
func parseFault(do, text string) (plannedFault, error) {
	who, when, ok := strings.Cut(text, "@")
	if !ok {
		return plannedFault{}, fmt.Errorf("want %s:ROLE[/N]@T such as %s:batcher@2s+500ms", do, do)
	}
	atText, forText, hasFor := strings.Cut(when, "+")
	at, err := time.ParseDuration(atText)
	if err != nil || at < 0 {
		return plannedFault{}, fmt.Errorf("time %q: want a duration such as 2s", atText)
	}
	f := plannedFault{at: at, Fault: refserver.Fault{Do: do}}
	if hasFor {
		down, err := time.ParseDuration(forText)
		if err != nil || down < 0 {
			return f, fmt.Errorf("length %q: want a duration such as 500ms", forText)
		}
		f.ForNs = int64(down)
	} else if do == "stop" {
		return f, errors.New("a stop needs its length: stop:ROLE[/N]@T+FOR")
	}
	f.Role, f.Node, err = parseProcess(who)
	return f, err
}

// parseProcess reads ROLE[/N].
func parseProcess(text string) (refserver.Role, int, error) {
	role, number, has := strings.Cut(text, "/")
	if !has {
		return refserver.Role(role), 0, nil
	}
	node, err := strconv.Atoi(number)
	if err != nil || node < 0 {
		return "", 0, fmt.Errorf("process %q: want ROLE/N such as edge/1", text)
	}
	return refserver.Role(role), node, nil
}

// percent reads "0.001%" as a share; "" is 0.
func percent(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, ok := strings.CutSuffix(text, "%")
	value, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(value >= 0 && value <= 100) {
		return 0, fmt.Errorf("%q: want 0%% to 100%%, such as 0.001%%", text)
	}
	return value / 100, nil
}

// ordinals reads "3,17,40-45".
func ordinals(text string) ([]uint64, error) {
	var list []uint64
	for _, part := range splitList(text) {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 63)
		high, err2 := strconv.ParseUint(last, 10, 63)
		if err != nil || err2 != nil || low == 0 || high < low {
			return nil, fmt.Errorf("%q: want numbers from 1 on and ranges, such as 3,17,40-45", part)
		}
		if uint64(len(list))+high-low+1 > maxDrops {
			return nil, fmt.Errorf("names more than %d datagrams", maxDrops)
		}
		for n := low; n <= high; n++ {
			list = append(list, n)
		}
	}
	return list, nil
}

// serverArgs hand the disturbances to a child that serves the composition.
func (d *disturbances) serverArgs(c *refserver.Composition, seed uint64) []string {
	args := []string{"--time-scale", fmt.Sprint(d.timeScale)}
	if c.Buffer == refserver.BufferShm {
		args = append(args, "--buffer-for", d.bufferFor.String())
	}
	args = append(args, "--seed", strconv.FormatUint(seed, 10))
	if c.SendsDatagrams() {
		for _, f := range d.shares() {
			args = append(args, "--"+f.flag, fmt.Sprintf("%v%%", 100**f.share))
		}
		args = append(args, "--udp-drop", d.udpDrop)
	}
	if d.crash != nil && slices.Contains(c.Roles(), d.crash.role) {
		args = append(args, "--crash", fmt.Sprintf("%s/%d:%s", d.crash.role, d.crash.node, d.crash.point))
	}
	return args
}
