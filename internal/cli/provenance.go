package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/postbench/postbench/reports"
)

// provenance names what the figures rest on.
func (p *plan) provenance(r *reports.Result) string {
	books := "balance in every round"
	for _, v := range r.Variants {
		if !v.Ledger.Balanced {
			books = "of " + v.Name + " do not balance: a bug of postbench"
		}
	}
	return fmt.Sprintf("%sbooks       %s\ncomponents  %s\nrun         scenario %s, profile %s, seed %d, epoch %d\nmade with   %s, commit %s, on %d CPUs of %s",
		faultsText(r.Variants), books, componentsText(r.Variants), r.Scenario.Name, r.Profile.Name, r.Seed, r.EpochUnixS,
		r.Tool.Go, shortCommit(r.Tool.Commit), r.Machine.CPUs, r.Machine.Model)
}

// faultsText says what was done to whom on purpose, and to whom nothing: not
// every variant has the process that a fault is about.
func faultsText(variants []reports.Variant) string {
	text, some := "", false
	for i := range variants {
		v := &variants[i]
		var done []string
		for _, f := range v.Faults {
			what := f.Do + " " + f.Process
			if !slices.Contains(done, what) {
				done = append(done, what)
			}
		}
		if n := v.Netem; n != nil {
			done = append(done, fmt.Sprintf("%d of %d datagrams dropped", n.Dropped, n.UDPSent))
		}
		some = some || len(done) > 0
		text += fmt.Sprintf("faults      %s: %s\n", v.Name, cmp.Or(strings.Join(done, ", "), "none"))
	}
	if !some {
		return ""
	}
	return text
}

// componentsText names what each variant really ran on, once where all ran on
// the same.
func componentsText(variants []reports.Variant) string {
	var lines []string
	same := true
	for i := range variants {
		lines = append(lines, componentsLine(variants[i].Components))
		same = same && lines[i] == lines[0]
	}
	if same {
		return lines[0]
	}
	for i := range variants {
		lines[i] = fmt.Sprintf("%s: %s", variants[i].Name, lines[i])
	}
	return strings.Join(lines, "\n            ")
}

func componentsLine(components []reports.Component) string {
	var parts []string
	for _, component := range components {
		text := fmt.Sprintf("%s %s %s", component.Role, component.Implementation, component.Version)
		if component.Embedded {
			text += " (embedded)"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
