// Package cost makes the stages of a server as slow as somebody else's are: a
// queue in front of a number of workers that each need a drawn service time.
// The times are added to what the server really does, so that an architecture
// can be seen with the figures of a production that is not at hand.
//
// queue.go is the pure core, one queue; Stages around it sleeps. It also holds
// the fault that slows everything down for a while.
package cost

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/refserver/accept"
)

const (
	// MaxWorkers and MaxQueue bound what a stage may ask for: more than a
	// server has connections will never be seen.
	MaxWorkers = 8_192
	MaxQueue   = 65_536
	// DefaultQueue is the queue of a stage that names none.
	DefaultQueue = 1_024
	// MaxServiceNs bounds the percentiles of a service time: what is longer
	// outlasts every request.
	MaxServiceNs = 60_000_000_000
)

// StageCentral is central's, entered by a batch of records on its way into the
// store.
const StageCentral = "central"

var (
	// ErrSpec is wrapped by every error about a Spec.
	ErrSpec = errors.New("stage cost")
	// errQueueFull and errGaveUp are answered 503, as too many requests are.
	errQueueFull = fmt.Errorf("the stage's queue is full: %w", accept.ErrFull)
	errGaveUp    = fmt.Errorf("no worker of the stage was free in time: %w", accept.ErrFull)
)

// Names are the stages that a server may have: those of the one process
// (nginx, php, mysql, clickhouse, log), of an edge (edge, redis, log) and of
// central. A stage that a server does not have costs it nothing.
func Names() []string {
	return []string{accept.StageNginx, accept.StagePHP, accept.StageMySQL, accept.StageClickHouse,
		accept.StageEdge, accept.StageRedis, accept.StageLog, StageCentral}
}

// Spec is one stage: its workers, its queue, its time. In a server of several
// processes each process has stages of its own.
type Spec struct {
	Stage   string `json:"stage"`   // one of Names
	Workers int    `json:"workers"` // 1 to MaxWorkers serve at once
	// Queue is how many may wait for a worker, at most MaxQueue; 0 means
	// DefaultQueue. Who finds it full is refused.
	Queue int `json:"queue"`
	// Points are the percentiles of the service time, see dist.New.
	Points []dist.Point `json:"points"`
}

// Validate says in one line what is wrong. The error wraps ErrSpec.
func (s *Spec) Validate() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: stage %.40q: %w", ErrSpec, s.Stage, fmt.Errorf(format, args...))
	}
	switch {
	case !slices.Contains(Names(), s.Stage):
		return fail("unknown, expected one of: %s", strings.Join(Names(), ", "))
	case s.Workers < 1 || s.Workers > MaxWorkers:
		return fail("%d workers, expected 1 to %d", s.Workers, MaxWorkers)
	case s.Queue < 0 || s.Queue > MaxQueue:
		return fail("a queue of %d, expected at most %d, or 0 for %d", s.Queue, MaxQueue, DefaultQueue)
	}
	for _, p := range s.Points {
		if p.Ns > MaxServiceNs {
			return fail("p%v is %v, expected at most %v", p.Percentile, time.Duration(p.Ns), time.Duration(MaxServiceNs))
		}
	}
	if _, err := dist.New(s.Points); err != nil {
		return fail("%w", err)
	}
	return nil
}

// Validate checks all of a server's stages: each valid, none named twice.
func Validate(specs []Spec) error {
	seen := make(map[string]bool)
	for i := range specs {
		if err := specs[i].Validate(); err != nil {
			return err
		}
		if seen[specs[i].Stage] {
			return fmt.Errorf("%w: stage %s is given twice", ErrSpec, specs[i].Stage)
		}
		seen[specs[i].Stage] = true
	}
	return nil
}

// StageTruth is what a stage did since its start. Times are sums in ns over
// the requests counted.
type StageTruth struct {
	Stage    string `json:"stage"`
	Count    int64  `json:"count"`     // began with a worker
	Refused  int64  `json:"refused"`   // found the queue full
	GaveUp   int64  `json:"gave_up"`   // their own limit ended the wait
	MaxQueue int64  `json:"max_queue"` // deepest
	WaitNs   int64  `json:"wait_ns"`   // for a worker
	ServedNs int64  `json:"served_ns"` // drawn service times
	HeldNs   int64  `json:"held_ns"`   // workers were held, service time included; only those that have left
}

// Clock is the time that stages spend.
type Clock interface {
	// NowNs is monotonic.
	NowNs() int64
	// SleepUntil returns at ns, or when cut is closed; a nil cut never is.
	SleepUntil(ns int64, cut <-chan struct{})
}

// Stages are the stages of one process. It is safe for concurrent use, and
// implements accept.Costs.
type Stages struct {
	clock  Clock
	close  func() error
	closed chan struct{}
	stages map[string]*stage
	names  []string // in the order of the specs
	slow   slow
}

// New makes the stages. Service times are drawn from seed in the order of
// arrival. A nil clock is the machine's, as precise as it can be. The error
// wraps ErrSpec, or is the machine's.
func New(specs []Spec, seed uint64, clock Clock) (*Stages, error) {
	if err := Validate(specs); err != nil {
		return nil, err
	}
	s := &Stages{clock: clock, close: func() error { return nil }, closed: make(chan struct{}), stages: make(map[string]*stage)}
	if clock == nil {
		precise, err := newPreciseClock()
		if err != nil {
			return nil, fmt.Errorf("stage costs: %w", err)
		}
		s.clock, s.close = precise, precise.Close
	}
	for i := range specs {
		spec := &specs[i]
		service, err := dist.New(spec.Points)
		if err != nil {
			return nil, fmt.Errorf("BUG: validated: %w", err)
		}
		limit := spec.Queue
		if limit == 0 {
			limit = DefaultQueue
		}
		hash := fnv.New64a()
		_, _ = hash.Write([]byte(spec.Stage)) // never fails
		s.names = append(s.names, spec.Stage)
		s.stages[spec.Stage] = &stage{
			service: service, random: rand.New(rand.NewPCG(seed, hash.Sum64())),
			queue: queue{workers: spec.Workers, limit: limit, truth: StageTruth{Stage: spec.Stage}},
		}
	}
	return s, nil
}

// Close ends every sleep, and frees the clock. What enters afterwards spends
// no time.
func (s *Stages) Close() error {
	close(s.closed)
	err := s.Slow(0, 0)
	return errors.Join(err, s.close())
}

// Report is what the stages did so far, in the order of the specs.
func (s *Stages) Report() []StageTruth {
	list := make([]StageTruth, 0, len(s.names))
	for _, name := range s.names {
		list = append(list, s.stages[name].report())
	}
	return list
}

// Merge adds up the reports of several processes, in the order of Names.
func Merge(reports ...[]StageTruth) []StageTruth {
	sums := make(map[string]StageTruth)
	for _, t := range slices.Concat(reports...) {
		sum := sums[t.Stage]
		sums[t.Stage] = StageTruth{
			Stage: t.Stage, Count: sum.Count + t.Count, Refused: sum.Refused + t.Refused, GaveUp: sum.GaveUp + t.GaveUp,
			MaxQueue: max(sum.MaxQueue, t.MaxQueue), WaitNs: sum.WaitNs + t.WaitNs,
			ServedNs: sum.ServedNs + t.ServedNs, HeldNs: sum.HeldNs + t.HeldNs,
		}
	}
	merged := []StageTruth{}
	for _, name := range Names() {
		if t, found := sums[name]; found {
			merged = append(merged, t)
		}
	}
	return merged
}

// nothing is the leave of a stage without workers.
func nothing() {}

// Enter waits for one of the stage's workers, first come, first served, spends
// the service time and keeps the worker until leave, which must be called
// once. The wait ends with ctx; service that has begun does not, as a worker
// does not hear that its client has gone. An error wraps accept.ErrFull.
// accept.StageSlow is the fault of Slow. A nil leave means that the stage costs
// nothing here.
func (s *Stages) Enter(ctx context.Context, name string) (leave func(), err error) {
	if name == accept.StageSlow {
		if s.slow.wait(s.clock) {
			return nothing, nil
		}
		return nil, nil
	}
	st := s.stages[name]
	if st == nil {
		return nil, nil
	}
	t, err := st.arrive(s.clock)
	if err != nil {
		return nil, err
	}
	if err := st.await(ctx, t); err != nil {
		return nil, err
	}
	s.clock.SleepUntil(t.beganNs+t.serviceNs, s.closed)
	return func() { st.leave(s.clock, t) }, nil
}

// stage is a queue with its lock and its draws.
type stage struct {
	service dist.Dist

	mu     sync.Mutex // guards what follows
	random *rand.Rand
	queue  queue
}

// arrive draws for everyone who comes, so that the nth to come needs the same
// whatever became of the others.
func (st *stage) arrive(clock Clock) (*ticket, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	t := &ticket{serviceNs: st.service.At(st.random.Float64())}
	switch st.queue.arrive(clock.NowNs(), t) {
	case refused:
		return nil, errQueueFull
	case waits:
		t.began = make(chan struct{})
	}
	return t, nil
}

// await returns when a worker is the ticket's.
func (st *stage) await(ctx context.Context, t *ticket) error {
	if t.began == nil {
		return nil
	}
	select {
	case <-t.began:
		return nil
	case <-ctx.Done():
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.queue.giveUp(t) {
		return errGaveUp
	}
	return nil // the worker came at the same moment
}

func (st *stage) leave(clock Clock, t *ticket) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if next := st.queue.leave(clock.NowNs(), t); next != nil {
		close(next.began)
	}
}

func (st *stage) report() StageTruth {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.queue.truth
}
