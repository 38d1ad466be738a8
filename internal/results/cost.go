package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/loadgen/audit"
)

const (
	memoryEvery = 30 * time.Second
	memoryRun   = 10 * time.Minute
	// heapGrowth is what counts as flat: the last sample against the one after
	// two minutes, when connections and buffers have their size.
	heapGrowth = 1.10
)

// memoryExperiment watches the generator's own memory; the mapped state file
// is page cache and not in it.
func memoryExperiment() experiment {
	return experiment{
		name: "memory", title: "Memory of a long run",
		claim: fmt.Sprintf("The heap is flat in a 10-minute run at 5,000/s, and the audit keeps at most 64 B per intent (%d B), in a mapped file.", audit.CellBytes),
		run: func(ctx context.Context, l *lab) (finding, error) {
			target, err := labtarget.Start(labtarget.Options{DiscardRows: true})
			if err != nil {
				return finding{}, err
			}
			defer target.Close()
			args := []string{"run", "--target", target.URL(), "--rate", "5000", "--duration", memoryRun.String()}
			command := exec.CommandContext(ctx, l.binary, args...)
			if err := command.Start(); err != nil {
				return finding{}, err
			}
			samples, err := watchAnonymous(command)
			if err != nil {
				return finding{}, err
			}
			f := finding{commands: []string{"postbench " + strings.Join(args, " ")}}
			t := newTable("after", "anonymous memory (heap and stacks)")
			for i, kib := range samples {
				t.row((time.Duration(i+1) * memoryEvery).String(), fmt.Sprintf("%.1f MiB", float64(kib)/1024))
			}
			f.body = t.String()
			settled := int(2*time.Minute/memoryEvery) - 1
			if len(samples) <= settled {
				return finding{}, fmt.Errorf("the run ended after %d samples", len(samples))
			}
			growth := float64(samples[len(samples)-1]) / float64(samples[settled])
			f.body += fmt.Sprintf("\nLast against after 2 minutes: %.3f×.\n", growth)
			f.holds = growth <= heapGrowth && audit.CellBytes <= 64
			f.short = "the memory grew"
			return f, nil
		},
	}
}

// watchAnonymous samples RssAnon in KiB until the command ends.
func watchAnonymous(command *exec.Cmd) ([]int64, error) {
	ended := make(chan struct{})
	go func() {
		_ = command.Wait() // a spoilt run tells as much about memory
		close(ended)
	}()
	var samples []int64
	ticker := time.NewTicker(memoryEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return samples, nil
		case <-ticker.C:
			kib, err := anonymousKiB(command.Process.Pid)
			if err != nil {
				return samples, nil // it ended between tick and look
			}
			samples = append(samples, kib)
		}
	}
}

func anonymousKiB(pid int) (int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		if rest, ok := strings.CutPrefix(scanner.Text(), "RssAnon:"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("no RssAnon in the status of process %d", pid)
}

// allocationExperiment runs the benchmarks of what happens on every request.
func allocationExperiment() experiment {
	return experiment{
		name: "allocations", title: "Parsing, signing and recording without allocations",
		claim: "0 allocations on parse, verify, render of a template, binary record and histogram entry (asserted by tests; the times below are one run of the benchmarks).",
		run: func(ctx context.Context, _ *lab) (finding, error) {
			args := []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", "200ms", "./internal/postback", "./internal/hist"}
			out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
			if err != nil {
				return finding{}, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
			}
			f := finding{commands: []string{"go " + strings.Join(args, " ")}, holds: true, short: "something allocates"}
			t := newTable("benchmark", "ns/op", "allocs/op")
			line := regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?(\d+) allocs/op`)
			matches := line.FindAllStringSubmatch(string(out), -1)
			for _, m := range matches {
				t.row(m[1], m[2], m[3])
				f.holds = f.holds && m[3] == "0"
			}
			f.holds = f.holds && len(matches) > 0
			f.body = t.String()
			return f, nil
		},
	}
}
