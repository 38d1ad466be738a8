package main

import (
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/kernelnet"
	"github.com/postbench/postbench/internal/kernelnet/exchange"
)

// samples are 1,000: so many per mille take 400 ms, the others 100.
func samples(slow int, fast time.Duration) (list []exchange.Sample) {
	for i := range 1000 {
		wait := fast
		if i < slow {
			wait = 400 * time.Millisecond
		}
		list = append(list, exchange.Sample{Wait: wait})
	}
	return list
}

func TestCompareWithKernel(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name   string
		model  []exchange.Sample
		holds  bool
		onStep bool
	}{
		{"equal", samples(52, 100*ms), true, false},
		{"within the tolerance", samples(52, 114*ms), true, false},
		{"beyond it", samples(52, 116*ms), false, false},
		{"the other side of the step", samples(48, 100*ms), true, true},
		{"too few slow ones", samples(5, 100*ms), false, true},
	} {
		f, table := finding{holds: true}, newTable()
		f.compareWithKernel(table, "kind", &kernelnet.Comparison{Kernel: samples(52, 100*ms), Model: test.model})
		if f.holds != test.holds || strings.Contains(table.String(), "on a step") != test.onStep {
			t.Errorf("%s: holds %v (%s), want %v:\n%s", test.name, f.holds, f.short, test.holds, table)
		}
	}
}
