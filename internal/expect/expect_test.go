package expect_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/expect"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]struct {
		partner, metric, op string
		limit               float64
	}{
		"p99 < 500ms":                  {"", "p99", "<", 500e6},
		" p99.9<=1.5s ":                {"", "p99.9", "<=", 1.5e9},
		"loss = 0%":                    {"", "loss", "=", 0},
		"lost_after_ack=0":             {"", "lost_after_ack", "=", 0},
		"tune-1: p50 > 80ms":           {"tune-1", "p50", ">", 80e6},
		"traffic_overshoot_mean >= 5%": {"", "traffic_overshoot_mean", ">=", 0.05},
	} {
		e, err := expect.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if e.Partner != want.partner || e.Metric.Name != want.metric || e.Op != want.op || math.Abs(e.Limit-want.limit) > 1e-12*want.limit {
			t.Errorf("%q: %+v", text, e)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, why := range map[string]string{
		"":                                "want a comparison",
		"p99 500ms":                       "want a comparison",
		"p98 < 1s":                        "there are: p50",
		"p99 < 500":                       "want a duration",
		"p99 < -1s":                       "want a duration",
		"loss < 0.01":                     "want a percentage",
		"loss < NaN%":                     "want a percentage",
		"double_counted = 1.5":            "want a number",
		": p99 < 1s":                      "no partner",
		"tune: discrepancy < 1%":          "not known of one partner",
		strings.Repeat("x", 300) + " < 1": "longer than",
	} {
		_, err := expect.Parse(text)
		if !errors.Is(err, expect.ErrExpectation) || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

func TestHolds(t *testing.T) {
	for op, want := range map[string][3]bool{ // observed 1, 2, 3 against 2
		"<": {true, false, false}, "<=": {true, true, false}, "=": {false, true, false},
		">": {false, false, true}, ">=": {false, true, true},
	} {
		e := expect.Expectation{Op: op, Limit: 2}
		for i, holds := range want {
			if e.Holds(float64(i+1)) != holds {
				t.Errorf("%d %s 2: %v", i+1, op, !holds)
			}
		}
	}
	below := expect.Expectation{Op: "<", Limit: 1e18}
	if below.Holds(math.Inf(1)) {
		t.Error("an unacked percentile is below a limit")
	}
}

func TestFormatIsWhatParseReads(t *testing.T) {
	for _, m := range expect.Metrics() {
		text := m.Name + " <= " + m.Format(3)
		if m.Unit == expect.UnitDuration {
			text = m.Name + " <= " + m.Format(3e6)
		}
		if _, err := expect.Parse(text); err != nil {
			t.Error(err)
		}
	}
	if got := (expect.Metric{Unit: expect.UnitDuration}).Format(math.Inf(1)); got != "unacked" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a: p99 < 500ms")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := expect.Parse(text)
		if err != nil {
			return
		}
		again, err := expect.Parse(e.Text)
		if err != nil || again.Limit != e.Limit || again.Metric != e.Metric || again.Partner != e.Partner {
			t.Errorf("%q reads as %+v, then as %+v, %v", text, e, again, err)
		}
	})
}
