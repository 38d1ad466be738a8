package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/transport"
	"github.com/postbench/postbench/loadgen/transport/vegeta"
	"github.com/postbench/postbench/reports"
)

// target is where a round's postbacks go and where its books are read.
type target struct {
	connection
	ledger   string // URL or file; "" = none: fates stay unknown
	columns  audit.Columns
	caps     string // URL; "" = no router
	clock    string // URL; "" = not known
	populate string // URL that takes the population; "" = it is there already
	client   *http.Client

	components []reports.Component
	cpu        func() time.Duration // CPU time of the server; nil or negative = not known

	// Of a server of ours: what its stages and its processes counted, and what
	// is done to it meanwhile.
	place  place
	stages string // URL; "" = not ours
	gc     string // URL of what the Go runtimes of the processes that answer count; "" = not ours

	databases string // URL of what its databases did; "" = it has edges, or is not ours
	path      string // URL; "" = it is one process
	chaos     string // URL
	faults    []plannedFault
	crash     *crashFault
	// restart kills a server that is one process and starts it again after a
	// while; nil of others.
	restart func(ctx context.Context, down time.Duration) error
}

// measurement is everything that one round found out.
type measurement struct {
	number     int
	runNumber  uint32
	variant    string
	outcome    *loadgen.Outcome
	sheet      *audit.Sheet         // nil without a ledger
	partners   []audit.PartnerSheet // intents and attempts are known without a ledger too
	counted    bool
	doubts     doubts
	acked      int64         // intents of which an attempt was acked
	lastDue    time.Duration // due time of the last intent that was released
	lastAck    time.Duration // latest ack of an intent that needed one attempt
	inMemory   bool          // the server's data lay on a file system in memory
	settled    int64         // rows that came after the ledger had settled
	caps       *loadgen.CapObservation
	clock      clockState
	clientCPUS float64
	serverCPUS float64  // negative = not known
	goWork     *goWork  // of the processes that answer; nil = not known
	sqlQueries *float64 // per attempt; nil = not known
	components []reports.Component
	path       *reports.Path
	netem      *reports.Netem
	faults     []reports.Fault
	ways       *ways
	truths     []netem.Truth // of the paths that were emulated
	costs      []reports.StageCost
}

// hints points at what is more likely a mistake than a finding.
func (m *measurement) hints(grace time.Duration) string {
	text := ""
	if n := m.stillTrying(); n > 0 && !m.outcome.Interrupted {
		text = noteStillTrying(n, grace)
	}
	switch {
	case m.acked == 0 && m.outcome.Intents > 0:
		text += noteNothingAcked(int64(m.outcome.Intents))
	case m.sheet != nil && m.sheet.Fates.Recorded > 0 && m.sheet.Verdicts[intent.Unattributed] == m.sheet.Fates.Recorded:
		text += noteUnattributed()
	}
	return text + budgetNotes(m.outcome.Budget)
}

// stillTrying is how many postbacks the end of the run kept from being tried
// again.
func (m *measurement) stillTrying() (n int64) {
	for i := range m.partners {
		n += m.partners[i].Drops[intent.RunEnded]
	}
	return n
}

// clockState says whether the ledger's times can be held against ours.
type clockState struct {
	known  bool
	offset loadgen.ClockOffset
}

const (
	httpTimeout      = 5 * time.Second
	preflightTimeout = 3 * time.Second
)

// newHTTPClient is for ledger, caps, clock and population: never for load. A
// nil config means the system's certificates.
func newHTTPClient(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true, TLSClientConfig: config}}
}

// measure plays one round of the plan against a target and judges it. state
// is where the run's memory is kept. Errors before the first request are bad
// input; later ones make the measurement invalid and are marked so.
func (p *plan) measure(ctx context.Context, round uint32, to *target, set *settings, statePath string) (*measurement, error) {
	generator, err := p.generator(round)
	if err != nil {
		return nil, err
	}
	n, err := p.intents(round)
	if err != nil {
		return nil, err
	}
	if err := p.preflight(ctx, generator, to, n); err != nil {
		return nil, err
	}
	state, err := loadgen.CreateState(statePath, n)
	if err != nil {
		return nil, err
	}
	defer state.Close()
	m := &measurement{number: int(round) + 1, runNumber: generator.Spec().RunNumber, components: to.components}
	if m.clock, err = to.measureClock(ctx, set.bootID); err != nil {
		return nil, err
	}
	if m.ways, err = p.openWays(to.place, round); err != nil {
		return nil, err
	}
	defer m.ways.close()
	if err := p.play(ctx, round, generator, state.Cells, to, set, m); err != nil {
		return nil, err
	}
	m.truths = m.ways.truths()
	p.judge(ctx, generator, state.Cells, to, set, m)
	if err := cmp.Or(to.readStages(context.WithoutCancel(ctx), m), to.readPath(context.WithoutCancel(ctx), m)); err != nil {
		m.doubts.server = append(m.doubts.server, "the counts of the server's processes are not known: "+err.Error())
	}
	return m, nil
}

// preflight finds what would spoil the run before it starts.
func (p *plan) preflight(ctx context.Context, generator *intent.Generator, to *target, n uint64) error {
	address, _, _, err := transport.HostPort(to.origin)
	if err != nil {
		return fmt.Errorf("target %q: %w", to.origin, err)
	}
	dialer := net.Dialer{Timeout: preflightTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("target %s does not answer: %w; is the server running?", to.origin, err)
	}
	conn.Close()
	if to.populate != "" {
		if err := populate(ctx, to.client, to.populate, generator, n); err != nil {
			return err
		}
	}
	if err := p.checkLedger(ctx, generator, to); err != nil {
		return err
	}
	if to.caps == "" {
		return nil
	}
	router := loadgen.Router{URL: to.caps, Offers: generator.Spec().Offers, Client: to.client}
	return router.Check(ctx)
}

// checkLedger refuses a ledger that cannot be read or already holds the run.
func (p *plan) checkLedger(ctx context.Context, generator *intent.Generator, to *target) error {
	if to.ledger == "" {
		return nil
	}
	ours := p.ownRows(generator)
	taken := int64(0)
	_, err := loadgen.NewLedger(to.ledger, to.columns, runID(generator), to.client).Read(ctx, func(row *audit.Row) {
		if ours(row) {
			taken++
		}
	})
	if err != nil {
		return err
	}
	if taken > 0 {
		return fmt.Errorf("the ledger already holds %d rows of run number %d with this seed: raise --run-number or change --seed", taken, generator.Spec().RunNumber)
	}
	return nil
}

// ownRows tells rows that a run would take for its own. An older conversion of
// one of the user's own clicks is none: the judge leaves it out by its time.
func (p *plan) ownRows(generator *intent.Generator) func(*audit.Row) bool {
	if p.clicks.list == nil {
		return func(row *audit.Row) bool {
			_, owner := generator.Find(row.ClickID, row.TxID)
			return owner == intent.ThisRun
		}
	}
	txIDs := intent.NewCodec(generator.Spec().Seed, intent.DomainTx)
	return func(row *audit.Row) bool {
		run, _, ok := txIDs.Decode(row.TxID)
		return ok && run == generator.Spec().RunNumber
	}
}

// runID names a run to the server's ledger.
func runID(generator *intent.Generator) string {
	return runName(generator.Spec().Seed, generator.Spec().RunNumber)
}

func runName(seed uint64, runNumber uint32) string { return fmt.Sprintf("%d-%d", seed, runNumber) }

// measureClock compares the clocks. A server without /clock is no error:
// recorded latencies are then not printed.
func (to *target) measureClock(ctx context.Context, bootID string) (clockState, error) {
	if to.clock == "" {
		return clockState{}, nil
	}
	offset, err := loadgen.MeasureClock(ctx, to.client, to.clock, bootID)
	if err != nil {
		if ctx.Err() != nil {
			return clockState{}, err
		}
		return clockState{}, nil
	}
	return clockState{known: true, offset: offset}, nil
}

// play runs the load and watches the machine meanwhile.
func (p *plan) play(ctx context.Context, round uint32, generator *intent.Generator, cells []audit.Cell, to *target, set *settings, m *measurement) error {
	config, err := p.loadConfig(round, generator, cells, to, m.ways)
	if err != nil {
		return err
	}
	watch, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	seen, injected := make(chan loadgen.CapObservation, 1), make(chan injection, 1)
	observe := func(start time.Time, progress func() loadgen.Progress) {
		if to.caps != "" {
			router := loadgen.Router{URL: to.caps, Poll: time.Duration(p.scenario.RouterPoll), Offers: generator.Spec().Offers, Client: to.client}
			go func() { seen <- router.Watch(watch, start) }()
		}
		go func() { injected <- to.inject(watch, start) }()
		if set.observe != nil {
			set.observe(time.Duration(p.scenario.Duration))(start, progress)
		}
	}
	silent := context.AfterFunc(ctx, func() {
		fmt.Fprint(set.stderr, noteInterrupted())
	})
	defer silent()
	stealBefore, stealErr := machine.SampleCPU()
	cpuBefore, serverBefore, goBefore := machine.SelfCPU(), to.serverCPU(), to.readRuntimes(ctx)
	databasesBefore := to.readDatabases(ctx)
	m.outcome, err = engineOf(set.engine)(ctx, *config, observe)
	if err != nil {
		return err
	}
	m.clientCPUS = (machine.SelfCPU() - cpuBefore).Seconds()
	m.serverCPUS = -1
	if serverAfter := to.serverCPU(); serverBefore >= 0 && serverAfter >= serverBefore {
		m.serverCPUS = (serverAfter - serverBefore).Seconds()
	}
	m.goWork = to.readRuntimes(context.WithoutCancel(ctx)).since(goBefore)
	m.sqlQueries = queriesPerRequest(databasesBefore, to.readDatabases(context.WithoutCancel(ctx)), m.outcome.Attempts.Total)
	environment := loadgen.Environment{StealShare: -1}
	if stealAfter, err := machine.SampleCPU(); err == nil && stealErr == nil {
		if share, ok := machine.StealShare(stealBefore, stealAfter); ok {
			environment.StealShare = share
		}
	}
	stopWatching()
	m.disturbed(<-injected)
	m.forget()
	if to.caps != "" {
		m.routed(<-seen, set.stderr)
	}
	m.doubts.machine = m.outcome.Invalid(environment)
	m.doubts.imbalance(m.outcome.Imbalances())
	for i := range cells[:m.outcome.Intents] {
		m.lastDue = max(m.lastDue, time.Duration(cells[i].DueNs))
		if cells[i].Acked > 0 {
			m.acked++
			if cells[i].Attempts == 1 { // a retry may come an hour later, by the partner's schedule
				m.lastAck = max(m.lastAck, time.Duration(cells[i].AckNs))
			}
		}
	}
	return nil
}

// maxCapFailures is the share of the router's looks at the caps that may fail
// before what it saw is not used: an offer that it could not look at would seem
// to have stayed open.
const maxCapFailures = 0.01

func (m *measurement) routed(saw loadgen.CapObservation, stderr io.Writer) {
	if float64(saw.Failures) > maxCapFailures*float64(saw.PollPeriod.Count()) {
		fmt.Fprint(stderr, noteCapsUnread(saw.Failures))
		return
	}
	m.caps = &saw
}

func (to *target) serverCPU() time.Duration {
	if to.cpu == nil {
		return -1
	}
	return to.cpu()
}

// engine plays a configuration; native and vegeta share the signature.
type engine func(context.Context, loadgen.Config, loadgen.Observe) (*loadgen.Outcome, error)

const (
	engineNative = "native"
	engineVegeta = "vegeta"
)

func engineOf(name string) engine {
	if name == engineVegeta {
		return vegeta.Run
	}
	return loadgen.Run
}

func (p *plan) loadConfig(round uint32, generator *intent.Generator, cells []audit.Cell, to *target, w *ways) (*loadgen.Config, error) {
	partners, err := p.partners(&to.connection, w)
	if err != nil {
		return nil, err
	}
	due, err := p.schedule(round)
	if err != nil {
		return nil, err
	}
	return &loadgen.Config{
		Intents: generator, Schedule: due, Partners: partners, Cells: cells, Warmup: p.warmup, Grace: p.grace,
		SleepUntil: loadgen.SleepUntil, Replay: p.replay,
	}, nil
}

// judge waits for the ledger and closes the books. A ledger that cannot be read
// or does not settle takes the fates away, not the latencies.
func (p *plan) judge(ctx context.Context, generator *intent.Generator, cells []audit.Cell, to *target, set *settings, m *measurement) {
	config := p.auditConfig(generator, cells, m)
	m.partners = audit.NewJudge(config).Sheet().Partners
	if to.ledger == "" || p.replay != nil {
		return
	}
	ledger := loadgen.NewLedger(to.ledger, to.columns, runID(generator), to.client)
	drained, err := p.drain(ctx, ledger, config, set, m)
	if err != nil {
		m.doubts.ledger = append(m.doubts.ledger, "no fates: "+err.Error())
		return
	}
	m.sheet, m.settled = drained.Judge.Sheet(), drained.RowsAfterSettle
	m.doubts.ledger = append(m.doubts.ledger, chainsWithoutEvent(m.sheet)...)
	m.partners = m.sheet.Partners
	m.doubts.imbalance(imbalances(m.sheet, m.outcome.Attempts.Total, m.outcome.Attempts.Acked, int64(m.outcome.Intents)))
}

// sayAfter is how long a ledger may settle before people are told why nothing
// happens.
const sayAfter = 3 * time.Second

// drain waits for the ledger to settle. A run that was interrupted already
// waits nonetheless; an interrupt that comes now ends the wait, not the report.
func (p *plan) drain(ctx context.Context, ledger loadgen.Ledger, config audit.Config, set *settings, m *measurement) (loadgen.Drained, error) {
	say := time.AfterFunc(sayAfter, func() { fmt.Fprint(set.stderr, noteUnsettled()) })
	defer say.Stop()
	if m.outcome.Interrupted {
		ctx = context.WithoutCancel(ctx)
	}
	drained, err := loadgen.Drain{Settle: set.settle, Quiet: set.quiet, Max: set.drainMax}.Judge(ctx, ledger, config)
	if err == nil || ctx.Err() == nil {
		return drained, err
	}
	m.doubts.ledger = append(m.doubts.ledger, "interrupted before the ledger had settled")
	return loadgen.Drain{Max: set.drainMax}.Judge(context.WithoutCancel(ctx), ledger, config)
}

// chainsWithoutEvent doubts a ledger that cannot be told apart by events.
func chainsWithoutEvent(sheet *audit.Sheet) []string {
	if sheet.ChainRowsWithoutEvent == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d rows of conversions that changed their status do not say which event they record: give --columns event=…, or a scenario without chains",
		sheet.ChainRowsWithoutEvent)}
}

// imbalances holds the judge's books against the loop's.
func imbalances(sheet *audit.Sheet, attempts, acked, intents int64) []string {
	list := slices.Clone(sheet.Imbalances)
	if sheet.AckedAttempts != acked {
		list = append(list, fmt.Sprintf("%d acked attempts in the cells, %d in the loop", sheet.AckedAttempts, acked))
	}
	if sheet.Attempts != attempts {
		list = append(list, fmt.Sprintf("%d attempts in the cells, %d in the loop", sheet.Attempts, attempts))
	}
	if sheet.Intents != intents {
		list = append(list, fmt.Sprintf("%d intents in the cells, %d in the loop", sheet.Intents, intents))
	}
	return list
}

func (p *plan) auditConfig(generator *intent.Generator, cells []audit.Cell, m *measurement) audit.Config {
	config := audit.Config{
		Intents: generator, Cells: cells, Carries: p.carries(), StartUnixNs: m.outcome.Start.UnixNano(),
		WarmupNs: int64(p.warmup), ClockKnown: m.clock.known, ClockOffsetNs: m.clock.offset.AddNs, MaxAttemptNs: int64(p.afterthought()),
	}
	if m.caps != nil {
		config.ClosedSeenNs, config.Closings = m.caps.ClosedSeenNs, m.caps.Closings
	}
	return config
}
