package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/loadgen/audit"
)

const (
	memoryEvery = 30 * time.Second
	memoryRun   = 10 * time.Minute
	// settledAfter is when connections and buffers have their size.
	settledAfter = 2 * time.Minute
	// heapGrowth is what counts as flat: the largest live heap after
	// settledAfter against the one then. The Go runtime tells whole MiB.
	heapGrowth = 1.10
)

// memorySample is the generator's memory at one moment. The mapped state file
// is page cache and in neither figure.
type memorySample struct {
	liveMiB      int64 // what the last garbage collection found reachable
	anonymousKiB int64 // resident heap, garbage included, and stacks
}

// memoryExperiment watches the generator's own memory. Flat means the live
// heap: resident memory also holds garbage that waits for its collection and
// pages that the runtime keeps, and is printed beside it. The connections are
// bounded: an open loop opens as many as a hiccup of the machine asks for, and
// keeps them, which says something about the machine.
func memoryExperiment() experiment {
	return experiment{
		name: "memory", title: "Memory of a long run",
		claim: fmt.Sprintf("The heap is flat in a 10-minute run at 5,000/s over 64 connections, and the audit keeps at most 64 B per intent (%d B), in a mapped file.", audit.CellBytes),
		run: func(ctx context.Context, l *lab) (finding, error) {
			target, err := labtarget.Start(labtarget.Options{DiscardRows: true})
			if err != nil {
				return finding{}, err
			}
			defer target.Close()
			bounded := filepath.Join(l.dir, "bounded.yaml")
			if err := os.WriteFile(bounded, []byte(boundedPartner), 0o600); err != nil {
				return finding{}, err
			}
			args := []string{"run", "--target", target.URL(), "--partner", bounded, "--rate", "5000", "--duration", memoryRun.String()}
			command := exec.CommandContext(ctx, l.binary, args...)
			command.Env = append(os.Environ(), "GODEBUG=gctrace=1")
			samples, err := watchMemory(command)
			if err != nil {
				return finding{}, err
			}
			f := finding{commands: []string{strings.ReplaceAll("GODEBUG=gctrace=1 postbench "+strings.Join(args, " "), bounded, "bounded.yaml")}}
			return f, f.judgeMemory(samples)
		},
	}
}

func (f *finding) judgeMemory(samples []memorySample) error {
	settled := int(settledAfter/memoryEvery) - 1
	if len(samples) <= settled || samples[settled].liveMiB == 0 {
		return fmt.Errorf("the memory at %v is not known: the run ended early or its heap was never collected; samples: %v", settledAfter, samples)
	}
	t := newTable("after", "live heap", "resident, not of files")
	var most int64
	for i, s := range samples {
		t.row((time.Duration(i+1) * memoryEvery).String(), fmt.Sprintf("%d MiB", s.liveMiB), fmt.Sprintf("%.1f MiB", float64(s.anonymousKiB)/1024))
		if i >= settled {
			most = max(most, s.liveMiB)
		}
	}
	growth := float64(most) / float64(samples[settled].liveMiB)
	f.body = t.String() + fmt.Sprintf("\nLargest live heap after %v against the one then: %.2f×.\n", settledAfter, growth)
	f.holds = growth <= heapGrowth && audit.CellBytes <= 64
	f.short = "the live heap grew"
	return nil
}

// watchMemory runs the command and samples its memory until it ends.
func watchMemory(command *exec.Cmd) ([]memorySample, error) {
	stderr, err := command.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	var liveMiB atomic.Int64
	ended := make(chan struct{})
	go func() {
		followCollections(stderr, &liveMiB)
		_ = command.Wait() // a spoilt run tells as much about memory
		close(ended)
	}()
	var samples []memorySample
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
			samples = append(samples, memorySample{liveMiB.Load(), kib})
		}
	}
}

// followCollections keeps the live heap of the newest line of the runtime's
// trace, "gc 4 @3.016s 0%: … 16->16->12 MB, …": see GODEBUG in package runtime.
func followCollections(trace io.Reader, liveMiB *atomic.Int64) {
	line := regexp.MustCompile(`^gc \d+ @.* \d+->\d+->(\d+) MB,`)
	lines := bufio.NewScanner(trace)
	for lines.Scan() {
		if m := line.FindStringSubmatch(lines.Text()); m != nil {
			if mib, err := strconv.ParseInt(m[1], 10, 64); err == nil {
				liveMiB.Store(mib)
			}
		}
	}
	_, _ = io.Copy(io.Discard, trace) // after a line too long: the program must not block
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
