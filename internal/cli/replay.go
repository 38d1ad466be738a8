package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
)

// replayFlags name recorded traffic.
type replayFlags struct {
	file  string
	speed string
}

func (r *replayFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&r.file, "replay", "", "send the requests recorded in `FILE`: nginx combined access log (original timing) or vegeta targets (at --rate)")
	flags.StringVar(&r.speed, "speed", "1x", "speed `K`x of an access log's timing, such as 2x")
}

// load reads the recorded traffic into the plan.
func (r *replayFlags) load(p *plan, t *traffic) error {
	switch {
	case r.file == "" && t.given("speed"):
		return errors.New("--speed is of --replay; give --rate otherwise")
	case r.file == "":
		return nil
	case len(p.scenario.Partners) != 1:
		return errors.New("--replay plays one partner: leave out --scenario, or name one with a single partner")
	case t.given("clicks"):
		return errors.New("--replay sends what was recorded: --clicks has no part in it")
	}
	entries, timed, err := p.readReplay(r.file)
	if err != nil {
		return fmt.Errorf("--replay: %w", err)
	}
	// Recorded requests are what they are: nothing of the scenario's mix is in them.
	p.replay, p.spec.Mix, p.scenario.Warmup = entries, intent.Mix{}, strictyaml.Duration(t.warmup)
	load := r.untimed
	if timed {
		load = r.timed
	}
	if err := load(p, t); err != nil {
		return err
	}
	if p.warmup = time.Duration(p.scenario.Warmup); p.warmup < 0 || p.warmup >= p.duration() {
		return fmt.Errorf("--warmup %v: want less than the %v that the recording lasts", p.warmup, p.duration())
	}
	return p.check(1)
}

// timed plays an access log by its own times.
func (r *replayFlags) timed(p *plan, t *traffic) error {
	if t.given("rate") || t.given("duration") {
		return fmt.Errorf("--replay: %s carries its own times: use --speed instead of --rate and --duration", r.file)
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(r.speed, "x"), 64)
	if err != nil {
		return fmt.Errorf("--speed %q: want a number such as 2x or 0.5x", r.speed)
	}
	if _, err := schedule.Replay(p.replay, speed); err != nil {
		return fmt.Errorf("--replay: %s: %w", r.file, err)
	}
	p.speed = speed
	p.scenario.Duration = strictyaml.Duration(float64(p.replay[len(p.replay)-1].DueNs)/speed) + 1
	return nil
}

// untimed plays vegeta targets at a rate, by default each of them once.
func (r *replayFlags) untimed(p *plan, t *traffic) error {
	switch {
	case t.given("speed"):
		return fmt.Errorf("--replay: %s carries no times that --speed could change: give --rate", r.file)
	case !t.given("rate"):
		return fmt.Errorf("--replay: %s carries no times: give --rate, and --duration if its requests shall be sent more than once", r.file)
	case !t.given("duration"):
		p.scenario.Duration = strictyaml.Duration(float64(len(p.replay)) / t.ratePerS * float64(time.Second))
	}
	p.atRate = true
	return nil
}

// readReplay tells the format by the file's beginning; timed says whether the
// entries carry times.
func (p *plan) readReplay(name string) (entries []schedule.Replayed, timed bool, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	first := make([]byte, schedule.SniffBytes)
	n, err := io.ReadFull(file, first)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	format, err := schedule.Sniff(name, first[:n])
	if err != nil {
		return nil, false, err
	}
	whole := io.MultiReader(bytes.NewReader(first[:n]), file)
	if format == schedule.FormatAccessLog {
		entries, skipped, err := schedule.ParseAccessLog(name, whole)
		if skipped > 0 {
			p.notes = append(p.notes, noteSkippedLines(skipped, name))
		}
		return entries, true, err
	}
	entries, err = schedule.ParseVegetaTargets(name, whole)
	return entries, false, err
}
