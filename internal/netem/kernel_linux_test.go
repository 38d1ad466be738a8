//go:build !race

// Under the race detector this would measure the detector.

package netem_test

import (
	"errors"
	"math"
	"os"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/kernelnet"
	"github.com/postbench/postbench/internal/kernelnet/exchange"
	"github.com/postbench/postbench/internal/netem"
)

const (
	// tolerance is the promise: that far may a percentile of the model be from
	// the kernel's.
	tolerance = 0.15
	// seeds is how many may disagree before the model is wrong: a wrong model
	// fails with every one. Chance alone fails one TLS run in some dozens: its
	// p95 lies on a step of nearly the tolerance's height (5 % of the exchanges
	// lose a packet that costs 385 ms or more, a further 1 % one that costs
	// 310 ms). And another program can stop both networks for a while.
	seeds = 3
)

// TestModelIsLikeTheKernel compares the model of TCP with the TCP of this
// machine's kernel: from Europe to the US East coast, 1 % loss.
func TestModelIsLikeTheKernel(t *testing.T) {
	path := netem.PathSpec{RTTNs: 85e6, Loss: netem.GilbertElliott{GoodLoss: 0.01}}
	for _, test := range []struct {
		kind exchange.Kind
		// So many that p99 lies four deviations or more off a step:
		// 2 % ± 0.2 % of the exchanges are the slowest kind.
		exchanges, connections int
	}{
		{exchange.Kinds()[0], 6_000, 120},
		{exchange.Kinds()[1], 8_000, 250},
		{exchange.Kinds()[2], 6_000, 100}, // no more: handshakes cost CPU
	} {
		t.Run(test.kind.Name, func(t *testing.T) {
			for seed := uint64(1); ; seed++ {
				both, err := kernelnet.Compare(t.Context(), path, seed, test.kind, test.exchanges, test.connections)
				skipUnsupported(t, err)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("seed %d, packets %v late on average", seed, both.RelayLate().Round(time.Microsecond))
				if alike(t, both) {
					return
				}
				if seed == seeds {
					t.Fatalf("the model differs by more than %g %%, seed after seed", tolerance*100)
				}
			}
		})
	}
}

func alike(t *testing.T, both *kernelnet.Comparison) bool {
	percentiles := []float64{50, 95, 99}
	kernel, model := exchange.Percentiles(both.Kernel, percentiles...), exchange.Percentiles(both.Model, percentiles...)
	alike := true
	for i, p := range percentiles {
		off := float64(model[i])/float64(kernel[i]) - 1
		t.Logf("p%g: kernel %v, model %v: %+.1f %%", p, kernel[i].Round(time.Microsecond), model[i].Round(time.Microsecond), off*100)
		alike = alike && math.Abs(off) <= tolerance
	}
	return alike
}

// skipUnsupported leaves the test out on a machine that has no network
// namespaces for us. CI must have them if it has TUN devices and we are root.
func skipUnsupported(t *testing.T, err error) {
	if !errors.Is(err, kernelnet.ErrUnsupported) {
		return
	}
	if _, missing := os.Stat("/dev/net/tun"); os.Getenv("CI") != "" && missing == nil && os.Geteuid() == 0 {
		t.Fatal("cannot be compared, and CI leaves nothing out: ", err)
	}
	t.Skip(err)
}
