package loadgen

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/transport"
)

// Over every transport the parts add up to the response latency, which the
// cells know as well, and the server's stages are as it says.
func TestBudgetAddsUp(t *testing.T) {
	target, err := labtarget.Start(labtarget.Options{Delay: 6 * time.Millisecond, RefuseEvery: 10,
		ServerTiming: `nginx;dur=1, php;desc="a, b";dur=2.5, cache, mysql;dur=0.25, php;dur=0.5`})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	address := func(url string) string { return strings.TrimPrefix(url, "http://") }
	http1 := transport.HTTP1Config{Address: address(target.URL()), Host: "me"}
	closing := http1
	closing.CloseEach = true
	http2 := transport.NewHTTP2(transport.SharedConfig{Address: address(target.HTTP2URL()), Host: "me"})
	grpc := transport.NewGRPCStream(transport.SharedConfig{Address: address(target.GRPCURL()), Host: "me"})
	const split = "nginx=1ms php=3ms mysql=250µs"
	for name, c := range map[string]struct {
		sender func() Sender
		stages string
	}{
		"http1":          {func() Sender { return transport.NewHTTP1(http1) }, split},
		"http1, closing": {func() Sender { return transport.NewHTTP1(closing) }, split},
		"http2":          {func() Sender { return http2.Sender() }, split},
		"grpc":           {func() Sender { return grpc.Sender() }, ""}, // an ack carries no header
	} {
		t.Run(name, func(t *testing.T) {
			cfg := configOf(t, newWorld(nil), generatorOf(t, nil), 400, 500*time.Millisecond)
			cfg.SleepUntil, cfg.Warmup = SleepUntil, 100*time.Millisecond
			cfg.Partners[0].NewSender = c.sender
			o := mustRun(t, t.Context(), cfg)
			checkAddsUp(t, &cfg, o)
			b := o.Budget
			if b.Requests != o.Latencies.Response.Count() || b.Kept != b.Requests || b.Clipped+b.Other+b.Cut != 0 {
				t.Errorf("%+v of %d responses", b, o.Latencies.Response.Count())
			}
			if got := serverParts(b); got != c.stages {
				t.Errorf("stages %q, want %q", got, c.stages)
			}
			if connecting := b.Parts[2]; connecting.Name != PartConnect ||
				name == "http1, closing" && (connecting.MeanNs == 0 || connecting.TailMeanNs == 0) {
				t.Errorf("every request opened a connection: %+v", b.Parts)
			}
		})
	}
}

// checkAddsUp compares the sums of the parts with the cells of a run without
// retries and duplicates.
func checkAddsUp(t *testing.T, cfg *Config, o *Outcome) {
	t.Helper()
	var responses []float64
	timed := 0
	for i := range cfg.Cells {
		cell := &cfg.Cells[i]
		if cell.Flags&audit.Released == 0 || cell.DueNs < int64(cfg.Warmup) {
			continue
		}
		timed++
		if cell.Acked > 0 {
			responses = append(responses, float64(cell.AckNs-cell.DueNs))
		}
	}
	slices.Sort(responses)
	// Nearest ranks, by another way than the budget's: those that are not acked
	// are slower than all.
	first, last := int(math.Ceil(0.90*float64(timed))), min(int(math.Ceil(0.99*float64(timed))), len(responses))
	means, tails := 0.0, 0.0
	for _, part := range o.Budget.Parts {
		if part.MeanNs < 0 || part.TailMeanNs < 0 {
			t.Errorf("%s is negative: %+v", part.Name, part)
		}
		means, tails = means+part.MeanNs, tails+part.TailMeanNs
	}
	tail := []float64{0}
	if first <= last {
		tail = responses[first-1 : last]
	}
	if want := mean(responses); math.Abs(means-want) > 1 {
		t.Errorf("the parts add up to %.0f ns, the mean response is %.0f ns", means, want)
	}
	if want := mean(tail); math.Abs(tails-want) > 1 {
		t.Errorf("between p90 and p99 the parts add up to %.0f ns, the mean response is %.0f ns", tails, want)
	}
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, value := range values {
		sum += value
	}
	return sum / float64(len(values))
}

// serverParts prints the parts that are not the client's own.
func serverParts(b *Budget) string {
	var text []string
	for _, part := range b.Parts {
		switch part.Name {
		case PartLag, PartDNS, PartConnect, PartTLS, PartNetwork:
		default:
			text = append(text, fmt.Sprintf("%s=%v", part.Name, time.Duration(math.Round(part.MeanNs))))
		}
	}
	return strings.Join(text, " ")
}

// answered is an attempt of 10 ms, 1 ms of which it waited for its slot.
func answered(stages string) *observation {
	return &observation{ticket: &ticket{dueNs: 1e9}, dispatchedNs: 1e9 + 1e6, endNs: 1e9 + 10e6, reply: transport.Reply{
		ServerTiming: []byte(stages), Phases: transport.Phases{DNSNs: 1e6, ConnectNs: 1e6, TLSNs: 2e6}}}
}

func TestBudgetOfAnswers(t *testing.T) {
	var many []string
	for i := range MaxStageKinds {
		many = append(many, fmt.Sprintf("s%02d;dur=0", i))
	}
	for name, c := range map[string]struct {
		answers        []string
		stages         string
		clipped, other int64
	}{
		"nothing said":             {answers: []string{"", "cache"}},
		"absent is zero":           {answers: []string{"a;dur=2", ""}, stages: "a=1ms"},
		"order of the path":        {answers: []string{"a;dur=1, d;dur=1", "a;dur=1, b;dur=1, c;dur=1, d;dur=1", "z;dur=1"}, stages: "z=333.333µs a=666.667µs b=333.333µs c=333.333µs d=666.667µs"},
		"more than the answer":     {answers: []string{"total;dur=15, db;dur=5"}, stages: "total=3.75ms db=1.25ms", clipped: 1},
		"all of the answer":        {answers: []string{"a;dur=5"}, stages: "a=5ms"},
		"long name":                {answers: []string{strings.Repeat("x", 33) + ";dur=1, " + strings.Repeat("x", 32) + ";dur=2"}, stages: strings.Repeat("x", 32) + "=2ms other=1ms", other: 1},
		"a name of ours":           {answers: []string{"dns;dur=1, other;dur=2"}, stages: "server dns=1ms server other=2ms"},
		"too many and another one": {answers: []string{strings.Join(many, ",") + ",more;dur=1,s03;dur=1"}, stages: "s03=1ms other=1ms", other: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBudget(1, 0)
			for _, stages := range c.answers {
				b.add(answered(stages))
			}
			result := b.result(0)
			result.Parts = slices.DeleteFunc(result.Parts, func(p Part) bool { return p.MeanNs == 0 })
			if got := serverParts(result); got != c.stages {
				t.Errorf("stages %q, want %q", got, c.stages)
			}
			if result.Clipped != c.clipped || result.Other != c.other {
				t.Errorf("%+v", result)
			}
			sum := 0.0
			for _, part := range result.Parts {
				sum += part.MeanNs
			}
			if math.Abs(sum-10e6) > 1 {
				t.Errorf("the parts add up to %.0f ns of 10 ms", sum)
			}
		})
	}
	if newBudget(1, 0).result(5) != nil {
		t.Error("a budget of no request")
	}
}

// Means are of all requests; the tail is drawn fairly when there are too many
// to be kept.
func TestBudgetOfManyRequests(t *testing.T) {
	const requests = 4 * maxSpent
	b := newBudget(1, 0)
	for i := range int64(requests) {
		// The order of the latencies says nothing about them.
		b.add(&observation{ticket: &ticket{}, endNs: i * 7919 % requests * 1000, reply: transport.Reply{TimingCut: i == 0}})
	}
	whole := b.result(0)
	if whole.Requests != requests || whole.Kept != maxSpent || whole.Cut != 1 {
		t.Errorf("%+v", whole)
	}
	network := whole.Parts[len(whole.Parts)-1]
	if want := (requests - 1) * 500.0; math.Abs(network.MeanNs-want) > 1 {
		t.Errorf("mean %.0f ns, want %.0f", network.MeanNs, want)
	}
	if want := 0.945 * requests * 1000; math.Abs(network.TailMeanNs/want-1) > 0.005 {
		t.Errorf("mean of the tail %.0f ns, want about %.0f", network.TailMeanNs, want)
	}
	for _, c := range []struct {
		censored int64
		tail     float64 // ranks among the acked ones, as a share
	}{
		{requests / 99, (0.90*100/99 + 1) / 2}, // p99 is the slowest acked one
		{requests / 19, (0.90*20/19 + 1) / 2},  // p95 is
		{requests / 4, 0},                      // p80 is: nobody of the tail was acked
	} {
		parts := b.result(c.censored).Parts
		if got := parts[len(parts)-1].TailMeanNs / (requests * 1000); math.Abs(got-c.tail) > 0.005 {
			t.Errorf("%d censored: the tail's mean is at %.4f, want %.4f", c.censored, got, c.tail)
		}
	}
}
