package reports

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDuration(t *testing.T) {
	for us, want := range map[float64]string{
		0: "0", 0.5: "500ns", 1: "1.00µs", 412: "412µs", 999.4: "999µs", 999.6: "1.00ms", 1000: "1.00ms", 3214: "3.21ms",
		9999: "10.0ms", 55_550: "55.5ms", 999_499: "999ms", 1_020_000: "1.02s", 60_000_000: "60.0s", 3_600_000_000: "3600s", -1500: "-1.50ms",
	} {
		if got := duration(us); got != want {
			t.Errorf("duration(%v) = %s, want %s", us, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for rate, want := range map[float64]string{
		0: "0%", 0.01: "1.00%", 0.004: "0.400%", 0.0000123: "0.00123%", 0.123: "12.3%", 1: "100%", 12.345: "1234%", -0.02: "-2.00%", 0.99999: "100%",
	} {
		if got := percent(rate); got != want {
			t.Errorf("percent(%v) = %s, want %s", rate, got, want)
		}
	}
}

func TestMicros(t *testing.T) {
	for _, tt := range []struct {
		m      int64
		signed bool
		want   string
	}{
		{0, true, "0.00"}, {12_500_000, false, "12.50"}, {1, false, "0.000001"}, {-3_000_000, true, "-3.00"}, {1_234_500, true, "+1.2345"},
		{-500_000, false, "-0.50"}, {math.MinInt64, true, "-9223372036854.775808"}, {math.MaxInt64, true, "+9223372036854.775807"},
	} {
		if got := micros(tt.m, tt.signed); got != tt.want {
			t.Errorf("micros(%d) = %s, want %s", tt.m, got, tt.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"short", 5, "short"}, {"longer", 5, "lo…er"}, {"longer", 4, "lo…r"}, {"longer", 1, "…"}, {"grün-und-blau", 5, "gr…au"},
		{"a\x1b[2Jb\nc", 20, "a?[2Jb?c"}, {"\xff", 3, "?"},
	} {
		if got := cut(tt.text, tt.width); got != tt.want {
			t.Errorf("cut(%q, %d) = %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

// requireNarrow checks what is promised for a terminal.
func requireNarrow(t *testing.T, text string) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		if n := utf8.RuneCountInString(line); n > MaxColumns {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("blanks at the end of %q", line)
		}
	}
}

// noLedger is the user's own server, judged by latency alone.
func noLedger() Variant {
	v := Variant{Name: "https://me.example/pb", OfferedPerS: 1000, AchievedPerS: 999.9, Composition: Composition{External: "https://me.example/pb"},
		Latency:   Latencies{Response: block(400, 900, 100, 0), Service: block(400, 900, 100, 0), LagGenerator: block(1, 50, 100, 0), LagQueue: block(1, 1, 100, 0)},
		Responses: NewResponses(map[int]int64{200: 100}, nil), Ledger: Ledger{Intents: 100, Attempts: 100, Acked: 100, Balanced: true},
		Validity: Validity{Verdict: VerdictValid}}
	return v.WithRound(1, 0, 1, 1_000_000_000, true)
}

// broken has everything wrong at once, names and words from outside included.
func broken() Variant {
	v := run("monolith[caps=check-then-insert,answer=before-buffer,attribution=sql+clickhouse,log=json]", 1, 3_600_000, 25, 12)
	v.Ledger.Intents, v.Ledger.Attempts, v.Ledger.Balanced = 1011, 1009, false
	v.Ledger.Money = append(v.Ledger.Money, Money{PartnerCount: 1, PartnerMicros: 1, MissingCount: 1, MissingMicros: 1})
	v.Ledger.FalseDuplicate = nil
	v.Ledger.Worst[0] = LostPostback{ClickID: strings.Repeat("x", 128), TxID: strings.Repeat("y", 128), Event: "sale", Partner: "a partner with a long name",
		Fate: FateLostAtPartner, Reason: "queue_full", DueNs: 1_000_000, PayoutMicros: math.MaxInt64, Currency: "USD"}
	v.Ledger.Worst[1].Fate, v.Ledger.Worst[1].Reason, v.Ledger.Worst[1].ClickID = FateLostAfterAck, "", "\x1b[31mred\nline"
	v.Ledger.Worst[1].LastStatus, v.Ledger.Worst[1].Attempts = 0, 3
	v.Responses = append(v.Responses, Response{Error: "dial tcp: " + strings.Repeat("z", 200), Count: 1})
	v.Partners[0].Drops = map[string]int64{"queue_full": 1_000_000, "timed_out": 2_000_000, "refused": 3_000_000, "errored": 4_000_000,
		"retries_exhausted": 5_000_000, "run_ended": 6_000_000}
	v.Partners[0].QueueDepth = nil
	v.Caps.TrafficOvershootMeanPct, v.Caps.TrafficOvershootMaxPct, v.Caps.VisibleP95Us = nil, nil, nil
	v.Validity = Validity{Verdict: VerdictInvalid, Reasons: []string{
		"lag_generator p99 8.1 ms is more than 1 ms and more than 5 % of response p99, which means that the generator was late and the figures say nothing about the target",
		"CPU steal 4.1 % > 2 %"}}
	repeated := v.WithRound(1, 0, 1, 1, false).Rounds[0]
	v = v.WithRound(1, 0, 1, 1, true)
	v.Rounds = append([]Round{repeated}, v.Rounds...)
	return v
}

func TestTableGolden(t *testing.T) {
	none := merged(t)
	none.Name = "no rounds"
	unacked := Variant{Name: "all unacked", Latency: Latencies{Response: Latency{Censored: 10}}, Durability: "D0",
		Ledger: Ledger{Fates: NewFates(0, 0, 0, 10, 0, 0)}, Validity: Validity{Verdict: VerdictValid}}
	text := Table([]Variant{
		sixRounds(t, "monolith[caps=check-then-insert]", 4000, 5, 7), sixRounds(t, "monolith[caps=atomic]", 3900, 0, 0), noLedger(), unacked, none, broken(),
	})
	requireNarrow(t, text)
	golden(t, "table.txt", text)
	golden(t, "table_empty.txt", Table(nil))
}

func TestTableStaysNarrowWithLargeFigures(t *testing.T) {
	v := broken()
	v.Ledger.Fates = NewFates(100_000_000, 0, 12_345_678, 0, 0, 0)
	v.Ledger.DoubleCounted = ptr(int64(12_345_678))
	v.Caps.BilledOvershootMax, v.Caps.BilledOvershootMaxPct = 123_456, 123_456
	requireNarrow(t, Table([]Variant{v}))
}

func TestRoundLine(t *testing.T) {
	var b strings.Builder
	for _, v := range []Variant{run("m", 1, 4000, 5, 0), run("m", 1, 4000, 500, 0), noLedger(), {}, broken()} {
		b.WriteString(RoundLine(v) + "\n")
	}
	golden(t, "round_lines.txt", b.String())
}

func TestSummaryGolden(t *testing.T) {
	for name, v := range map[string]Variant{
		"summary_full.txt":      sixRounds(t, "monolith[caps=check-then-insert]", 4000, 5, 7),
		"summary_no_ledger.txt": noLedger(),
		"summary_no_rounds.txt": merged(t),
		"summary_broken.txt":    broken(),
	} {
		text := Summary(v)
		requireNarrow(t, text)
		golden(t, name, text)
	}
}

// TestSummaryOfTheDocument: what was read from a file prints like the original.
func TestSummaryOfTheDocument(t *testing.T) {
	path := t.TempDir() + "/result.json"
	r := fullResult(t)
	if err := WriteFile(path, r); err != nil {
		t.Fatal(err)
	}
	again, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if Table(again.Variants) != Table(r.Variants) || Summary(again.Variants[0]) != Summary(r.Variants[0]) {
		t.Error("the text differs")
	}
}
