package reports

import (
	"math"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/hist"
)

// rungOf is a variant with a round for each p95, and a budget.
func rungOf(name string, stages []Stage, p95sMs ...float64) Variant {
	v := Variant{Name: name, Stages: stages, Ledger: Ledger{Balanced: true}, Validity: Validity{Verdict: VerdictValid}}
	for i, ms := range p95sMs {
		r := Round{Round: i + 1, Counted: true}
		if !math.IsInf(ms, 1) {
			r.Latency.Response.P95Us = ptr(ms * 1e3)
		}
		v.Rounds = append(v.Rounds, r)
	}
	return v
}

func ladder() []Variant {
	edge := func(edgeMs, logMs float64) []Stage {
		return []Stage{{Name: "edge", P90ToP99MeanUs: edgeMs * 1e3}, {Name: "log", P90ToP99MeanUs: logMs * 1e3}, {Name: "network", P90ToP99MeanUs: 6e3}}
	}
	streams := rungOf("grpc-stream", nil, 30, 31, 32)
	streams.Latency.Response = block(10_000, 40_000, 100, 0)
	return []Variant{
		rungOf("monolith", []Stage{{Name: "php", P90ToP99MeanUs: 200e3}, {Name: "mysql", P90ToP99MeanUs: 120e3}}, 320, 318, 330),
		rungOf("redis-cache", []Stage{{Name: "php", P90ToP99MeanUs: 200e3}, {Name: "mysql", P90ToP99MeanUs: 60e3}}, 250, 255, 245),
		streams,
		rungOf("udp-batch", edge(20, 7), 45, 46, 44),
		rungOf("hot-path", edge(12, 7), 38, 39, 37),
		rungOf("binary-log", edge(12, 0), 28, math.Inf(1), math.Inf(1)),
	}
}

func calibrations() []Calibration {
	return []Calibration{{Figure: "log", P50Us: 6.4e3, P95Us: 9.6e3, FittedTo: "udp-batch"}}
}

func TestStoryTable(t *testing.T) {
	variants := ladder()
	text := StoryTable(TellStory(variants, calibrations()), variants) + "\n" + StepTable(variants)
	requireNarrow(t, text)
	golden(t, "story.txt", text)
}

// A rung that only carries on an error says so, one of its own is the step's.
func TestErrorsAreExplained(t *testing.T) {
	for _, test := range []struct {
		p95sMs [2]float64 // of monolith and redis-cache
		want   string
	}{
		{[2]float64{320, 275}, "most of the error is monolith's"},
		{[2]float64{280, 275}, "does not follow from its stages"},
		{[2]float64{250, 275}, "does not follow from its stages"},
		{[2]float64{280, 241}, ""},
	} {
		variants := []Variant{rungOf("monolith", nil, test.p95sMs[0]), rungOf("redis-cache", nil, test.p95sMs[1])}
		if text := strings.Join(strings.Fields(whyText(TellStory(variants, nil), variants, 1)), " "); !strings.Contains(text, test.want) || (text == "") != (test.want == "") {
			t.Errorf("%v: %q, want %q", test.p95sMs, text, test.want)
		}
	}
}

// Of rounds that cannot be trusted nothing is concluded.
func TestInvalidStory(t *testing.T) {
	variants := ladder()[:5]
	variants[4].Validity.Verdict = VerdictInvalid
	text := StoryTable(TellStory(variants, calibrations()), variants)
	if !strings.Contains(text, "not judged: hot-path is invalid") || strings.Contains(text, "hot-path is +") {
		t.Errorf("got:\n%s", text)
	}
}

func TestTellStory(t *testing.T) {
	variants := ladder()[:5]
	s := TellStory(variants, calibrations())
	if !s.Ordered || !s.Fitted() {
		t.Errorf("ordered %v, fitted %v", s.Ordered, s.Fitted())
	}
	for i, want := range []struct {
		mark  string
		p95Ms float64
		error float64
	}{{MarkCameOut, 320, 320. / 280}, {MarkCameOut, 250, 250. / 240}, {"", 31, 0}, {MarkCalibrated, 45, 1}, {MarkCameOut, 38, 38. / 32}} {
		r := &s.Rungs[i]
		if r.Mark != want.mark || *r.P95Us != want.p95Ms*1e3 || want.mark != "" && math.Abs(*r.Error+1-want.error) > 1e-9 {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	variants[0], variants[1] = variants[1], variants[0]
	if TellStory(variants, nil).Ordered {
		t.Error("redis-cache above monolith is in order")
	}
	slow := []Variant{rungOf("udp-batch", nil, 60)}
	if TellStory(slow, calibrations()).Fitted() {
		t.Error("60 ms fit the post's 45 ms")
	}
	unacked := ladder()[5:]
	if r := TellStory(unacked, nil).Rungs[0]; r.P95Us != nil || r.Error != nil || *r.MinUs != 28e3 {
		t.Errorf("two unacked rounds of three: %+v", r)
	}
}

func TestMonthTable(t *testing.T) {
	response := func(ms ...int64) Latency {
		h := hist.New()
		for _, v := range ms {
			for range 10 {
				h.Record(v * 1_000_000)
			}
		}
		return NewLatency(h)
	}
	near, bad := response(10, 11, 12, 13, 14, 15, 16, 17, 18), response(90)
	all, err := MergeLatency(near, bad)
	if err != nil {
		t.Fatal(err)
	}
	v := Variant{Name: "binary-log", Latency: Latencies{Response: all}, Networks: []Network{
		{Name: "metro", Latency: PartnerLatency{Response: near}}, {Name: "cis-edge", Latency: PartnerLatency{Response: bad}},
	}}
	slow := 50_000.0
	v.Latency.Response.P999Us = &slow
	m, err := TellMonth(&v)
	if err != nil {
		t.Fatal(err)
	}
	text := MonthTable(m)
	requireNarrow(t, text)
	golden(t, "month.txt", text)
	if tail := m.Tails[len(m.Tails)-1]; tail.Networks[1].OfTheTail != 1 || tail.Networks[1].OfAll != 0.1 {
		t.Errorf("%+v", tail)
	}
}
