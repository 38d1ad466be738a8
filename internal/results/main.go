// Results measures every figure of RESULTS.md on this machine and writes the
// file anew. It is what `make results` runs; nobody edits RESULTS.md by hand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/reports"
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
		pauseExperiment(), memoryExperiment(), allocationExperiment(), edgeExperiment(), collectorExperiment(), faultsExperiment(), networkExperiment(),
		capRushExperiment(), monthExperiment(), shapedExperiment(), rttExperiment(),
		storyExperiment(), stepsExperiment(), ackedExperiment(), edgesExperiment(), gcExperiment(), chaosExperiment(),
	}
}

func main() {
	if os.Getenv(bareEnv) != "" {
		fmt.Fprintln(os.Stderr, "results:", serveBare())
		os.Exit(1)
	}
	binary := flag.String("postbench", "./postbench", "the program to measure with")
	out := flag.String("out", "RESULTS.md", "file to write")
	only := flag.String("only", "", "measure only this experiment and replace its section of the file")
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
	parts := []string{header()}
	if only != "" {
		if parts, err = readSections(out); err != nil {
			return err
		}
	}
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
		parts = put(parts, section(l, &e, &found))
		if !found.holds {
			missed = append(missed, e.name)
		}
	}
	if err := reports.ReplaceFile(out, []byte(strings.Join(parts, ""))); err != nil {
		return err
	}
	if len(missed) > 0 {
		return errors.New("these fall short: " + strings.Join(missed, ", "))
	}
	return nil
}

func header() string {
	return `# Results

Written by ` + "`make results`" + `; never edited by hand. Every section names its commands,
the commit and the machine.

Client and server share that machine. Absolute times therefore say little about
any other; ratios and accounts do.

`
}

const sectionMark = "## "

// section renders an experiment with everything that its figures rest on.
func section(l *lab, e *experiment, f *finding) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s%s\n\n%s\n\n", sectionMark, e.title, e.claim)
	for _, command := range f.commands {
		fmt.Fprintf(&text, "    %s\n", command)
	}
	facts := machine.Read()
	fmt.Fprintf(&text, "\nCommit %s, %s, %s, %d CPUs, %d GiB, %s %s, %s.\n", l.commit, l.goVersion, facts.Model, facts.CPUs,
		facts.MemBytes>>30, facts.OS, facts.Kernel, time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(&text, "\n%s\n", strings.TrimRight(f.body, "\n"))
	if f.holds {
		text.WriteString("\n**Holds.**\n\n")
	} else {
		fmt.Fprintf(&text, "\n**Falls short:** %s.\n\n", f.short)
	}
	return text.String()
}

// readSections splits an earlier file into its header and its sections.
func readSections(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(string(text), "\n"+sectionMark)
	for i := range parts[1:] {
		parts[i] += "\n"
		parts[i+1] = sectionMark + parts[i+1]
	}
	return parts, nil
}

// put replaces the section of the same title, or appends a new one.
func put(parts []string, section string) []string {
	title, _, _ := strings.Cut(section, "\n")
	for i := range parts {
		if old, _, _ := strings.Cut(parts[i], "\n"); old == title {
			parts[i] = section
			return parts
		}
	}
	return append(parts, section)
}
