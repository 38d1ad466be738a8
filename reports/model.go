package reports

// SchemaV1 names the version of the result document that this package writes
// and reads.
const SchemaV1 = "postbench.result/v1"

// Result is the result document: everything that one command measured.
// Durations and times in names: _ns nanoseconds, _us microseconds, _s seconds,
// unix_ns nanoseconds since 1970.
type Result struct {
	Schema        string       `json:"schema"` // always SchemaV1; WriteFile sets it
	Tool          Tool         `json:"tool"`
	Command       []string     `json:"command"` // the command line, program name first
	Machine       Machine      `json:"machine"`
	StartedUnixNs int64        `json:"started_unix_ns"`
	DurationNs    int64        `json:"duration_ns"`
	Seed          uint64       `json:"seed"`
	RunNumber     uint64       `json:"run_number"`   // of the first round; each further round adds one
	EpochUnixS    int64        `json:"epoch_unix_s"` // the clock that signatures carry: with seed and run number it fixes every byte sent
	WarmupNs      int64        `json:"warmup_ns"`
	SettleS       float64      `json:"settle_s"` // quiet time after which the ledger counts as complete
	Interrupted   bool         `json:"interrupted"`
	Scenario      *ScenarioRef `json:"scenario"` // nil: no scenario was named
	Profile       *ProfileRef  `json:"profile"`  // nil: no profile was named
	Variants      []Variant    `json:"variants"`
	Comparison    []Comparison `json:"comparison"`
	// Expectations are what the scenario says must hold, of each variant.
	Expectations []Expectation `json:"expectations"`
	// Story and Month hold the ladder and the month of 2026 against the post;
	// nil unless they were asked for.
	Story *Story `json:"story"`
	Month *Month `json:"month"`
}

// Expectation is one thing that had to hold, and what was observed.
type Expectation struct {
	Variant  string `json:"variant"`
	Text     string `json:"text"`     // as the scenario says it: "p99 < 500ms"
	Observed string `json:"observed"` // in the same unit; "-" when it is not known
	Holds    bool   `json:"holds"`    // false too when it is not known
}

// Tool says which build measured.
type Tool struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"` // Go release that built it
}

// Machine says where it was measured.
type Machine struct {
	CPUs     int    `json:"cpus"` // usable logical CPUs
	Model    string `json:"model"`
	Kernel   string `json:"kernel"`
	MemBytes int64  `json:"mem_bytes"`
	BootID   string `json:"boot_id"` // empty where the system has none
}

// ScenarioRef names the scenario and pins its content.
type ScenarioRef struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // 64 lower-case hex digits of the file's bytes
}

// ProfileRef names the profile and pins its content.
type ProfileRef struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // 64 lower-case hex digits of the file's bytes
}

// Variant is one architecture, or the user's own server, with all that was
// measured on it. Its blocks are those of all counted rounds together.
type Variant struct {
	Name         string           `json:"name"`       // unique within a result
	Durability   string           `json:"durability"` // "D0".."D3", empty when unknown (the user's own server)
	Composition  Composition      `json:"composition"`
	Components   []Component      `json:"components"`
	OfferedPerS  float64          `json:"offered_per_s"`  // intents due
	AchievedPerS float64          `json:"achieved_per_s"` // attempts acked
	Latency      Latencies        `json:"latency"`
	Clock        *Clock           `json:"clock"` // nil: the clocks cannot be compared
	Phases       Phases           `json:"phases"`
	Responses    []Response       `json:"responses"`
	Rounds       []Round          `json:"rounds"`
	Timeline     []TimelineSecond `json:"timeline"`
	Partners     []Partner        `json:"partners"`
	Networks     []Network        `json:"networks"` // network paths that were emulated
	Ledger       Ledger           `json:"ledger"`
	Caps         *Caps            `json:"caps"` // nil: no cap status or no ledger to judge by
	Stages       []Stage          `json:"stages"`
	Costs        []StageCost      `json:"costs"`  // modelled stages of the server
	Path         *Path            `json:"path"`   // nil: there is no way between edges and central
	Netem        *Netem           `json:"netem"`  // nil: nothing was done to datagrams
	Faults       []Fault          `json:"faults"` // done on purpose, in all counted rounds
	Resources    Resources        `json:"resources"`
	Validity     Validity         `json:"validity"`
}

// Clock says how the server's clock stood to ours, on which Latencies.Recorded
// rests. Of several runs it is the worst: the one with the largest error.
type Clock struct {
	SameBoot bool    `json:"same_boot"` // one clock: the other two are 0
	OffsetUs float64 `json:"offset_us"` // server's clock - ours, as measured
	ErrorUs  float64 `json:"error_us"`  // the true offset is within OffsetUs ± ErrorUs
}

// Composition is the choice made on each axis of an architecture. Axes that
// the variant does not have are empty and left out.
type Composition struct {
	Front       string `json:"front,omitempty"`
	Answer      string `json:"answer,omitempty"`
	Buffer      string `json:"buffer,omitempty"`
	Uplink      string `json:"uplink,omitempty"`
	Attribution string `json:"attribution,omitempty"`
	Caps        string `json:"caps,omitempty"`
	Log         string `json:"log,omitempty"`
	LogWrite    string `json:"log_write,omitempty"`
	Edges       int    `json:"edges,omitempty"`    // edge processes
	Place       string `json:"place,omitempty"`    // where they stand
	External    string `json:"external,omitempty"` // command or URL of the user's own server
}

// Component is one part that really ran.
type Component struct {
	Role           string `json:"role"`           // what it stands for: "sql"
	Implementation string `json:"implementation"` // what really ran: "sqlite"
	Version        string `json:"version"`
	Embedded       bool   `json:"embedded"` // an embedded stand-in, never a benchmark of the real thing
}

// Response counts the answers of one kind: Status for an HTTP status, or Error
// for a failure without one. Exactly one of the two is set.
type Response struct {
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	Count  int64  `json:"count"` // attempts
}

// Round is one run of the variant. Rounds of two variants with the same number
// carried the same traffic and are compared pairwise.
type Round struct {
	Round         int       `json:"round"` // 1-based
	RunNumber     uint64    `json:"run_number"`
	StartedUnixNs int64     `json:"started_unix_ns"`
	DurationNs    int64     `json:"duration_ns"`
	Counted       bool      `json:"counted"` // false: spoilt and repeated; kept for the record, in no figure
	Validity      Validity  `json:"validity"`
	Latency       Latencies `json:"latency"`
	Ledger        Ledger    `json:"ledger"`
	Caps          *Caps     `json:"caps"`
}

// TimelineSecond is one second of one round. Percentiles are of the response
// latency of the intents due in that second.
type TimelineSecond struct {
	Round  int      `json:"round"`
	Second int      `json:"second"` // 0-based, since the round's start
	Due    int64    `json:"due"`    // intents due in it
	Acked  int64    `json:"acked"`  // of those, with an acked first attempt
	P50Us  *float64 `json:"p50_us"` // nil: unacked or nothing due
	P99Us  *float64 `json:"p99_us"`
	MaxUs  *float64 `json:"max_us"` // slowest acked; nil: none
}

// Caps says how far the capped offers went past their caps. Percentages are of
// the offer's cap. BilledOvershootMax and BilledOvershootMaxPct belong to the
// same cap window: the worst by percent, and of equals the one with more rows.
type Caps struct {
	Offers                  int      `json:"offers"`                     // capped offers judged (their cap windows); of several rounds the largest number
	BilledOvershoot         int64    `json:"billed_overshoot"`           // billable rows beyond the caps, all offers
	BilledOvershootMax      int64    `json:"billed_overshoot_max"`       // the worst window's, in rows
	BilledOvershootMaxPct   float64  `json:"billed_overshoot_max_pct"`   // the same window's
	TrafficOvershootMeanPct *float64 `json:"traffic_overshoot_mean_pct"` // nil: no router watched the caps
	TrafficOvershootMaxPct  *float64 `json:"traffic_overshoot_max_pct"`
	Undershoot              *int64   `json:"undershoot"`     // refused as over cap although room remained at the end; nil: no cap status showed that the offers were empty at the start
	VisibleP95Us            *float64 `json:"visible_p95_us"` // cap reached until the router saw it, p95; of several rounds: the slowest round's
	RouterPollUs            float64  `json:"router_poll_us"`
}

// Stage is the mean time that requests spent in one stage of the server.
type Stage struct {
	Name           string  `json:"name"`
	MeanUs         float64 `json:"mean_us"`
	P90ToP99MeanUs float64 `json:"p90_to_p99_mean_us"` // mean over the requests between p90 and p99: these add up
}

// Resources is what the run cost. Nil fields were not measured.
type Resources struct {
	ServerCPUS        *float64 `json:"server_cpu_s"`
	ClientCPUS        *float64 `json:"client_cpu_s"`
	ServerGCStopMaxUs *float64 `json:"server_gc_stop_max_us"`    // the longest standstill for garbage collection of a process that answers; known to a quarter of its length
	ServerGCStops     *int64   `json:"server_gc_stops"`          // how many there were
	AllocsPerRequest  *float64 `json:"allocs_per_request"`       // objects, of the processes that answer
	SQLQueries        *float64 `json:"sql_queries_per_postback"` // statements per request, transactions' begin and commit left out; nil: no SQL, or not told
	RSSMaxBytes       *int64   `json:"rss_max_bytes"`            // of the server
	UDPKernelDrops    *int64   `json:"udp_kernel_drops"`         // datagrams
}

// The two verdicts on a measurement.
const (
	VerdictValid   = "valid"
	VerdictInvalid = "invalid"
)

// Validity says whether the figures may be believed. An invalid measurement is
// not a slow one: it says nothing about the target.
type Validity struct {
	Verdict string   `json:"verdict"` // VerdictValid or VerdictInvalid
	Reasons []string `json:"reasons"` // one line each; not empty when invalid
}

// Valid reports whether the measurement may be believed.
func (v Validity) Valid() bool { return v.Verdict == VerdictValid }
