package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

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
