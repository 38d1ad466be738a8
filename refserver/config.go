package refserver

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"time"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/collect"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/monolith"
)

// Config is what Serve needs. Composition, Addr and DataDir are required.
type Config struct {
	Composition Composition
	// Addr is host:port to listen on; port 0 takes a free one.
	Addr string
	// DataDir holds everything that must outlive the process. It is created if
	// missing. A DataDir that was used before is continued.
	DataDir string
	// SignedOnly refuses unsigned postbacks with 403.
	SignedOnly bool
	// MaxInFlight bounds the postbacks in work; 0 means monolith.DefaultMaxInFlight.
	MaxInFlight int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// BootID names this boot of the machine for /clock.
	BootID string
	// Log takes what an operator should know; nil drops it.
	Log *slog.Logger

	// Dialects are the partners that write their postbacks in their own way,
	// each below /p/ and its name.
	Dialects []postback.Dialect
	// Costs are the stages that take time, beyond what the server really does;
	// none means that it is as fast as it is. Their times are drawn from Seed.
	Costs []cost.Spec
	// TLSCertFile and TLSKeyFile are PEM files for a second listener, with TLS
	// 1.2 and 1.3, on a free port of the loopback interface; both or none.
	TLSCertFile, TLSKeyFile string
	// Real says where Redis, MariaDB and the like come from.
	Real Real
	// Guard is the command under which real programs are started, see proc.Spec;
	// GuardSweep are the directories that it tidies up after a kill. Without a
	// Guard, grandchildren such as nginx's workers may outlive a kill.
	Guard, GuardSweep []string
	// ThrowAway drops what the server made in databases that it did not start.
	ThrowAway bool
	// AdminAddr is host:port for the judge's endpoints and for faults; "" takes
	// a free port of the loopback interface.
	AdminAddr string
	// Seed is of everything that is drawn.
	Seed uint64

	// What follows is for a composition of several processes.

	// Program is how this program is started in a role of its own, on the
	// file that ReadRoleConfig reads.
	Program func(roleFile string) (path string, args []string)
	// ChildLog takes what the processes write to stderr; nil drops it.
	ChildLog io.Writer
	// LaneDir holds the lanes; "" means DataDir/lanes. In memory they are
	// fastest, on a disk they outlive a restart of the machine.
	LaneDir string
	// BufferFor is how long a lane holds what comes at BufferRatePerS while
	// nobody empties it; 0 means DefaultBufferFor.
	BufferFor time.Duration
	// TimeScale divides times to live: 60 makes 5 minutes 5 seconds. 0 means 1.
	TimeScale float64
	// UDP is what happens to datagrams between batcher and collector, drawn
	// from Seed; UDPDrop lists the ones that vanish, counted from 1.
	UDP     netem.Impairment
	UDPDrop []uint64
	// Uplink lies between the edges and central; nil is nothing. Datagrams take
	// half its round trip with its jitter (what is lost of them is UDP's to say),
	// a replicator's connections are shaped as a whole.
	Uplink *netem.PathSpec
	// Crash kills a process at a named point, once:
	// "edge:answered-not-buffered#137" is the 137th passage of the first edge.
	Crash string
}

// MaxTimeScale makes five minutes a third of a second.
const MaxTimeScale = 1000

const (
	// BufferRatePerS is the rate that lanes are sized for, in postbacks per
	// second of one edge.
	BufferRatePerS = 20_000
	// DefaultBufferFor makes a lane 16 MiB: with maxLanes of them an edge stays
	// within 64 MiB, the usual size of /dev/shm in a container.
	DefaultBufferFor = 1500 * time.Millisecond
	// maxBufferFor keeps a lane below 512 MiB.
	maxBufferFor = 40 * time.Second
)

// Addresses are where a server answers: Front takes postbacks and whatever a
// judge asks, TLS the same over TLS ("" without a certificate). GRPC takes
// streams of postbacks, over TLS if there is a certificate ("" unless the front
// does). Admin takes no postbacks, answers also while no edge lives, and does
// what no partner may: /chaos.
type Addresses struct{ Front, Admin, TLS, GRPC string }

func (c *Config) impaired() bool { return c.UDP != (netem.Impairment{}) || len(c.UDPDrop) > 0 }

// Validate says in one line what is wrong, and changes nothing.
func (c Config) Validate() error {
	if err := c.Composition.Validate(); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("listen address %q: expected host:port such as 127.0.0.1:8080", c.Addr)
	}
	if c.DataDir == "" {
		return errors.New("data directory is missing: name one that may be written")
	}
	if c.Composition.Uplink != None && c.Program == nil {
		return errors.New("a composition of several processes needs a program to start")
	}
	if c.Composition.Uplink == None && (c.impaired() || c.Crash != "") {
		return fmt.Errorf("variant %s has no UDP and no processes to disturb", c.Composition.Name)
	}
	if c.Real.Embedded && c.Composition.Front == FrontPHP {
		return fmt.Errorf("variant %s asks MariaDB and ClickHouse, for which it has no stand-ins: start it without them", c.Composition.Name)
	}
	if c.Real.Redis != "" && c.Composition.Uplink == UplinkReplicate && c.Composition.Edges > 1 {
		return fmt.Errorf("variant %s has %d edges, each with a Redis of its own: leave out the address of one", c.Composition.Name, c.Composition.Edges)
	}
	if c.Composition.Front == FrontPHP && (c.Real.MySQL != "" || c.Real.ClickHouse != "") {
		return errOwnDatabases
	}
	if c.TimeScale < 0 || math.IsNaN(c.TimeScale) || c.TimeScale > MaxTimeScale {
		return fmt.Errorf("time scale %v: expected more than 0 and at most %d", c.TimeScale, MaxTimeScale)
	}
	if c.BufferFor < 0 || c.BufferFor > maxBufferFor {
		return fmt.Errorf("buffer for %v: expected more than 0s and at most %v", c.BufferFor, maxBufferFor)
	}
	if err := cmp.Or(c.Real.Check(), c.checkDialects(), c.checkCosts(), c.checkUplink(), c.checkTLS()); err != nil {
		return err
	}
	if c.MaxInFlight < 0 {
		return fmt.Errorf("limit of postbacks in work: %d, expected at least 1, or 0 for the default", c.MaxInFlight)
	}
	return nil
}

func (c *Config) checkDialects() error {
	_, err := postback.NewDialects(c.Dialects)
	return err
}

func (c *Config) checkCosts() error {
	for i := range c.Costs {
		s := &c.Costs[i]
		if s.Stage == cost.StageCentral && s.Queue != 0 && s.Queue < collect.MaxCommits {
			return fmt.Errorf("%w: stage %s: a queue of %d, expected at least %d: a batch that was read must find room",
				cost.ErrSpec, s.Stage, s.Queue, collect.MaxCommits)
		}
	}
	return cost.Validate(c.Costs)
}

func (c *Config) checkUplink() error {
	if c.Uplink == nil {
		return nil
	}
	if c.Composition.Uplink == None {
		return fmt.Errorf("variant %s has no uplink that a network path could lie on", c.Composition.Name)
	}
	return c.Uplink.Validate()
}

func (c Config) withDefaults() Config {
	if c.MaxInFlight == 0 {
		c.MaxInFlight = monolith.DefaultMaxInFlight
		if len(c.Costs) > 0 { // their own queues say what is too much
			c.MaxInFlight = maxConnections
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.AdminAddr == "" {
		c.AdminAddr = anyPort
	}
	if c.LaneDir == "" {
		c.LaneDir = filepath.Join(c.DataDir, "lanes")
	}
	if c.BufferFor == 0 {
		c.BufferFor = DefaultBufferFor
	}
	if c.TimeScale == 0 {
		c.TimeScale = 1
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
