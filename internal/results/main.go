// Results measures every figure of RESULTS.md on this machine and writes the
// file anew. It is what `make results` runs; nobody edits RESULTS.md by hand.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/machine"
)

// experiment is one section of RESULTS.md.
type experiment struct {
	name  string
	title string
	// claim is what must hold; the verdict under it is computed.
	claim string
	run   func(context.Context, *lab) (finding, error)
}

// finding is what an experiment found out.
type finding struct {
	commands []string
	body     string // Markdown
	holds    bool
	short    string // what falls short, when it does
}

func experiments() []experiment {
	return []experiment{
		compareExperiment(), stallExperiment(), accountExperiment(), enginesExperiment(), rateExperiment(),
		pauseExperiment(), memoryExperiment(), allocationExperiment(),
	}
}

func main() {
	binary := flag.String("postbench", "./postbench", "the program to measure with")
	out := flag.String("out", "RESULTS.md", "file to write")
	only := flag.String("only", "", "measure only this experiment and print it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, *binary, *out, *only); err != nil {
		fmt.Fprintln(os.Stderr, "results:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, binary, out, only string) error {
	l, err := newLab(binary)
	if err != nil {
		return err
	}
	defer l.close()
	var text bytes.Buffer
	header(&text, l)
	var missed []string
	for _, e := range experiments() {
		if only != "" && e.name != only {
			continue
		}
		start := time.Now()
		fmt.Fprintf(os.Stderr, "%s …", e.name)
		found, err := e.run(ctx, l)
		fmt.Fprintf(os.Stderr, " %v\n", time.Since(start).Round(time.Second))
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		section(&text, &e, &found)
		if !found.holds {
			missed = append(missed, e.name)
		}
	}
	if only != "" {
		_, err := os.Stdout.Write(text.Bytes())
		return err
	}
	if err := os.WriteFile(out, text.Bytes(), 0o644); err != nil {
		return err
	}
	if len(missed) > 0 {
		return errors.New("these fall short: " + strings.Join(missed, ", "))
	}
	return nil
}

func header(text *bytes.Buffer, l *lab) {
	facts := machine.Read()
	fmt.Fprintf(text, `# Results

Written by `+"`make results`"+`; never edited by hand. Every figure names its command.

| | |
|---|---|
| commit | %s |
| machine | %s, %d CPUs, %d GiB, %s %s |
| Go | %s |
| date | %s |

Client and server share this machine. Absolute times therefore say little about
any other; ratios and accounts do.

`, l.commit, facts.Model, facts.CPUs, facts.MemBytes>>30, facts.OS, facts.Kernel, l.goVersion, time.Now().UTC().Format("2006-01-02"))
}

func section(text *bytes.Buffer, e *experiment, f *finding) {
	fmt.Fprintf(text, "## %s\n\n%s\n\n", e.title, e.claim)
	for _, command := range f.commands {
		fmt.Fprintf(text, "    %s\n", command)
	}
	fmt.Fprintf(text, "\n%s\n", strings.TrimRight(f.body, "\n"))
	if f.holds {
		fmt.Fprintf(text, "\n**Holds.**\n\n")
		return
	}
	fmt.Fprintf(text, "\n**Falls short:** %s.\n\n", f.short)
}
