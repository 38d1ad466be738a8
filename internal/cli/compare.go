package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/reports"
)

// maxRepeats is how often a round that the machine spoilt is played again.
const maxRepeats = 2

const defaultRounds = 6

// ownServerQuiet is how long the ledger of a server of ours must not change once
// everything is found: it reports its backlog, so that little can come later.
const ownServerQuiet = 150 * time.Millisecond

// compareFlags are the flags of compare.
type compareFlags struct {
	traffic  traffic
	settings settings
	variants string
	vary     string
	base     string
	rounds   int
	story    bool
	chaos    []string // the named faults of --chaos
	unbroken []string // variants that they cannot be done to
	out      string
}

func compareCommand() *cobra.Command {
	f := &compareFlags{}
	command := &cobra.Command{
		Use:   "compare",
		Short: "play the same traffic at several architectures, in interleaved rounds",
		Long: `Plays the same traffic at each variant of the reference server, in interleaved
rounds (A B A B …), each round on a fresh server with the run number of the round,
and prints one table and one sentence.

--story plays the ladder of the post (scenario story, profile post, 5 rounds, then month-2026
on the last rung): a quarter of an hour. Without --variants and --vary it compares the post's 2022 monolith with its edges
on Redis and on UDP batches. A round that the machine spoilt (CPU steal, a late generator) is
repeated up to twice, and the output says so. Ctrl-C ends it early and still
reports the rounds that are complete.

--chaos takes faults of single processes, which all variants suffer that have such a process, or names;
with names every variant is broken in every way, on a fresh server, and a table says
what was lost after the ack and what its class of durability promises (scenario chaos):
` + chaosHelp(),
		Example: `  postbench compare
  postbench compare --base monolith --vary caps=check-then-insert,atomic --rounds 10 --out cmp1
  postbench compare --variants edge-redis,udp-batch --udp-loss 0.1% --chaos kill:batcher@1s
  postbench compare --variants monolith,./mine.yaml --scenario smoke
  postbench compare --story --out story1`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			return compare(command.Context(), f, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.variants, "variants", "", "`LIST` of variants to compare, separated by commas (see: list variants)")
	flags.StringVar(&f.vary, "vary", "", "vary one axis of --base (`AXIS=x,y`), such as caps=check-then-insert,atomic")
	flags.StringVar(&f.base, "base", "", "`NAME` of the variant that --vary starts from; without --vary the one that the others are held against (default: the first)")
	flags.IntVar(&f.rounds, "rounds", defaultRounds, "`N` rounds of each variant; 6 is the least with which a difference can be shown")
	flags.BoolVar(&f.story, "story", false, "climb the post's ladder under its stage times and hold its figures against ours; with --profile bare,\nwhat each step costs on this machine")
	f.traffic.register(flags, "mixed")
	f.settings.register(flags)
	flags.StringVar(&f.out, "out", "", "new `DIR` for result.json")
	return command
}

const (
	defaultBase     = "monolith"
	defaultVariants = "monolith,edge-redis,udp-batch"
	exampleVary     = "caps=check-then-insert,atomic"
	maxRounds       = 1000
)

// contender is one variant of a comparison.
type contender struct {
	name, given string // as in tables, as on the command line
	composition refserver.Composition
	faults      []plannedFault // of its own, beside those of --chaos for all
}

// contenders resolves --variants, --vary and --base.
func (f *compareFlags) contenders() ([]contender, error) {
	if f.variants == "" && f.vary == "" {
		f.variants = defaultVariants
	}
	var list []contender
	for _, name := range splitList(f.variants) {
		c, err := refserver.LoadVariant(name)
		if err != nil {
			return nil, err
		}
		list = append(list, contender{name: c.Name, given: name, composition: c})
	}
	if f.vary != "" {
		varied, err := f.varied()
		if err != nil {
			return nil, err
		}
		list = append(list, varied...)
	}
	seen := map[string]bool{}
	for _, c := range list {
		if seen[c.name] {
			return nil, fmt.Errorf("variant %s is named twice", c.name)
		}
		seen[c.name] = true
	}
	if len(list) < 2 && len(f.chaos) == 0 {
		return nil, fmt.Errorf("compare needs at least two variants, got %d", len(list))
	}
	return list, nil
}

// fits refuses disturbances that no contender has a part for; those that have
// none go undisturbed.
func (f *compareFlags) fits(list []contender) (err error) {
	for i := range list {
		if err = f.settings.disturb.fits(&list[i].composition); err == nil {
			return nil
		}
	}
	return err
}

// baseOf names the contender that the others are held against.
func (f *compareFlags) baseOf(list []contender) (string, error) {
	if f.base == "" || f.vary != "" {
		return list[0].name, nil
	}
	var given []string
	for _, c := range list {
		if f.base == c.given || f.base == c.name {
			return c.name, nil
		}
		given = append(given, c.given)
	}
	return "", fmt.Errorf("--base: %s", strictyaml.Unknown("variant", f.base, given))
}

func (f *compareFlags) varied() ([]contender, error) {
	base := f.base
	if base == "" {
		base = defaultBase
	}
	c, err := refserver.LoadVariant(base)
	if err != nil {
		return nil, err
	}
	axis, values, ok := strings.Cut(f.vary, "=")
	if !ok {
		return nil, fmt.Errorf("--vary %q: want AXIS=x,y such as %s", f.vary, exampleVary)
	}
	var list []contender
	for _, value := range splitList(values) {
		other, err := c.With(axis, value)
		if err != nil {
			return nil, fmt.Errorf("--vary: %w", err)
		}
		list = append(list, contender{name: fmt.Sprintf("%s[%s=%s]", c.Name, axis, value), given: base, composition: other})
	}
	return list, nil
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func compare(ctx context.Context, f *compareFlags, stdout, stderr io.Writer) error {
	p, list, base, err := f.prepare()
	if err != nil {
		return err
	}
	dir, err := openOut(f.out)
	if err != nil {
		return err
	}
	defer dir.discard()
	f.settings.bootID, f.settings.stderr = machine.Read().BootID, stderr
	f.settings.quiet = ownServerQuiet
	if slices.ContainsFunc(list, func(c contender) bool { return c.composition.External != nil }) {
		fmt.Fprint(stderr, strings.Join(p.ownServerNotes(), ""))
	}
	c := &comparison{plan: p, traffic: &f.traffic, settings: &f.settings, dir: dir, rounds: f.rounds, story: f.story, chaos: f.chaos, unbroken: f.unbroken, stdout: stdout, stderr: stderr}
	runs, playErr := c.play(ctx, list)
	if len(runs) == 0 && playErr == nil {
		return nothingCompared()
	}
	if len(runs) == 0 {
		return playErr
	}
	result, err := p.result(runs, &f.settings)
	if err != nil {
		return &exitError{code: exitInvalid, err: err}
	}
	result.Interrupted = ctx.Err() != nil
	if f.chaos == nil { // else the latencies of broken servers
		result.Comparison = reports.Compare(result.Variants, base)
	}
	var storyErr error
	if f.story { // the ladder is printed and kept whatever becomes of the month
		storyErr = c.tellStory(ctx, f, list, &result)
		result.Interrupted = ctx.Err() != nil
	}
	verdict := cmp.Or(c.print(result), storyErr)
	if err := dir.keepResult(result); err != nil {
		return &exitError{code: exitInvalid, err: err}
	}
	if playErr != nil {
		return invalid("only %d of %d rounds are complete: %w", complete(runs, len(list)), f.rounds, playErr)
	}
	if verdict == nil && len(result.Variants) < len(list) {
		return nothingCompared()
	}
	return verdict
}

// prepare checks all input and changes nothing.
func (f *compareFlags) prepare() (p *plan, list []contender, base string, err error) {
	if err := cmp.Or(f.asStory(), f.asChaos()); err != nil {
		return nil, nil, "", err
	}
	if list, err = f.contenders(); err != nil {
		return nil, nil, "", err
	}
	if f.rounds < 1 || f.rounds > maxRounds {
		return nil, nil, "", fmt.Errorf("--rounds %d: want 1 to %d", f.rounds, maxRounds)
	}
	if err := cmp.Or(f.settings.check(), f.settings.disturb.resolve()); err != nil {
		return nil, nil, "", err
	}
	if err := f.fits(list); err != nil {
		return nil, nil, "", err
	}
	if p, err = newPlan(&f.traffic, nil, time.Now()); err != nil {
		return nil, nil, "", err
	}
	if err := p.check(uint32(f.rounds)); err != nil {
		return nil, nil, "", err
	}
	for i := range list {
		if err := cmp.Or(p.servable(&list[i].composition), p.playsExternal(&list[i].composition, f.rounds)); err != nil {
			return nil, nil, "", err
		}
	}
	if err := f.breakable(p, list); err != nil {
		return nil, nil, "", err
	}
	f.settings.disturb.scaleTimes(&f.traffic, p.scenario.TimeScale)
	if list, err = f.underChaos(list, p.duration()); err != nil {
		return nil, nil, "", err
	}
	base, err = f.baseOf(list)
	return p, list, base, err
}

func nothingCompared() error {
	return &exitError{code: exitInconclusive, err: errors.New("interrupted before every variant had a round: nothing was compared")}
}

// comparison is one compare under way.
type comparison struct {
	plan           *plan
	traffic        *traffic // that plan was made of
	settings       *settings
	dir            *outDir
	rounds         int
	story          bool
	chaos          []string // named faults; nil without
	unbroken       []string // variants that they cannot be done to
	doubted        []string // why their table cannot be trusted
	stdout, stderr io.Writer
}

// play plays all rounds. An interrupt or an error ends it with the rounds that
// every variant has completed; a round that was cut short is kept only where
// there is no other.
func (c *comparison) play(ctx context.Context, list []contender) ([]reports.Variant, error) {
	fmt.Fprint(c.stderr, noteRounds(c.rounds, c.plan.duration(), c.plan.scenario.Name, len(list)))
	var runs []reports.Variant
	for round := range uint32(c.rounds) {
		var whole []reports.Variant
		for i := range list {
			played, err := c.round(ctx, round, &list[i])
			whole = append(whole, played...)
			if err == nil && ctx.Err() == nil {
				continue
			}
			if len(runs) == 0 && err == nil {
				runs = whole
			}
			return runs, err
		}
		runs = append(runs, whole...)
	}
	return runs, nil
}

// complete is how many rounds every variant has.
func complete(runs []reports.Variant, variants int) int {
	counted := 0
	for i := range runs {
		if runs[i].Rounds[0].Counted {
			counted++
		}
	}
	return counted / variants
}

// round plays one round of one variant, again if the machine alone spoilt it.
// All tries are kept; only the last one counts.
func (c *comparison) round(ctx context.Context, round uint32, who *contender) ([]reports.Variant, error) {
	p, err := c.planOf(round)
	if err != nil {
		return nil, err
	}
	var played []reports.Variant
	for try := 0; ; try++ {
		watch := &watcher{out: c.stderr, label: fmt.Sprintf("round %d/%d %s", round+1, c.rounds, who.name)}
		set := *c.settings
		set.observe = watch.observe
		set.disturb.faults = slices.Concat(set.disturb.faults, who.faults)
		m, err := measureAt(ctx, p, c.playedAs(round, try, who), &who.composition, nil, &set, c.dir, "")
		watch.end()
		if err != nil {
			return nil, err
		}
		m.variant, m.number = who.name, int(round)+1
		c.doubt(who.name, &m.doubts)
		// Under chaos the books count, which a busy machine does not spoil.
		again := m.doubts.worthRepeating() && try < maxRepeats && ctx.Err() == nil && c.chaos == nil
		m.counted = !again
		v := p.described(m, &who.composition)
		played = append(played, v)
		fmt.Fprint(c.stderr, noteRound(round+1, c.rounds, who.name, reports.RoundLine(v)))
		if !again {
			return played, nil
		}
		fmt.Fprint(c.stdout, spoiltText(round+1, who.name, m.doubts.machine))
	}
}

func spoiltText(round uint32, name string, reasons []string) string {
	return fmt.Sprintf("round %d of %s was spoilt and is repeated: %s\n", round, name, strings.Join(reasons, "; "))
}

// print shows the table and the sentence and says whether to believe them.
func (c *comparison) print(result reports.Result) error {
	fmt.Fprintf(c.stdout, "\n%s", c.tables(&result))
	printExpectations(c.stdout, result.Expectations)
	fmt.Fprintf(c.stdout, "\n%s\n", c.plan.provenance(&result))
	if result.Interrupted {
		fmt.Fprintln(c.stdout, "interrupted: what was not complete by then is left out")
	}
	if c.chaos != nil {
		return cmp.Or(c.shown(), unjudged(result.Variants), brokenPromises(result.Variants), cutShort(&result))
	}
	for _, v := range result.Variants {
		if !v.Validity.Valid() {
			return untrusted(&v)
		}
	}
	return cmp.Or(failed(result.Expectations), cutShort(&result))
}

// tables are what the comparison was made for.
func (c *comparison) tables(result *reports.Result) string {
	if c.chaos != nil {
		return reports.ChaosTable(result.Variants, c.chaos, c.unbroken...)
	}
	text := reports.Table(result.Variants) + "\n"
	if work := reports.WorkTable(result.Variants); work != "" {
		text += work + "\n"
	}
	if c.plan.profile.Modelled() {
		text += reports.BudgetTable(result.Variants) + "\n"
	}
	if c.story {
		return text + storyText(result)
	}
	return text + reports.WrapSentence(result.Comparison...)
}
