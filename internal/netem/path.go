package netem

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/postbench/postbench/internal/dist"
)

// Limits of a path.
const (
	// MaxConnections is how many connections a path carries at once, those
	// included that were closed and whose last bytes are still on their way.
	MaxConnections = 1 << 16
	// MaxRTTNs is the longest round trip: one to the moon and back.
	MaxRTTNs = 3_000_000_000
	// MinRateBitsPerS is the narrowest path: below it, one segment takes
	// longer than a retransmission timer can wait.
	MinRateBitsPerS = 10_000
)

// ErrFull is wrapped by the error of a Dial on a path that carries
// MaxConnections already. It is counted as Truth.Refused.
var ErrFull = errors.New("the path carries as many connections as it can")

// GilbertElliott is loss in bursts: a chain of two states, good and bad, that
// steps with every TCP segment, each state with its own share of loss. All
// figures are probabilities per segment, 0..1. Loss without bursts is GoodLoss
// alone.
type GilbertElliott struct {
	GoodLoss, BadLoss    float64
	GoodToBad, BadToGood float64
}

// Mean is the share of segments that the chain loses in the long run.
func (g GilbertElliott) Mean() float64 {
	if g.GoodToBad == 0 {
		return g.GoodLoss // it begins in the good state and stays there
	}
	bad := g.GoodToBad / (g.GoodToBad + g.BadToGood)
	return bad*g.BadLoss + (1-bad)*g.GoodLoss
}

func (g GilbertElliott) validate() error {
	for _, s := range []struct {
		name  string
		share float64
	}{{"good loss", g.GoodLoss}, {"bad loss", g.BadLoss}, {"good to bad", g.GoodToBad}, {"bad to good", g.BadToGood}} {
		if !(s.share >= 0 && s.share <= 1) { // NaN too
			return fmt.Errorf("%w: %s is %g, expected a share from 0 to 1", ErrConfig, s.name, s.share)
		}
	}
	if g.Mean() == 1 {
		return fmt.Errorf("%w: every segment is lost, nothing would ever arrive", ErrConfig)
	}
	return nil
}

// PathSpec is a network path between two places. The zero value changes
// nothing.
type PathSpec struct {
	Name         string
	RTTNs        int64          // there and back without jitter; half of it each way
	Jitter       dist.Dist      // added to every segment's one-way delay
	Loss         GilbertElliott // each direction has its own chain, all connections of the path share it
	RateBitsPerS float64        // of each direction, shared by all connections; 0 = no limit
	DNS          dist.Dist      // how long one look-up takes
}

// Validate names what is wrong with a path; the error wraps ErrConfig.
func (s *PathSpec) Validate() error {
	if s.RTTNs < 0 || s.RTTNs > MaxRTTNs {
		return fmt.Errorf("%w: path %q: a round trip of %d ns, expected 0 to %d", ErrConfig, s.Name, s.RTTNs, int64(MaxRTTNs))
	}
	if r := s.RateBitsPerS; r != 0 && (!(r >= MinRateBitsPerS) || math.IsInf(r, 1)) {
		return fmt.Errorf("%w: path %q: %g bits a second, expected 0 (no limit) or at least %d", ErrConfig, s.Name, r, MinRateBitsPerS)
	}
	if err := s.Loss.validate(); err != nil {
		return fmt.Errorf("path %q: %w", s.Name, err)
	}
	return nil
}

// Truth is what a path really did so far, both directions together. Segments
// are transmissions that carry data, SYN or FIN, retransmissions included; pure
// acknowledgements are free.
type Truth struct {
	Name               string
	Connections        int64 // that were established
	Failed             int64 // Dials that failed: refused, timed out, given up
	Refused            int64 // Dials beyond MaxConnections
	Segments           int64 // Lost of them included
	Lost               int64
	Retransmissions    int64 // Timeouts + Probes + FastRetransmits + those that followed a timeout
	Timeouts           int64 // retransmission timers that expired, those of SYN and SYN-ACK included
	Probes             int64 // tail loss probes
	FastRetransmits    int64 // of segments that later ones overtook
	Lookups            int64 // DNS look-ups
	DelayNs            int64 // sum over the segments that arrived: sent → arrived
	RecoveryNs         int64 // sum over the segments that were lost first: first sent → arrived − DelayNs
	HandshakeDelayedNs int64 // sum over the handshakes: what lost SYNs and SYN-ACKs cost
	LookupNs           int64 // sum over Lookups
}

// Network is a set of paths with one seed and one precise clock. It is safe for
// concurrent use.
type Network struct {
	seed  uint64
	clock *clock

	mu     sync.Mutex
	paths  []*Path
	closed bool
	tasks  sync.WaitGroup // goroutines of connections
}

// NewNetwork starts a network; Close ends it.
func NewNetwork(seed uint64) *Network { return &Network{seed: seed, clock: newClock(time.Now())} }

// Close ends all connections of all paths at once, without a FIN, and every
// wait of a Dial or a Resolve. It returns when nothing runs any more.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	paths := n.paths
	n.mu.Unlock()
	n.clock.stop()
	for _, p := range paths {
		p.abort()
	}
	n.tasks.Wait()
	return nil
}

// Path adds a path. The n-th path of equal networks gets equal chances. The
// error wraps ErrConfig.
func (n *Network) Path(spec PathSpec) (*Path, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	seed := scramble(scramble(n.seed) + uint64(len(n.paths)))
	p := &Path{network: n, spec: spec, seed: seed, conns: make(map[*conn]struct{})}
	p.out.medium = medium{seed: scramble(seed + 1), spec: &p.spec}
	p.in.medium = medium{seed: scramble(seed + 2), spec: &p.spec}
	n.paths = append(n.paths, p)
	return p, nil
}

// Path carries connections. It is safe for concurrent use.
type Path struct {
	network *Network
	spec    PathSpec // never changes
	seed    uint64
	out, in direction // from the client, to the client

	mu    sync.Mutex
	busy  int // connections and Dials on their way
	conns map[*conn]struct{}
	truth Truth // but for what the directions know
}

// direction is a medium that all connections of a path share.
type direction struct {
	mu     sync.Mutex
	medium medium
}

// transmit is carrier's.
func (d *direction) transmit(nowNs int64, s *segment, why cause) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.medium.transmit(nowNs, s, why)
}

// Spec is what the path was made of.
func (p *Path) Spec() PathSpec { return p.spec }

// Truth is what happened so far.
func (p *Path) Truth() Truth {
	p.mu.Lock()
	t := p.truth
	p.mu.Unlock()
	t.Name = p.spec.Name
	for _, d := range []*direction{&p.out, &p.in} {
		d.mu.Lock()
		part := d.medium.truth
		d.mu.Unlock()
		t.Segments += part.Segments
		t.Lost += part.Lost
		t.Retransmissions += part.Retransmissions
		t.Timeouts += part.Timeouts
		t.Probes += part.Probes
		t.FastRetransmits += part.FastRetransmits
		t.DelayNs += part.DelayNs
		t.RecoveryNs += part.RecoveryNs
	}
	return t
}

// Dial opens a TCP connection to address ("tcp", "tcp4" or "tcp6") over the
// path, with the signature of net.Dialer.DialContext. It takes a round trip,
// and a second more for each lost SYN or SYN-ACK, as Linux does it. The *net.OpError
// wraps what a real one would, ctx's error, net.ErrClosed of a closed Network, or ErrFull.
//
// The connection has, beside net.Conn's methods, CloseWrite() error and
// Stale() bool.
func (p *Path) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := p.dial(ctx, network, address)
	if err == nil {
		return c, nil
	}
	var op *net.OpError
	if !errors.As(err, &op) {
		err = &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return nil, err
}

func (p *Path) dial(ctx context.Context, network, address string) (c *conn, err error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.leave(nil)
		}
	}()
	clock := p.network.clock
	sleeper := newSleeper(clock)
	h := newHandshake(clock.now(), &p.out, &p.in)
	var real net.Conn
	for {
		nextNs, arrived, done, failed := h.step(clock.now())
		switch {
		case done:
			return p.establish(real.(*net.TCPConn), h)
		case failed:
			err = os.NewSyscallError("connect", syscall.ETIMEDOUT)
		case arrived:
			if real, err = (&net.Dialer{}).DialContext(ctx, network, address); err != nil {
				// The refusal, too, has to travel.
				if ended := sleeper.until(ctx, clock.now()+p.spec.RTTNs/2); ended != nil {
					err = ended
				}
			}
			h.accept(clock.now())
		default:
			err = sleeper.until(ctx, nextNs)
		}
		if err != nil {
			if real != nil {
				_ = real.Close()
			}
			return nil, err
		}
	}
}

// enter admits one more connection.
func (p *Path) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy == MaxConnections {
		p.truth.Refused++
		return fmt.Errorf("path %q: %w: %d", p.spec.Name, ErrFull, MaxConnections)
	}
	p.busy++
	return nil
}

// leave is the end of a connection; nil of one that never was.
func (p *Path) leave(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	if c == nil {
		p.truth.Failed++
		return
	}
	delete(p.conns, c)
}

// establish begins the life of a connection.
func (p *Path) establish(real *net.TCPConn, h *handshake) (*conn, error) {
	n := p.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = real.Close()
		return nil, net.ErrClosed
	}
	c, err := newConn(p, real, h)
	if err != nil {
		_ = real.Close()
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.truth.Connections++
	p.truth.HandshakeDelayedNs += h.delayedNs()
	p.conns[c] = struct{}{}
	n.tasks.Go(c.read)
	return c, nil
}

// abort ends all connections.
func (p *Path) abort() {
	p.mu.Lock()
	conns := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	for _, c := range conns {
		c.abort()
	}
}
