package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/reports"
)

// Names of the files in a run's --out directory.
const (
	resultFile   = "result.json"
	manifestFile = "run.json"
	stateFile    = "state.bin"
)

const manifestSchema = "postbench.run/v1"

// manifest is what `audit` needs, beside the cells, to judge a finished run
// again: everything that the intents are a function of and what was observed.
type manifest struct {
	Schema        string          `json:"schema"`
	Spec          intent.Spec     `json:"spec"`
	ClicksFile    string          `json:"clicks_file,omitempty"`
	ClicksSHA256  string          `json:"clicks_sha256,omitempty"`
	Carries       []audit.Carries `json:"carries"`
	StartUnixNs   int64           `json:"start_unix_ns"`
	WarmupNs      int64           `json:"warmup_ns"`
	MaxAttemptNs  int64           `json:"max_attempt_ns"`
	ClockKnown    bool            `json:"clock_known"`
	ClockAddNs    int64           `json:"clock_add_ns"`
	ClosedSeenNs  []int64         `json:"closed_seen_ns,omitempty"`
	Closings      []audit.Closing `json:"closings,omitempty"`
	RouterPollNs  int64           `json:"router_poll_ns,omitempty"` // mean
	Attempts      int64           `json:"attempts"`
	AckedAttempts int64           `json:"acked_attempts"`
	Invalid       []string        `json:"invalid,omitempty"` // for reasons that no ledger can lift
}

func saveManifest(dir string, p *plan, m *measurement) error {
	spec := p.spec
	spec.RunNumber, spec.Clicks = m.runNumber, nil
	record := manifest{
		Schema: manifestSchema, Spec: spec, ClicksFile: p.clicks.path, ClicksSHA256: p.clicks.sha256, Carries: p.carries(),
		StartUnixNs: m.outcome.Start.UnixNano(), WarmupNs: int64(p.warmup), MaxAttemptNs: int64(p.afterthought()),
		ClockKnown: m.clock.known, ClockAddNs: m.clock.offset.AddNs, Attempts: m.outcome.Attempts.Total, AckedAttempts: m.outcome.Attempts.Acked, Invalid: m.doubts.lasting(),
	}
	if m.caps != nil {
		record.ClosedSeenNs, record.Closings, record.RouterPollNs = m.caps.ClosedSeenNs, m.caps.Closings, m.caps.PollPeriod.MeanNs()
	}
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", manifestFile, err)
	}
	if err := reports.ReplaceFile(filepath.Join(dir, manifestFile), append(text, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", manifestFile, err)
	}
	return nil
}

func loadManifest(dir string) (*manifest, error) {
	path := filepath.Join(dir, manifestFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s is not the --out directory of a run that can be audited: %w", dir, err)
	}
	var m manifest
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Schema != manifestSchema {
		return nil, fmt.Errorf("%s: schema %q, want %q", path, m.Schema, manifestSchema)
	}
	return &m, nil
}

// generator makes the intents of the finished run again.
func (m *manifest) generator() (*intent.Generator, error) {
	spec := m.Spec
	if m.ClicksFile != "" {
		clicks, err := readClicks(m.ClicksFile, spec.Offers)
		if err != nil {
			return nil, fmt.Errorf("the run's --clicks: %w", err)
		}
		if clicks.sha256 != m.ClicksSHA256 {
			return nil, fmt.Errorf("the run's --clicks: %s has changed since; the run can only be judged by the file it was played with", m.ClicksFile)
		}
		spec.Clicks = clicks.list
	}
	return intent.New(spec)
}

func (m *manifest) auditConfig(generator *intent.Generator, cells []audit.Cell) audit.Config {
	return audit.Config{
		Intents: generator, Cells: cells, Carries: m.Carries, StartUnixNs: m.StartUnixNs, WarmupNs: m.WarmupNs,
		ClockKnown: m.ClockKnown, ClockOffsetNs: m.ClockAddNs, MaxAttemptNs: m.MaxAttemptNs, ClosedSeenNs: m.ClosedSeenNs, Closings: m.Closings,
	}
}

// runID names the run to the server's ledger.
func (m *manifest) runID() string { return runName(m.Spec.Seed, m.Spec.RunNumber) }
