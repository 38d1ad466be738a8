package refserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/internal/wholefile"
	"github.com/postbench/postbench/refserver/datagram"
)

// stopLimit bounds the end of all processes together.
const stopLimit = 30 * time.Second

// supervisor runs a server of several processes.
type supervisor struct {
	config    Config
	runDir    *proc.RunDir // sockets and role files
	nodes     []node
	pskFiles  []string
	realRedis bool

	frontAddr     string // where partners come to: the edges, or a Worker before them
	tlsAddr       string // where they do for TLS; "" is nowhere
	edgeAddr      string // where the edges listen
	grpcAddr      string // where they take streams; "" is nowhere
	verified      string // the token by which edges know the Worker; "" is nobody
	adminAddr     string // where the supervisor does
	receiveAddr   string // where the collector receives
	collectorAddr string // where batchers send to: the relay's address or receiveAddr
	ingestAddr    string // where central takes hand-overs across a network path; "" is nowhere
	ingestToken   string
	relay         atomic.Pointer[netem.Relay]

	freed     []func()   // what keeps addresses until the end
	processes []*process // in the order of their start
	central   *control
	keysMu    sync.Mutex // one distribution of keys at a time
}

// supervise runs the composition's processes until ctx ends, then drains them
// in the order of a postback's way.
func supervise(ctx context.Context, config Config, ready func(Addresses)) (err error) {
	s := &supervisor{config: config, receiveAddr: anyPort}
	defer func() {
		for _, free := range s.freed {
			free()
		}
	}()
	if err := s.reserveAll(); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	owned, err := ownDataDir(config.DataDir, &config.Composition)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer owned.Close()
	if s.runDir, err = proc.NewRunDir(""); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() { err = cmp.Or(err, s.runDir.Close()) }()
	if err := s.run(ctx, ready); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func (s *supervisor) run(ctx context.Context, ready func(Addresses)) error {
	if err := errors.Join(s.layout(), s.plan()); err != nil {
		return err
	}
	// The helpers of the processes live until those have drained.
	helpers, stopHelpers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHelpers()
	admin, err := s.serveAdmin(helpers)
	if err != nil {
		return err
	}
	err = s.startAll(ctx, helpers)
	if err == nil {
		ready(Addresses{Front: s.frontAddr, Admin: s.adminAddr, TLS: s.tlsAddr, GRPC: s.grpcAddr})
		err = s.keepAll(ctx)
	}
	err = errors.Join(err, s.stopAll(ctx))
	stopHelpers()
	<-admin
	return err
}

// plan lists the processes in the order of their start: central first and the
// edges last, so that nobody is answered before there is somewhere to put a
// postback.
func (s *supervisor) plan() error {
	collector := s.child(RoleCollector, 0)
	s.central, s.processes = collector.control, []*process{collector}
	for i := range s.nodes {
		switch s.config.Composition.Uplink {
		case UplinkUDP, UplinkUDPAcked:
			s.processes = append(s.processes, s.child(RoleBatcher, i))
			continue
		case UplinkGRPC:
			s.processes = append(s.processes, s.child(RoleStreamer, i))
			continue
		}
		redis, err := s.redisServer(i)
		if err != nil {
			return err
		}
		if redis != nil {
			s.processes = append(s.processes, redis)
		}
		s.processes = append(s.processes, s.child(RoleReplicator, i))
	}
	for i := range s.nodes {
		edge := s.child(RoleEdge, i)
		edge.afterRestart = func(ctx context.Context) error { return s.reload(ctx, edge) }
		s.processes = append(s.processes, edge)
	}
	if s.config.Composition.Front == FrontWorker {
		worker := s.child(RoleWorker, 0)
		worker.afterRestart = func(ctx context.Context) error { return s.reload(ctx, worker) }
		s.processes = append(s.processes, worker)
	}
	return nil
}

func (s *supervisor) startAll(ctx, helpers context.Context) error {
	for _, p := range s.processes {
		if err := p.start(ctx); err != nil {
			return err
		}
		if p.role != RoleCollector {
			continue
		}
		s.receiveAddr = p.running().Addr() // a successor listens there again
		s.collectorAddr = s.receiveAddr
		if err := s.startRelay(helpers); err != nil {
			return err
		}
		if err := s.distributeKeys(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervisor) startRelay(helpers context.Context) error {
	if !s.config.Composition.SendsDatagrams() || !s.config.impaired() && s.config.Uplink == nil {
		return nil
	}
	relaying := netem.Config{
		Forward: s.receiveAddr, Seed: s.config.Seed, Impairment: s.config.UDP, Drop: s.config.UDPDrop, Records: datagram.RecordCount,
	}
	if s.config.Composition.Uplink == UplinkUDPAcked {
		relaying.Back = s.config.UDP
	}
	if path := s.config.Uplink; path != nil {
		relaying.DelayNs, relaying.Jitter = path.RTTNs/2, path.Jitter
	}
	relay, err := netem.NewRelay(relaying)
	if err != nil {
		return err
	}
	s.relay.Store(relay)
	s.collectorAddr = relay.Addr()
	go func() {
		if err := relay.Run(helpers); err != nil {
			s.config.Log.Error("UDP relay", "error", err)
		}
	}()
	return nil
}

// keepAll restarts what dies until ctx ends or something dies for good.
func (s *supervisor) keepAll(ctx context.Context) error {
	keeping, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var keepers sync.WaitGroup
	for _, p := range s.processes {
		keepers.Go(func() {
			if err := p.keep(keeping); err != nil {
				stop(err)
			}
		})
	}
	keepers.Wait()
	if err := context.Cause(keeping); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// stopAll drains the processes in the order of a postback's way: an edge puts
// what it has answered, a batcher sends what the lanes hold, the collector
// commits what has arrived.
func (s *supervisor) stopAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	var errs []error
	for _, role := range []Role{RoleWorker, RoleEdge, RoleBatcher, RoleStreamer, RoleReplicator, RoleRedis, RoleCollector} {
		var stopping sync.WaitGroup
		var mu sync.Mutex
		for _, p := range s.processes {
			if p.role != role {
				continue
			}
			stopping.Go(func() {
				if err := p.stop(ctx); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			})
		}
		stopping.Wait()
	}
	return errors.Join(errs...)
}

// distributeKeys hands central's keys to all edges.
func (s *supervisor) distributeKeys(ctx context.Context) error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	var keys []storedKey
	if err := s.central.get(ctx, "/keys", &keys); err != nil {
		return fmt.Errorf("ask central for the partners' keys: %w", err)
	}
	text, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	if err := wholefile.Write(filepath.Join(s.runDir.Path(), "keys.json"), text); err != nil {
		return err
	}
	for _, p := range append(s.of(RoleEdge), s.of(RoleWorker)...) {
		if p.running() == nil {
			continue // it reads the file when it starts
		}
		if err := p.control.post(ctx, "/reload", nil); err != nil && p.running() != nil {
			return fmt.Errorf("hand the partners' keys to %s: %w", p.name(), err)
		}
	}
	return nil
}

// reload makes a process read the keys file: they may have changed between its
// reading and its being ready.
func (s *supervisor) reload(ctx context.Context, p *process) error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	return p.control.post(ctx, "/reload", nil)
}

// of are the processes of a role.
func (s *supervisor) of(role Role) []*process {
	return slices.DeleteFunc(slices.Clone(s.processes), func(p *process) bool { return p.role != role })
}
