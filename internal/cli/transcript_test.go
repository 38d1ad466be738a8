package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/reports"
)

func TestProgressLines(t *testing.T) {
	var out bytes.Buffer
	show := (&watcher{out: &out, label: "run"}).lines(30 * time.Second)
	for _, p := range []loadgen.Progress{
		{Elapsed: 0, P99Ns: -1},
		{Elapsed: 10 * time.Second, Intents: 5000, Acked: 4990, Failed: 3, P99Ns: 4_321_987},
		{Elapsed: 20 * time.Second, Intents: 10_000, Acked: 4990, Failed: 5003, P99Ns: -1},
		{Elapsed: 31 * time.Second, Intents: 15_000, Acked: 14_990, P99Ns: 900},
	} {
		show(p)
	}
	golden(t, "progress.txt", out.String())
}

// finished is a comparison of two variants with made-up figures.
func finished(t *testing.T, doubts ...string) reports.Result {
	t.Helper()
	var runs []reports.Variant
	for i, name := range []string{"one", "two"} {
		for round := 1; round <= 6; round++ {
			h := hist.New()
			for ns := range int64(1000) {
				h.Record((ns + 1) * int64(1000*(i+1)))
			}
			recorded, none := int64(1000), int64(0)
			v := reports.Variant{Name: name, Durability: "D3", Validity: validityOf(doubts),
				Components: []reports.Component{{Role: "sql", Implementation: "sqlite", Version: "3", Embedded: true}},
				Latency:    reports.Latencies{Response: reports.NewLatency(h)},
				Ledger: reports.Ledger{Intents: recorded, Attempts: recorded, Acked: recorded, Balanced: true,
					Fates: reports.NewFates(recorded, 0, 0, 0, 0, 0), DoubleCounted: &none}}
			runs = append(runs, v.WithRound(round, uint64(round), 1, 1e9, true))
		}
	}
	p := planOf(t, "--rate", "100", "--duration", "1s", "--epoch", "1")
	result, err := p.result(runs, &settings{})
	if err != nil {
		t.Fatal(err)
	}
	result.Tool = reports.Tool{Go: "go1", Commit: "0123456789abcdef"}
	result.Machine = reports.Machine{Model: "Processor", CPUs: 2}
	result.Comparison = reports.Compare(result.Variants, "one")
	return result
}

func TestComparePrints(t *testing.T) {
	for name, result := range map[string]reports.Result{
		"compare":         finished(t),
		"compare_invalid": finished(t, "the generator was late: lag_generator p99 2ms > 1ms"),
	} {
		var out bytes.Buffer
		result.Interrupted = name == "compare_invalid"
		c := &comparison{plan: planOf(t), stdout: &out}
		if err := c.print(result); err != nil {
			out.WriteString("postbench: " + err.Error() + "\n")
		}
		golden(t, name+".txt", out.String())
		for line := range strings.Lines(out.String()) {
			if !strings.HasPrefix(line, "postbench: ") && len([]rune(line)) > reports.MaxColumns+1 {
				t.Errorf("%s: wider than %d columns: %s", name, reports.MaxColumns, line)
			}
		}
	}
}

func TestSpoiltRoundsAreSaid(t *testing.T) {
	golden(t, "spoilt.txt", spoiltText(3, "monolith", []string{"the generator was late: lag_generator p99 2ms > 1ms", "the generator stood still for 300ms"}))
}

func TestDoubts(t *testing.T) {
	for _, c := range []struct {
		doubts doubts
		again  bool
	}{
		{doubts{}, false},
		{doubts{machine: []string{"late"}}, true},
		{doubts{machine: []string{"late"}, server: []string{"killed"}}, false},
		{doubts{machine: []string{"late"}, books: []string{"1 ≠ 2"}}, false},
		{doubts{machine: []string{"late"}, ledger: []string{"gone"}}, false},
		{doubts{ledger: []string{"gone"}}, false},
	} {
		if got := c.doubts.worthRepeating(); got != c.again {
			t.Errorf("%+v: worth repeating %v", c.doubts, got)
		}
	}
	all := doubts{[]string{"a"}, []string{"b"}, []string{"c"}, []string{"d"}}
	if got := strings.Join(all.all(), ""); got != "abcd" {
		t.Errorf("all: %s", got)
	}
	if got := strings.Join(all.lasting(), ""); got != "abc" {
		t.Errorf("lasting: %s", got)
	}
}

func TestNotes(t *testing.T) {
	golden(t, "notes.txt", noteCapsUnread(12)+noteUnsettled()+noteInterrupted()+noteAuditLater("run1")+noteStillTrying(7, 20*time.Second)+notePatience(90*time.Minute)+noteOnlyNetworks("post")+noteNotSlowed("partner-retry-storm")+noteSkippedLines(3, "access.log")+
		noteRounds(6, 3500*time.Millisecond, "mixed", 2)+noteRound(1, 6, "monolith[caps=atomic]", "p50 1.00ms   p99 2.00ms   lost 0")+
		noteCutShort(1_234_567_890))
}
