package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// budgeted has the stages given as name, mean in µs; between p90 and p99 they
// take twice as long.
func budgeted(name string, stages ...any) Variant {
	v := Variant{Name: name, Ledger: Ledger{Balanced: true}}
	for i := 0; i < len(stages); i += 2 {
		mean := stages[i+1].(float64)
		v.Stages = append(v.Stages, Stage{Name: stages[i].(string), MeanUs: mean, P90ToP99MeanUs: 2 * mean})
	}
	return v
}

// budgets are a few variants as they come out of a comparison.
func budgets() []Variant {
	unacked := budgeted("all unacked", "lag", 10., "network", 500.)
	for i := range unacked.Stages {
		unacked.Stages[i].P90ToP99MeanUs = 0
	}
	unbalanced := budgeted("unbalanced", "lag", 10., "network", 500.)
	unbalanced.Ledger.Balanced = false
	return []Variant{
		budgeted("monolith-php", "lag", 20., "dns", 7500., "connect", 0., "tls", 20_000., "nginx", 4000., "php", 55_000., "mysql", 22_500., "clickhouse", 19_000., "network", 7500.),
		budgeted("monolith", "lag", 20., "dns", 7500., "connect", 0., "tls", 20_000., "parse", 12.3, "mysql", 22_500., "clickhouse", 19_000., "log", 8., "network", 7500.),
		budgeted("edge-redis[attribution=redis-ttl,edges=50]", "lag", 20., "dns", 0., "connect", 0., "tls", 9000., "edge", 18_000., "redis", 400., "log", 8., "network", 7500.),
		{Name: "vegeta", Ledger: Ledger{Balanced: true}},
		unacked, unbalanced,
		budgeted("grpc-stream", "lag", 20., "dns", 0., "connect", 0., "tls", 0., "network", 1_700_000.),
		budgeted("binary-log", "lag", 20., "dns", 0., "connect", 0., "tls", 0., "edge", 9., "a\x1bname of a stage that is too long to be shown", 1., "network", 0.4),
	}
}

func TestBudgetTableGolden(t *testing.T) {
	text := BudgetTable(budgets())
	requireNarrow(t, text)
	golden(t, "budget_table.txt", text)
	if text := BudgetTable([]Variant{{Name: "none"}}); text != "" {
		t.Errorf("no variant has a budget, but\n%s", text)
	}
}

func TestBudgetGolden(t *testing.T) {
	var b strings.Builder
	for _, v := range budgets() {
		fmt.Fprintf(&b, "%s:\n%s", v.Name, Budget(v))
	}
	requireNarrow(t, b.String())
	golden(t, "budget.txt", b.String())
}

// What adds up in each round adds up in all, whichever stages they had.
func TestMergedStagesAddUp(t *testing.T) {
	weigh := func(v Variant, count int64) Variant {
		v.Latency.Response.Count = count
		return v
	}
	silent := weigh(budgeted("m", "lag", 10., "network", 500.), 100)
	silent.Stages[0].P90ToP99MeanUs, silent.Stages[1].P90ToP99MeanUs = 0, 0
	runs := []Variant{
		weigh(budgeted("m", "lag", 10., "php", 100., "network", 500.), 100),
		weigh(budgeted("m", "lag", 20., "nginx", 50., "php", 200., "log", 5., "network", 400.), 300),
		weigh(Variant{Name: "m"}, 1000),
		silent,
	}
	merged := Variant{Stages: mergeStages(runs)}
	var names []string
	sumUs := 0.0
	for _, s := range merged.Stages {
		names, sumUs = append(names, s.Name), sumUs+s.MeanUs
	}
	if want := []string{"lag", "nginx", "php", "log", "network"}; !slices.Equal(names, want) {
		t.Errorf("stages %v, want %v", names, want)
	}
	if want := (610.*100 + 675*300 + 510*100) / 500; math.Abs(sumUs-want) > 1e-9 {
		t.Errorf("the means add up to %v µs, want %v", sumUs, want)
	}
	if got, want := tailSumUs(&merged), (1220.*100+1350*300)/400; math.Abs(got-want) > 1e-9 {
		t.Errorf("between p90 and p99 they add up to %v µs, want %v", got, want)
	}
}
