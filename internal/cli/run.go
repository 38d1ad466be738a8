package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/reports"
)

// runFlags are the flags of run.
type runFlags struct {
	traffic  traffic
	own      ownTemplate
	replay   replayFlags
	settings settings
	variant  string
	ledger   string
	columns  string
	caps     string
	clock    string
	populate string
	caFile   string
	insecure bool
	out      string
}

func runCommand() *cobra.Command {
	f := &runFlags{}
	command := &cobra.Command{
		Use:   "run --target URL | --url TEMPLATE | --variant V",
		Short: "play a scenario at one server and account for every postback",
		Long: `Plays a scenario at one server: yours by --target (it takes the templates of the
partners) or --url (your own postback), or a variant of the reference server,
started and stopped by postbench.

Latency needs nothing but the postback itself. With --ledger (a URL that answers
NDJSON, or an exported NDJSON or CSV file) every postback is accounted for; with
--caps the overshoot that a traffic router would have seen is measured too.

Ctrl-C ends a run early and still reports.

Without --scenario: one partner, unsigned, 100/s at a constant rate for 10 s,
timeout 10 s, no retries, unbounded connections, no faults.`,
		Example: `  # your own server, your own postback, latency only
  postbench run --url 'http://127.0.0.1:8080/pb?cid={click_id}&sum={payout}' --rate 500 --duration 30s

  # with your own click ids and an export of your database as the ledger
  postbench run --url 'http://127.0.0.1:8080/pb?cid={click_id}&tx={txid}&sum={payout}' --clicks clicks.csv --out run1
  postbench audit run1 --ledger export.csv --columns click_id=cid,txid=tx,payout=sum

  # a variant of the reference server
  postbench run --variant monolith --scenario mixed --out run2

  # yesterday's traffic, twice as fast
  postbench run --target http://127.0.0.1:8080 --replay access.log --speed 2x`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			return run(command.Context(), f, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	f.own.register(flags)
	flags.StringVar(&f.variant, "variant", "", "reference server to start and test: `NAME` of a preset or path of a YAML file (see: list variants)")
	f.traffic.register(flags, "")
	f.settings.register(flags)
	f.replay.register(flags)
	flags.StringVar(&f.settings.engine, "engine", engineNative, "`NAME` of the engine: native, or vegeta as an independent check of service latency")
	flags.StringVar(&f.ledger, "ledger", "", "the server's rows: `URL|FILE`, NDJSON, or CSV when the file ends in .csv")
	flags.StringVar(&f.columns, "columns", "", "`LIST` of the columns of a CSV ledger, such as click_id=cid,payout=sum")
	flags.StringVar(&f.caps, "caps", "", "`URL` before /offers/{offer_id}/cap, or one that holds {offer_id}")
	flags.StringVar(&f.clock, "clock", "", "`URL` that answers {\"unix_ns\":…,\"boot_id\":…} (default: /clock of the ledger's server)")
	flags.StringVar(&f.populate, "populate", "", "`URL` before /offers, /keys and /clicks, told of the population first")
	flags.StringVar(&f.caFile, "ca", "", "PEM `FILE` of the certificate authority of the target")
	flags.BoolVar(&f.insecure, "insecure", false, "do not verify the target's certificate")
	flags.StringVar(&f.out, "out", "", "new `DIR` for result.json and what audit needs later")
	return command
}

func run(ctx context.Context, f *runFlags, stdout, stderr io.Writer) error {
	p, to, composition, err := f.prepare()
	if err != nil {
		return err
	}
	if p.scenario.Grace == 0 && p.grace > longWait {
		p.notes = append(p.notes, notePatience(p.grace))
	}
	for _, note := range p.notes {
		fmt.Fprint(stderr, note)
	}
	dir, err := openOut(f.out)
	if err != nil {
		return err
	}
	defer dir.discard()
	watch := &watcher{out: stderr, label: "run"}
	defer watch.end()
	f.settings.observe, f.settings.bootID, f.settings.stderr = watch.observe, machine.Read().BootID, stderr

	m, err := measureAt(ctx, p, 0, composition, to, &f.settings, dir, dir.statePath())
	watch.end()
	if err != nil {
		return err
	}
	m.variant, m.counted = ownTarget, true
	if composition != nil {
		m.variant = composition.Name
	}
	result, err := p.result([]reports.Variant{p.described(m, composition)}, &f.settings)
	if err != nil {
		return &exitError{code: exitInvalid, err: err}
	}
	result.Interrupted = ctx.Err() != nil
	fmt.Fprint(stdout, reports.Summary(result.Variants[0]))
	printExpectations(stdout, result.Expectations)
	if result.Interrupted {
		fmt.Fprint(stdout, noteCutShort(m.outcome.Duration))
	}
	if err := dir.keep(p, m, result); err != nil {
		return &exitError{code: exitInvalid, err: err}
	}
	fmt.Fprint(stderr, m.hints(p.grace))
	if dir.own && m.sheet == nil && p.replay == nil {
		fmt.Fprint(stderr, noteAuditLater(dir.path))
	}
	if !result.Variants[0].Validity.Valid() {
		return untrusted(&result.Variants[0])
	}
	return cmp.Or(failed(result.Expectations), cutShort(&result))
}

// longWait is how long a run may outlast its schedule without a word before.
const longWait = time.Minute

// prepare checks all input and changes nothing. The composition is nil for a
// server of the user's own, the target for a variant.
func (f *runFlags) prepare() (*plan, *target, *refserver.Composition, error) {
	if err := f.check(); err != nil {
		return nil, nil, nil, err
	}
	f.traffic.recorded = f.replay.file != ""
	p, err := newPlan(&f.traffic, &f.own, time.Now())
	if err != nil {
		return nil, nil, nil, err
	}
	if err := f.replay.load(p, &f.traffic); err != nil {
		return nil, nil, nil, err
	}
	f.settings.disturb.scaleTimes(&f.traffic, p.scenario.TimeScale)
	if err := p.playableBy(f.settings.engine, p.replay != nil); err != nil {
		return nil, nil, nil, err
	}
	if f.variant != "" {
		c, err := refserver.LoadVariant(f.variant)
		if err == nil {
			err = cmp.Or(f.fitsExternal(&c), f.settings.disturb.fits(&c), p.servable(&c))
		}
		if c.External != nil {
			p.notes = append(p.notes, p.ownServerNotes()...)
		}
		return p, nil, &c, err
	}
	p.notes = append(p.notes, p.ownServerNotes()...)
	to, err := f.target()
	return p, to, nil, err
}

// check finds flags that contradict each other.
func (f *runFlags) check() error {
	if err := f.own.resolve(); err != nil {
		return err
	}
	switch {
	case f.own.origin == "" && f.variant == "":
		return errors.New("run needs --target, --url or --variant; see: postbench run --help")
	case f.own.origin != "" && f.variant != "":
		return errors.New("--variant starts a server of its own: leave out --target and --url")
	case f.settings.engine != engineNative && f.settings.engine != engineVegeta:
		return errors.New(strictyaml.Unknown("engine", f.settings.engine, []string{engineNative, engineVegeta}))
	case f.replay.file != "" && (f.own.template != nil || f.own.path != ""):
		return errors.New("--replay sends the recorded paths and queries: give --target http://host:port without a path")
	case f.ledger != "" && f.replay.file != "":
		return errors.New("--replay sends recorded postbacks, whose rows cannot be told from older ones: leave out --ledger")
	}
	for _, flag := range []string{"ledger", "columns", "caps", "clock", "populate", "ca", "insecure"} {
		if f.variant != "" && f.traffic.given(flag) {
			return fmt.Errorf("--%s describes a server of your own; --variant starts one that is known: leave it out", flag)
		}
	}
	for _, flag := range ourServerFlags() {
		if f.variant == "" && f.traffic.given(flag) {
			return fmt.Errorf("--%s is done to a server that postbench starts: give --variant instead of --target", flag)
		}
	}
	return cmp.Or(f.settings.check(), f.settings.disturb.resolve())
}

// target is the user's own server.
func (f *runFlags) target() (*target, error) {
	columns, err := columnsOf(f.ledger, f.columns)
	if err != nil {
		return nil, err
	}
	to := &target{
		connection: connection{origin: f.own.origin, caFile: f.caFile, insecure: f.insecure},
		ledger:     f.ledger, columns: columns, caps: f.caps, clock: f.clock, populate: f.populate,
	}
	secure, err := to.tlsConfig()
	if err != nil {
		return nil, err
	}
	to.client = newHTTPClient(secure)
	if to.clock == "" {
		to.clock = clockOf(f.ledger)
	}
	return to, nil
}

// clockOf guesses the clock of a ledger's server; a server without one is
// found out later and is no error.
func clockOf(ledger string) string {
	address, err := url.Parse(ledger)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" {
		return ""
	}
	return address.Scheme + "://" + address.Host + "/clock"
}

// described adds what the architecture says of itself.
func (p *plan) described(m *measurement, c *refserver.Composition) reports.Variant {
	v := p.variant(m)
	if c != nil {
		v.Durability = m.durability(c)
		v.Composition = reports.Composition{Front: c.Front, Answer: c.Answer, Buffer: c.Buffer, Uplink: c.Uplink,
			Attribution: c.Attribution, Caps: c.Caps, Log: c.Log, LogWrite: c.LogWrite, Edges: c.Edges, Place: c.Place}
		if e := c.External; e != nil {
			v.Composition.External = cmp.Or(strings.Join(e.Command, " "), e.URL)
		}
	}
	return v
}
