package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/postbench/postbench/internal/kernelnet"
	"github.com/postbench/postbench/internal/kernelnet/exchange"
	"github.com/postbench/postbench/internal/netem"
)

const (
	// kernelTolerance is how far a percentile of the model may be from the kernel's.
	kernelTolerance = 0.15
	kernelRTTNs     = 85_000_000
	kernelLoss      = 0.01
	kernelExchanges = 8_000
	// kernelConnections are open at once, on the kernel's network and on the
	// model's: more would measure the CPU that TLS handshakes take.
	kernelConnections = 100
	// maxRelayLate is how late packets may be on average in a comparison that counts.
	maxRelayLate = time.Millisecond
)

// kernelPercentiles are shown; those that must agree are judged.
var kernelPercentiles = []struct {
	percentile float64
	judged     bool
}{{50, true}, {90, false}, {95, true}, {99, true}, {99.9, false}}

// networkExperiment holds the model of TCP against the kernel's.
func networkExperiment() experiment {
	return experiment{
		name: "network", title: "Emulated TCP against the kernel's",
		claim: fmt.Sprintf("Over %d ms of round trip and %g %% loss of packets, p50, p95 and p99 of internal/netem are within %g %% of the TCP of this machine's kernel over a packet relay (two network namespaces, a TUN device in each, cubic): %d exchanges of %d B and %d B a row, %d connections at once, both networks at the same time.",
			kernelRTTNs/1_000_000, kernelLoss*100, kernelTolerance*100, kernelExchanges, exchange.RequestBytes, exchange.AnswerBytes, kernelConnections),
		run: func(ctx context.Context, _ *lab) (finding, error) {
			f := finding{commands: []string{"go run ./internal/results -only network"}, holds: true}
			header := []string{"exchange", "TCP"}
			for _, p := range kernelPercentiles {
				header = append(header, fmt.Sprintf("p%g ms", p.percentile))
			}
			t := newTable(append(header, "mean ms", "packets lost")...)
			for _, kind := range exchange.Kinds() {
				both, err := compareUndisturbed(ctx, kind)
				if errors.Is(err, kernelnet.ErrUnsupported) {
					return finding{commands: f.commands, short: err.Error()}, nil
				}
				if err != nil {
					return finding{}, err
				}
				f.compareWithKernel(t, kind.Name, both)
			}
			f.body = t.String() + "\nThe steps of the distributions are what a lost packet costs: 1 s for a SYN, 300 ms for a request or an answer, 110 ms where a later segment tells of the loss. A percentile may lie on such a step: with TLS 1.3 resumed, 5 % of the exchanges lose a packet that costs 300 ms, and chance decides on which side p95 falls. There the share of slow exchanges is compared (99 % confidence), and the cell says so.\n"
			return f, nil
		},
	}
}

// compareUndisturbed compares until the machine lets the packets go in time.
func compareUndisturbed(ctx context.Context, kind exchange.Kind) (*kernelnet.Comparison, error) {
	path := netem.PathSpec{RTTNs: kernelRTTNs, Loss: netem.GilbertElliott{GoodLoss: kernelLoss}}
	for seed := range uint64(tries) {
		both, err := kernelnet.Compare(ctx, path, seed+1, kind, kernelExchanges, kernelConnections)
		if err != nil || both.RelayLate() <= maxRelayLate {
			return both, err
		}
	}
	return nil, fmt.Errorf("%s: packets were more than %v late on average, %d times: the machine is too busy", kind.Name, maxRelayLate, tries)
}

// compareWithKernel adds an exchange's three rows and judges them.
func (f *finding) compareWithKernel(t *table, name string, both *kernelnet.Comparison) {
	kernel, model, difference := []string{name, "kernel"}, []string{"", "model"}, []string{"", "difference"}
	for _, p := range kernelPercentiles {
		k, m := exchange.Percentiles(both.Kernel, p.percentile)[0], exchange.Percentiles(both.Model, p.percentile)[0]
		cell := fmt.Sprintf("%+.1f %%", (float64(m)/float64(k)-1)*100)
		kernel, model = append(kernel, millis(k)), append(model, millis(m))
		switch {
		case !p.judged || like(m, k, k):
		case onAStep(both, p.percentile, m):
			cell += ", on a step"
		default:
			f.holds = false
			f.short = fmt.Sprintf("%s: p%g differs by %s", name, p.percentile, cell)
		}
		difference = append(difference, cell)
	}
	k, m := exchange.Mean(both.Kernel), exchange.Mean(both.Model)
	share := func(lost, sent int64) string { return fmt.Sprintf("%d of %d", lost, sent) }
	t.row(append(kernel, millis(k), share(both.ToServer.Lost+both.ToClient.Lost, both.ToServer.Packets+both.ToClient.Packets))...)
	t.row(append(model, millis(m), share(both.Truth.Lost, both.Truth.Segments))...)
	t.row(append(difference, fmt.Sprintf("%+.1f %%", (float64(m)/float64(k)-1)*100), "")...)
}

// like reports whether the model's m is within the tolerance of a range.
func like(m, low, high time.Duration) bool {
	return float64(m) >= float64(low)*(1-kernelTolerance) && float64(m) <= float64(high)*(1+kernelTolerance)
}

// onAStep reports whether m fits when chance is allowed for: two samples of n
// differ in the share that lies beyond a percentile by sqrt(2·p·(1−p)/n),
// standard deviation. That matters only where the kernel's own distribution
// steps within that range.
func onAStep(both *kernelnet.Comparison, percentile float64, m time.Duration) bool {
	const deviations = 2.58 // 99 of 100 pairs of samples
	p := percentile / 100
	chance := 100 * deviations * math.Sqrt(2*p*(1-p)/float64(len(both.Kernel)))
	around := exchange.Percentiles(both.Kernel, percentile-chance, percentile+chance)
	return like(m, around[0], around[1])
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }
