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
	v.Ledger.Worst[1].LastStatus, v.Ledger.Worst[1].LastOutcome, v.Ledger.Worst[1].Attempts = 0, "timed_out", 3
	v.Ledger.Worst[1].AckNs = ptr(int64(1_501_200_000))
	v.Ledger.AmountsOverflowed, v.Ledger.CapRowsDropped = true, ptr(int64(17))
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
		Ledger: Ledger{Fates: NewFates(0, 0, 0, 10, 0, 0), Balanced: true}, Validity: Validity{Verdict: VerdictValid}}
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

// What losing nothing costs is part of the path.
func TestAckedPathText(t *testing.T) {
	v := fullResult(t).Variants[1]
	want := "  acked by central: 1000 records; 10 sent again (1.00%), 150 bytes sent for a record, 1.00% of all bytes for the second\n" +
		"    time or later, an ack after 31.0ms\n"
	if got := pathSection(&v); !strings.Contains(got, want) || strings.Contains(got, "sent and not committed") {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestClockText(t *testing.T) {
	measured := Latencies{Recorded: block(1, 2, 10, 0)}
	for _, tt := range []struct {
		clock   *Clock
		latency Latencies
		want    string
	}{
		{nil, measured, ""},
		{&Clock{SameBoot: true}, Latencies{}, ""},
		{&Clock{SameBoot: true}, measured, "recorded: server clock is ours (same boot)\n"},
		{&Clock{OffsetUs: 12_300, ErrorUs: 400}, measured, "recorded: server clock is +12.3ms off, ± 400µs (measured)\n"},
		{&Clock{OffsetUs: -1500, ErrorUs: 1000}, measured, "recorded: server clock is -1.50ms off, ± 1.00ms (measured)\n"},
	} {
		if got := clockText(&Variant{Clock: tt.clock, Latency: tt.latency}); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.clock, got, tt.want)
		}
	}
}

// An ack that was given stays in the timeline, whatever a later attempt met.
func TestFateTextShowsTheAck(t *testing.T) {
	at := func(ns int64) *int64 { return &ns }
	for _, tt := range []struct {
		name string
		lost LostPostback
		want string
	}{
		{"the only attempt", LostPostback{AckNs: at(1_200_000), EndNs: at(1_200_000), LastStatus: 200, Attempts: 1}, "sent +0, acked at +1.20ms"},
		{"a duplicate timed out", LostPostback{AckNs: at(1_200_000), EndNs: at(9_000_000), LastOutcome: "timed_out", Attempts: 2},
			"sent +0, acked at +1.20ms, ended +9.00ms, last outcome timed_out, 2 attempts"},
		{"a duplicate was answered", LostPostback{AckNs: at(1_200_000), EndNs: at(9_000_000), LastStatus: 503, Attempts: 2},
			"sent +0, acked at +1.20ms, ended +9.00ms, last status 503, 2 attempts"},
		{"no ack", LostPostback{EndNs: at(9_000_000), LastOutcome: "timed_out", Attempts: 1}, "sent +0, ended +9.00ms, no answer: timed_out"},
		{"no ack, outcome not known", LostPostback{EndNs: at(9_000_000), Attempts: 1}, "sent +0, ended +9.00ms, no answer"},
	} {
		tt.lost.DispatchedNs = at(0)
		if got := fateText(&tt.lost); !strings.HasSuffix(got, ", "+tt.want) {
			t.Errorf("%s: got %q, want %q at the end", tt.name, got, tt.want)
		}
	}
}

func TestRepeatedTextTellsTheFindings(t *testing.T) {
	spoilt := Validity{Verdict: VerdictInvalid, Reasons: []string{"CPU steal"}}
	for want, l := range map[string]Ledger{
		"round 2 was repeated: CPU steal":                                  {},
		"round 2 was repeated: CPU steal; it had lost 3, double_counted 1": {Fates: NewFates(9, 0, 1, 2, 0, 0), DoubleCounted: ptr(int64(1))},
		"round 2 was repeated: CPU steal; it had forged_accepted 4":        {Fates: NewFates(9, 0, 0, 0, 0, 4), DoubleCounted: ptr(int64(0))},
	} {
		if got := repeatedText(&Round{Round: 2, Validity: spoilt, Ledger: l}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Nothing that a run with unbalanced books timed may reach a reader.
func TestUnbalancedPrintsNoLatency(t *testing.T) {
	v := run("m", 1, 4000, 0, 0)
	v.Stages[0].Name = "stage of the server"
	for _, print := range []func(Variant) string{Summary, RoundLine, func(v Variant) string { return Table([]Variant{v}) }} {
		v.Ledger.Balanced = true
		if text := print(v); !strings.Contains(text, "3.97ms") { // response p99
			t.Errorf("balanced, but no latency in:\n%s", text)
		}
		v.Ledger.Balanced = false
		text := print(v)
		for _, latency := range []string{"2.20ms", "3.82ms", "3.97ms", "1.92ms", "stage of"} { // response and recorded
			if strings.Contains(text, latency) {
				t.Errorf("not balanced, but %s in:\n%s", latency, text)
			}
		}
	}
}

func TestCapsWithoutRouter(t *testing.T) {
	v := run("m", 1, 4000, 0, 7)
	v.Caps.TrafficOvershootMeanPct, v.Caps.TrafficOvershootMaxPct, v.Caps.RouterPollUs = nil, nil, 0
	text := capsSection(&v)
	if !strings.Contains(text, "2 caps judged (one for each offer and cap window); no router watched the caps\n") || strings.Contains(text, "polled") {
		t.Errorf("got:\n%s", text)
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
