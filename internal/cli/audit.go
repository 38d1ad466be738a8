package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/reports"
)

func auditCommand() *cobra.Command {
	var ledger, columns string
	var secure connection
	command := &cobra.Command{
		Use:   "audit DIR --ledger URL|FILE",
		Short: "judge a finished run by a ledger that came later",
		Long: `Judges a finished run by the state that it kept in its --out directory: an export
from a database rarely exists when the run ends. The balance sheet in
DIR/result.json is replaced; the latencies stay. It can be repeated.`,
		Example: `  postbench audit run1 --ledger export.ndjson
  postbench audit run1 --ledger export.csv --columns click_id=cid,txid=tx,payout=sum,recorded_unix_ns=created_at`,
		Args: exactly("DIR"),
		RunE: func(command *cobra.Command, args []string) error {
			return auditRun(command.Context(), args[0], ledger, columns, secure, command.OutOrStdout())
		},
	}
	command.Flags().StringVar(&ledger, "ledger", "", "the server's rows: `URL|FILE`, NDJSON, or CSV when the file ends in .csv")
	command.Flags().StringVar(&columns, "columns", "", "`LIST` of the columns of a CSV ledger, such as click_id=cid,payout=sum")
	command.Flags().StringVar(&secure.caFile, "ca", "", "PEM `FILE` of the certificate authority of the ledger's server")
	command.Flags().BoolVar(&secure.insecure, "insecure", false, "do not verify the ledger server's certificate")
	return command
}

func auditRun(ctx context.Context, dir, ledger, columnText string, secure connection, stdout io.Writer) error {
	if ledger == "" {
		return errors.New("audit needs --ledger URL|FILE")
	}
	columns, err := columnsOf(ledger, columnText)
	if err != nil {
		return err
	}
	m, err := loadManifest(dir)
	if err != nil {
		return err
	}
	result, err := reports.ReadFile(filepath.Join(dir, resultFile))
	if err != nil {
		return err
	}
	if len(result.Variants) != 1 || len(result.Variants[0].Rounds) != 1 {
		return fmt.Errorf("%s is not the result of one run", filepath.Join(dir, resultFile))
	}
	config, err := secure.tlsConfig()
	if err != nil {
		return err
	}
	sheet, err := m.judge(ctx, dir, loadgen.NewLedger(ledger, columns, m.runID(), newHTTPClient(config)))
	if err != nil {
		return err
	}
	m.apply(&result, sheet)
	if err := expectAgain(&result); err != nil {
		return err
	}
	if err := reports.WriteFile(filepath.Join(dir, resultFile), result); err != nil {
		return err
	}
	fmt.Fprint(stdout, reports.Summary(result.Variants[0]))
	printExpectations(stdout, result.Expectations)
	if !result.Variants[0].Validity.Valid() {
		return untrusted(&result.Variants[0])
	}
	return cmp.Or(failed(result.Expectations), cutShort(&result))
}

// expectAgain holds the run's expectations against what is known now.
func expectAgain(result *reports.Result) (err error) {
	var texts []string
	for _, e := range result.Expectations {
		texts = append(texts, e.Text)
	}
	result.Expectations, err = expectations(texts, result.Variants)
	return err
}

// columnsOf reads --columns, which only a CSV ledger has.
func columnsOf(ledger, text string) (audit.Columns, error) {
	if text != "" && !strings.HasSuffix(strings.ToLower(ledger), ".csv") {
		return nil, errors.New("--columns describes a CSV file: give one with --ledger FILE.csv")
	}
	columns, err := audit.ParseColumns(text)
	if err != nil {
		return nil, fmt.Errorf("--columns: %w", err)
	}
	return columns, nil
}

// judge reads the ledger once: a finished run has nothing to wait for.
func (m *manifest) judge(ctx context.Context, dir string, ledger loadgen.Ledger) (*audit.Sheet, error) {
	generator, err := m.generator()
	if err != nil {
		return nil, err
	}
	state, err := loadgen.OpenState(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	defer state.Close()
	judge := audit.NewJudge(m.auditConfig(generator, state.Cells))
	if _, err := ledger.Read(ctx, judge.Row); err != nil {
		return nil, err
	}
	sheet := judge.Sheet()
	if judge.Rows() == 0 && sheet.FilteredRows > 0 {
		return nil, fmt.Errorf("none of the ledger's %d rows belongs to this run (seed %d, run number %d): is it the right export?",
			sheet.FilteredRows, m.Spec.Seed, m.Spec.RunNumber)
	}
	if older := judge.OlderRows(); older > 0 {
		return nil, fmt.Errorf("%d rows of this run number were recorded before the run began: it was played before; give every run at one server its own --run-number",
			older)
	}
	return sheet, nil
}

// apply replaces the judge's part of a result.
func (m *manifest) apply(result *reports.Result, sheet *audit.Sheet) {
	v := result.Variants[0]
	judged(&v.Ledger, sheet)
	reasons := slices.Clone(m.Invalid)
	for _, imbalance := range imbalances(sheet, m.Attempts, m.AckedAttempts, v.Ledger.Intents) {
		reasons = append(reasons, "books do not balance: "+imbalance)
	}
	v.Ledger.Balanced = len(reasons) == len(m.Invalid)
	v.Validity = validityOf(append(reasons, chainsWithoutEvent(sheet)...))
	v.Latency.Delivery = reports.NewLatency(sheet.Delivery)
	v.Latency.Recorded = reports.Latency{}
	if sheet.Recorded != nil {
		v.Latency.Recorded = reports.NewLatency(sheet.Recorded)
	}
	v.Caps = capsOf(sheet, m.ClosedSeenNs != nil, m.RouterPollNs)
	for i := range v.Partners {
		v.Partners[i].Ledger.Fates = fatesOf(&sheet.Partners[i].Fates)
		v.Partners[i].Drops = dropsOf(&sheet.Partners[i])
		v.Partners[i].Money, _ = moneyOf(sheet.Partners[i].Money)
	}
	round := v.Rounds[0]
	// Not merged as runs are: the phases' histograms are not in the document.
	result.Variants[0] = v.WithRound(round.Round, round.RunNumber, round.StartedUnixNs, round.DurationNs, round.Counted)
}
