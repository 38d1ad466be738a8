package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/refserver/parts"
)

const (
	// externalReadyTimeout is how long a command may take until it can be asked:
	// a virtual machine may have to warm up and a database to be made.
	externalReadyTimeout = 60 * time.Second
	externalStopTimeout  = 15 * time.Second
	// maxPortTries bounds how often a command starts again because somebody else
	// took its port meanwhile.
	maxPortTries = 3
	// probeTimeout bounds one look whether the server is ready.
	probeTimeout = 2 * time.Second
)

// external is a server of the user's own in one round.
type external struct {
	child *proc.Child // nil: it runs already
	at    refserver.External
}

// measureExternal measures a server of the user's own: one that it starts and
// stops, or one that runs already.
func measureExternal(ctx context.Context, p *plan, round uint32, c *refserver.Composition, set *settings, scratch, statePath string) (*measurement, error) {
	s, err := startExternal(ctx, c, filepath.Join(scratch, "data"))
	if err != nil {
		return nil, err
	}
	own := *set
	own.quiet = 0 // it need not tell its backlog
	m, err := p.measure(ctx, round, s.target(), &own, statePath)
	died := s.died()
	stopErr := s.stop(context.WithoutCancel(ctx))
	switch {
	case err != nil && died != nil:
		return nil, fmt.Errorf("%w; %w", died, err)
	case err != nil:
		return nil, err
	case died != nil:
		m.doubts.server = append(m.doubts.server, "the server ended during the run: "+died.Error())
	case errors.Is(stopErr, proc.ErrForced):
		fmt.Fprint(set.stderr, noteForced(c.Name, externalStopTimeout))
	}
	return m, nil
}

func noteForced(name string, patience time.Duration) string {
	return fmt.Sprintf("note: variant %s did not end within %v of SIGTERM and was killed\n", name, patience)
}

// startExternal starts the command with an address and a directory of its own,
// if there is one.
func startExternal(ctx context.Context, c *refserver.Composition, data string) (*external, error) {
	if len(c.External.Command) == 0 {
		return &external{at: *c.External}, nil
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, fmt.Errorf("make {data} of variant %s: %w", c.Name, err)
	}
	for try := 1; ; try++ {
		addr, err := parts.FreePort(ctx)
		if err != nil {
			return nil, err
		}
		s := &external{at: c.External.In(addr, data)}
		if err = s.vacant(ctx, c.Name); err != nil {
			return nil, err
		}
		if err = s.start(ctx, c.Name); err == nil {
			return s, nil
		}
		if try == maxPortTries || !s.chosen(addr) || !parts.PortTaken(ctx, err, addr) {
			return nil, err
		}
	}
}

// chosen tells whether the server listens where it was told to.
func (s *external) chosen(addr string) bool { return s.at.Address() == addr }

// vacant refuses an address at which somebody answers before the command runs:
// it would be taken for the command.
func (s *external) vacant(ctx context.Context, name string) error {
	conn, err := dialOnce(ctx, s.at.Address())
	if err != nil {
		return nil
	}
	conn.Close()
	return fmt.Errorf("variant %s: somebody listens on %s already, before its command is started: stop that, or write {addr} in url and command", name, s.at.Address())
}

func dialOnce(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: probeTimeout}
	return dialer.DialContext(ctx, "tcp", address)
}

// start runs the command and waits until it is ready. The error is one line,
// with the end of what the command wrote to stderr.
func (s *external) start(ctx context.Context, name string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	client := newHTTPClient(nil)
	defer client.CloseIdleConnections()
	s.child, err = proc.Start(ctx, proc.Spec{
		Name: "variant " + name, Path: s.at.Command[0], Args: s.at.Command[1:], Nice: serverNice,
		Probe:        func(ctx context.Context) error { return s.probe(ctx, client) },
		ReadyTimeout: externalReadyTimeout, StopTimeout: externalStopTimeout,
		Guard: []string{program, guardVerb}, GuardSweep: sweepDirs(),
	})
	if errors.Is(err, proc.ErrNotReady) {
		return fmt.Errorf("%w; it was asked for: %s", err, s.readySign())
	}
	return err
}

// readySign says how the server shows that it is ready.
func (s *external) readySign() string {
	if s.at.Ready == "" {
		return "an open port at " + s.at.Address()
	}
	return "status 200 of " + s.at.Ready
}

// probe looks once whether the server is ready.
func (s *external) probe(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if s.at.Ready == "" {
		conn, err := dialOnce(ctx, s.at.Address())
		if err != nil {
			return err
		}
		return conn.Close()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.at.Ready, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxReasonBytes)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", s.at.Ready, response.Status)
	}
	return nil
}

// target is the server as a measurement's target: only what it has a URL for.
func (s *external) target() *target {
	to := &target{
		connection: connection{origin: strings.TrimSuffix(s.at.URL, "/")},
		ledger:     s.at.Ledger, caps: s.at.Caps, clock: s.at.Clock, populate: s.at.Populate, client: newHTTPClient(nil),
	}
	if to.clock == "" {
		to.clock = clockOf(s.at.Ledger)
	}
	if s.child != nil {
		to.cpu = s.child.CPUTime
	}
	return to
}

// died is how a command ended by itself; nil while it runs.
func (s *external) died() error {
	if s.child == nil {
		return nil
	}
	select {
	case <-s.child.Done():
		if err := s.child.Err(); err != nil {
			return err
		}
		return errors.New("its command ended by itself, with exit status 0")
	default:
		return nil
	}
}

// stop ends the command in order, and all that it has started.
func (s *external) stop(ctx context.Context) error {
	if s.child == nil {
		return nil
	}
	return s.child.Stop(ctx)
}

// playsExternal refuses what cannot be done to, or be told of, a server of the
// user's own in so many rounds.
func (p *plan) playsExternal(c *refserver.Composition, rounds int) error {
	if c.External == nil || len(c.External.Command) > 0 || c.External.Caps == "" || rounds < 2 {
		return nil
	}
	for i := range p.spec.Offers {
		if p.spec.Offers[i].Cap > 0 {
			return fmt.Errorf("variant %s runs already, and its offers would count from round to round, but caps are judged of empty ones: give it a command, leave out its caps, or play --rounds 1", c.Name)
		}
	}
	return nil
}

// playedAs is the round whose run number a try of a round has. A server that
// runs already keeps the rows of a spoilt try, so that the next one needs a run
// number that no round has.
func (c *comparison) playedAs(round uint32, try int, who *contender) uint32 {
	if e := who.composition.External; e == nil || len(e.Command) > 0 {
		return round
	}
	return round + uint32(try*c.rounds)
}

// ownServerNotes say what of the scenario and the profile does not reach a
// server of the user's own.
func (p *plan) ownServerNotes() []string {
	var notes []string
	if len(p.profile.Stages) > 0 || p.profile.TLS {
		notes = append(notes, noteOnlyNetworks(p.profile.Name))
	}
	if p.scenario.ServerSlow != nil {
		notes = append(notes, noteNotSlowed(p.scenario.Name))
	}
	return notes
}

// ourServerFlags are about what is done to a server of ours, or about its parts.
func ourServerFlags() []string {
	return []string{"udp-loss", "udp-duplicate", "udp-reorder", "udp-drop", "buffer-for", "chaos", "redis", "mysql", "clickhouse", "embedded", "require"}
}

// fitsExternal refuses flags that mean nothing to a server of the user's own.
func (f *runFlags) fitsExternal(c *refserver.Composition) error {
	if c.External == nil {
		return nil
	}
	for _, flag := range ourServerFlags() {
		if f.traffic.given(flag) {
			return fmt.Errorf("--%s is for servers of ours; variant %s is one of your own: leave it out", flag, c.Name)
		}
	}
	return nil
}
