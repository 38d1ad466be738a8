package reports

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/postbench/postbench/internal/hist"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (see -update); got:\n%s\nwant:\n%s", path, got, want)
	}
}

func ptr[T any](v T) *T { return &v }

// blocks remembers what block made: encoding takes most of these tests' time.
var blocks = map[[4]int64]Latency{}

// block holds count entries spread evenly from lowUs to highUs.
func block(lowUs, highUs, count, censored int64) Latency {
	key := [4]int64{lowUs, highUs, count, censored}
	if known, ok := blocks[key]; ok {
		return known
	}
	h := hist.New()
	for i := range count {
		h.Record(1000*lowUs + 1000*(highUs-lowUs)*i/max(1, count-1))
	}
	for range censored {
		h.RecordCensored()
	}
	blocks[key] = NewLatency(h)
	return blocks[key]
}

// run is a plausible single run: 1,000 legitimate intents and 10 others, with
// lost of the former lost at the partner, and overshoot rows beyond the cap.
func run(name string, round int, p95Us, lost, overshoot int64) Variant {
	v := Variant{
		Name: name, Durability: "D1", OfferedPerS: 101, AchievedPerS: 100.5,
		Composition: Composition{Front: "plain", Answer: "after-commit", Buffer: "none", Uplink: "none", Attribution: "sql+clickhouse",
			Caps: "check-then-insert", Log: "json", LogWrite: "background", Edges: 1, Place: "region", External: "https://example.com/pb"},
		Components: []Component{{Role: "sql", Implementation: "sqlite", Version: "3.50.1", Embedded: true}},
		Latency: Latencies{
			Response: block(p95Us/10, p95Us, 999-lost, 1+lost), Service: block(p95Us/10, p95Us/2, 999-lost, 0),
			ServiceRefused: block(100, 300, 9, 0), Delivery: block(p95Us/10, 2*p95Us, 999-lost, 1+lost),
			Recorded: block(p95Us/12, p95Us/2, 1000-lost, lost), LagGenerator: block(1, 90, 1010, 0), LagQueue: block(1, 1, 1010, 0),
		},
		Clock:     &Clock{OffsetUs: 12_300, ErrorUs: float64(400 * round)},
		Phases:    phases(p95Us, lost),
		Responses: NewResponses(map[int]int64{401: 9, 200: 1000 - lost}, map[string]int64{"timed out": lost, "connection reset": 1}),
		Timeline:  []TimelineSecond{{Second: 0, Due: 500, Acked: 500, P50Us: ptr(2500.), P99Us: ptr(4100.), MaxUs: ptr(4200.)}, {Second: 1, Due: 510}},
		Partners: []Partner{{Name: "north", Latency: PartnerLatency{Response: block(p95Us/10, p95Us, 999-lost, 1+lost)},
			Ledger:  PartnerLedger{Intents: 1010, Attempts: 1010, Fates: NewFates(999-lost, 1, 0, lost, 9, 1)},
			Network: "eu-us-east", Phases: phases(p95Us, lost), Handshakes: 40, Resumed: 30, AttemptsPerIntent: []int64{1, 1007, 2}, Money: ledger(lost).Money,
			Drops: map[string]int64{"timed_out": lost}, QueueDepth: ptr(int64(round)), QueueDepthPerS: []int64{0, int64(round), 1}, LateAcks: 2, Deactivated: true}},
		Networks: []Network{{Name: "eu-us-east", Latency: PartnerLatency{Response: block(p95Us/10, p95Us, 999-lost, 1+lost)}, Phases: phases(p95Us, lost),
			Connections: 40, Segments: 2100, Lost: 21, Retransmissions: 22, Timeouts: 3, Lookups: 4}},
		Costs:  []StageCost{{Stage: "php", Requests: 1000, Refused: 3, MaxQueue: 17, WaitMeanUs: 1200, ServeMeanUs: 70_000}},
		Ledger: ledger(lost),
		Caps: &Caps{Offers: 2, BilledOvershoot: overshoot, BilledOvershootMax: overshoot, BilledOvershootMaxPct: float64(overshoot),
			TrafficOvershootMeanPct: ptr(2.5), TrafficOvershootMaxPct: ptr(5.), Undershoot: ptr(int64(1)), VisibleP95Us: ptr(21000.), RouterPollUs: 20000},
		Stages: []Stage{{Name: "attribution", MeanUs: 400, P90ToP99MeanUs: 900}},
		Path: &Path{RecordsSent: ptr(int64(1005)), RecordsCommitted: 1003, Datagrams: ptr(int64(210)), RecordsExpired: 1, DroppedAfterAnswer: 1,
			KernelDrops: 1, Refused: 1, Restarts: 1, AtLeast: true},
		Netem: &Netem{UDPSent: 210, Dropped: 1, DroppedRecords: 2, Duplicated: 1, Reordered: 3, Corrupted: 1, CorruptedRecords: 4, SendFailed: 1, KernelDrops: 1},
		Faults: []Fault{{Do: "kill", Process: "batcher/0", AtNs: 1_000_000_000, ForNs: 500_000_000}, {Do: "crash", Process: "edge/0", Point: "answered-not-buffered#7"},
			{Do: "slow", Process: "server", AtNs: 2_000_000_000, ForNs: 3_000_000_000, AddNs: 1_500_000_000}},
		Resources: Resources{ServerCPUS: ptr(1.5), ClientCPUS: ptr(0.5), ServerGCStopMaxUs: ptr(float64(100 * round)), ServerGCStops: ptr(int64(3)), AllocsPerRequest: ptr(12.), SQLQueries: ptr(4.),
			RSSMaxBytes: ptr(int64(64 << 20)), UDPKernelDrops: ptr(int64(1))},
		Validity: Validity{Verdict: VerdictValid},
	}
	return v.WithRound(round, uint64(6+round), 1_700_000_000_000_000_000, 10_000_000_000, true)
}

func phases(p95Us, lost int64) Phases {
	return Phases{DNS: block(5, 10, 2, 0), Connect: block(50, 100, 2, 0), TLS: block(200, 400, 2, 0),
		Wait: block(100, p95Us/3, 1000-lost, 0), Body: block(1, 20, 1000-lost, 0)}
}

func ledger(lost int64) Ledger {
	l := Ledger{
		Intents: 1010, Attempts: 1010, Acked: 1000 - lost, Refused: 9, TimedOut: lost, Errored: 1, Fates: NewFates(999-lost, 1, 0, lost, 9, 1),
		DoubleCounted: ptr(int64(2)), Phantom: ptr(int64(1)), WrongVerdict: ptr(int64(0)), WrongPayload: ptr(int64(3)),
		FalseDuplicate: ptr(int64(0)), RowsAfterSettle: ptr(int64(0)), Balanced: true,
		Conflicts: ptr(int64(1)), FilteredRows: ptr(int64(4)), CapRowsDropped: ptr(int64(0)), DuplicatesDropped: 2,
		Verdicts: map[string]int64{"billable": 900, "over_cap": 100 - lost},
		Money: []Money{{Currency: "USD", PartnerCount: 900, RecordedCount: 902 - lost, MissingCount: lost, SurplusCount: 2, LeftOutCount: 100,
			PartnerMicros: 9_000_000_000, RecordedMicros: 9_020_500_000 - 10_000_000*lost, MissingMicros: 10_000_000 * lost,
			SurplusMicros: 20_500_000, LeftOutMicros: 1_000_000_000}},
		LostMoney: []LostMoney{{Currency: "USD", Mechanism: "double_counted", Surplus: true, Count: 2, Micros: 20_500_000},
			{Currency: "USD", Mechanism: "timed_out", Count: lost, Micros: 10_000_000 * lost}},
	}
	l.DiscrepancyRate = DiscrepancyRate(l.Money)
	for i := range min(lost, MaxWorst) {
		l.Worst = append(l.Worst, LostPostback{Index: 17 * i, ClickID: fmt.Sprintf("click-%04d", 17*i), TxID: "tx-1", Event: "sale", Partner: "north",
			Fate: FateLostAtPartner, Reason: "timed_out", DueNs: 1_500_000_000, DispatchedNs: ptr(int64(1_500_040_000)), EndNs: ptr(int64(2_500_040_000)),
			LastStatus: 503, LastOutcome: "refused", Attempts: 1, PayoutMicros: 10_000_000, Currency: "USD"})
	}
	return l
}

// merged merges the runs of one variant.
func merged(t *testing.T, runs ...Variant) Variant {
	t.Helper()
	v, err := MergeRuns(runs)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var variants = map[string]Variant{}

// sixRounds is a variant with six rounds; figures differ from round to round.
func sixRounds(t *testing.T, name string, p95Us, lost, overshoot int64) Variant {
	t.Helper()
	key := fmt.Sprint(name, p95Us, lost, overshoot)
	v, ok := variants[key]
	if !ok {
		var runs []Variant
		for i := range 6 {
			runs = append(runs, run(name, i+1, p95Us+int64(i*i)*10, lost, overshoot))
		}
		v = merged(t, runs...)
		variants[key] = v
	}
	v.Rounds = slices.Clone(v.Rounds) // some tests change them
	return v
}

// fullResult has every field filled.
func fullResult(t *testing.T) Result {
	t.Helper()
	spoilt := run("monolith[caps=check-then-insert]", 1, 9000, 5, 9)
	spoilt.Rounds[0].Counted = false
	spoilt.Rounds[0].Validity = Validity{Verdict: VerdictInvalid, Reasons: []string{"CPU steal 4.1 % > 2 %"}}
	spoilt.Rounds[0].Ledger.AmountsOverflowed = true
	spoilt.Rounds[0].Ledger.Worst[0].Fate, spoilt.Rounds[0].Ledger.Worst[0].AckNs = FateLostAfterAck, ptr(int64(1_501_200_000))
	sameBoot := run("monolith[caps=check-then-insert]", 2, 4100, 0, 3)
	sameBoot.Clock = &Clock{SameBoot: true}
	base := merged(t, spoilt, run("monolith[caps=check-then-insert]", 1, 4000, 2, 7), sameBoot)
	first, second := run("monolith[caps=atomic]", 1, 4050, 1, 0), run("monolith[caps=atomic]", 2, 4080, 0, 0)
	first.Clock, second.Clock = &Clock{SameBoot: true}, &Clock{SameBoot: true}
	other := merged(t, first, second)
	variants := []Variant{base, other}
	acked := *other.Path
	acked.Acked = &AckedPath{Records: 1000, RecordsResent: 10, Bytes: 150_000, BytesResent: 1_500, Probes: 2, AckRTTUs: 31_000}
	variants[1].Path = &acked
	return Result{
		Tool: Tool{Version: "0.1.0", Commit: "0123abc", Go: "go1.26.0"}, Command: []string{"postbench", "compare", "--rate", "100"},
		Machine:       Machine{CPUs: 2, Model: "a CPU", Kernel: "Linux 6.1", MemBytes: 8 << 30, BootID: "5f0c3d0e"},
		StartedUnixNs: 1_700_000_000_000_000_000, DurationNs: 60_000_000_000, Seed: 1<<64 - 1, RunNumber: 7, EpochUnixS: 1_700_000_000,
		WarmupNs: 1_000_000_000, SettleS: 5, Interrupted: true,
		Scenario: &ScenarioRef{Name: "mixed", SHA256: fmt.Sprintf("%064d", 1)}, Profile: &ProfileRef{Name: "bare", SHA256: fmt.Sprintf("%064d", 2)},
		Variants: variants, Comparison: Compare(variants, base.Name),
		Expectations: []Expectation{{Variant: base.Name, Text: "loss <= 0.5%", Observed: "0.2%", Holds: true}, {Variant: other.Name, Text: "p99 < 1ms", Observed: "4.05ms"}},
		Story:        fullStory(), Month: &Month{Variant: "binary-log",
			Rows:  []MonthRow{{Percentile: 50, PostUs: 12e3, Us: ptr(11e3), Slower: []NetworkSlower{{Network: "cis-edge", OfAll: 0.05, Slower: 0.9}}}},
			Tails: []TailShares{{Percentile: 99.9, Networks: []NetworkTail{{Network: "cis-edge", OfAll: 0.05, OfTheTail: 0.9}}}}},
	}
}

func fullStory() *Story {
	return &Story{
		Seeds:      []uint64{1, 2, 1<<64 - 1},
		Rungs:      []Rung{{Variant: "udp-batch", PostP95Us: ptr(45e3), P95Us: ptr(46e3), MinUs: ptr(45e3), MaxUs: ptr(47e3), Mark: MarkCalibrated, Error: ptr(0.02)}},
		Calibrated: []Calibration{{Figure: "log", P50Us: 6.4e3, P95Us: 9.6e3, FittedTo: "udp-batch"}}, Ordered: true,
	}
}
