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

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/loadgen/schedule"
)

// replayFlags name recorded traffic.
type replayFlags struct {
	file  string
	speed string
}

func (r *replayFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&r.file, "replay", "", "send recorded requests: nginx combined access log (original timing) or vegeta targets (at --rate)")
	flags.StringVar(&r.speed, "speed", "1x", "speed of an access log's timing, such as 2x")
}

// load reads the recorded traffic into the plan.
func (r *replayFlags) load(p *plan, t *traffic) error {
	if r.file == "" {
		return nil
	}
	if len(p.scenario.Partners) != 1 {
		return errors.New("--replay plays one partner: leave out --scenario, or name one with a single partner")
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(r.speed, "x"), 64)
	if err != nil {
		return fmt.Errorf("--speed %q: want a number such as 2x or 0.5x", r.speed)
	}
	entries, timed, err := readReplay(r.file)
	if err != nil {
		return fmt.Errorf("--replay: %w", err)
	}
	p.replay, p.speed = entries, speed
	p.warmup = max(0, t.warmup)
	if !timed {
		if t.ratePerS == 0 {
			return fmt.Errorf("--replay: %s carries no times: give --rate, and --duration if its requests shall be sent more than once", r.file)
		}
		p.untimed = true
		if t.duration == 0 {
			p.scenario.Duration = strictyaml.Duration(float64(len(entries)) / t.ratePerS * float64(time.Second))
		}
		return nil
	}
	if _, err := schedule.Replay(entries, speed); err != nil {
		return fmt.Errorf("--replay: %s: %w", r.file, err)
	}
	p.scenario.Duration = strictyaml.Duration(float64(entries[len(entries)-1].DueNs)/speed) + 1
	return nil
}

// readReplay tells the format by the file's beginning; timed says whether the
// entries carry times.
func readReplay(name string) (entries []schedule.Replayed, timed bool, err error) {
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
		entries, err = schedule.ParseAccessLog(name, whole)
		return entries, true, err
	}
	entries, err = schedule.ParseVegetaTargets(name, whole)
	return entries, false, err
}
