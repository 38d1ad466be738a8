package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/audit"
)

const settle, drainMax = 5 * time.Second, 10 * time.Minute

// ackedRun is a finished run of n acked intents.
func ackedRun(t *testing.T, n int) audit.Config {
	t.Helper()
	cfg := audit.Config{Intents: generatorOf(t, nil), Cells: make([]audit.Cell, n), Carries: make([]audit.Carries, 1)}
	for i := range cfg.Cells {
		cfg.Cells[i].Flags = audit.Released
		cfg.Cells[i].Dispatched(1)
		cfg.Cells[i].Ended(2, intent.Acked, 200)
	}
	return cfg
}

// writeRow writes the ledger's row of an intent.
func writeRow(w io.Writer, cfg *audit.Config, index int) {
	var it intent.Intent
	cfg.Intents.At(uint64(index), &it)
	fmt.Fprintf(w, `{"click_id":%q,"txid":%q,"verdict":"billable"}`+"\n", it.ClickID, it.TxID)
}

// drain judges a run against a ledger that is a handler; at says how long ago
// the drain began. It returns how long it took.
func drain(ctx context.Context, cfg audit.Config, handler func(w http.ResponseWriter, at time.Duration)) (Drained, time.Duration, error) {
	began := time.Now()
	client := memoryClient(func(w http.ResponseWriter, r *http.Request) { handler(w, time.Since(began)) })
	ledger := NewLedger("http://ledger/rows", nil, "7-0", client)
	drained, err := Drain{Settle: settle, Max: drainMax}.Judge(ctx, ledger, cfg)
	return drained, time.Since(began), err
}

func TestDrain(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		rows                              [4]time.Duration // when each acked intent's row appears
		backlogUntil, downFrom, downUntil time.Duration
		recorded                          int64
		min, max                          time.Duration // of the drain
	}{
		"all there":            {recorded: 4, min: 2 * maxQuiet, max: 3 * s}, // quiet, and the last reading
		"late rows":            {rows: [4]time.Duration{0, 4 * s, 8 * s, 12 * s}, recorded: 4, min: 12 * s, max: 17 * s},
		"a lost row":           {rows: [4]time.Duration{0, 0, s, never}, recorded: 3, min: 6 * s, max: 10 * s},
		"backlog":              {rows: [4]time.Duration{0, 0, 0, 62 * s}, backlogUntil: 60 * s, recorded: 4, min: 62 * s, max: 67 * s},
		"outage after a while": {rows: [4]time.Duration{0, 3 * s, 6 * s, 15 * s}, downFrom: 10 * s, downUntil: 13 * s, recorded: 4, min: 15 * s, max: 20 * s},
		"outage at first":      {downUntil: 4 * s, recorded: 4, min: 4 * s, max: 9 * s},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := ackedRun(t, len(c.rows))
				drained, took, err := drain(t.Context(), cfg, func(w http.ResponseWriter, at time.Duration) {
					if at < c.backlogUntil {
						w.Header().Set(BacklogHeader, "1")
					}
					if at >= c.downFrom && at < c.downUntil {
						w.WriteHeader(http.StatusServiceUnavailable)
						return
					}
					for i, from := range c.rows {
						if at >= from {
							writeRow(w, &cfg, i)
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				fates := drained.Judge.Sheet().Fates
				if fates.Recorded != c.recorded || fates.LostAfterAck != int64(len(c.rows))-c.recorded {
					t.Errorf("fates %+v, want %d recorded", fates, c.recorded)
				}
				if took < c.min || took > c.max {
					t.Errorf("took %v, want %v to %v", took, c.min, c.max)
				}
			})
		})
	}
}

// A second copy of a row that comes after all are found is counted, or is seen
// to have come when nothing was to come any more.
func TestDrainWaitsForSecondCopies(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		copyAt     time.Duration
		backlogAt  [2]time.Duration // from, until
		settle     time.Duration
		rows, late int64
		min, max   time.Duration
	}{
		"none":                        {copyAt: never, settle: settle, rows: 2, min: 2 * time.Second, max: 3 * time.Second},
		"while it is quiet":           {copyAt: 500 * ms, settle: settle, rows: 3, min: 2500 * ms, max: 5 * time.Second},
		"1.5 s later":                 {copyAt: 1500 * ms, settle: settle, rows: 3, min: 3500 * ms, max: 6 * time.Second},
		"before the last reading":     {copyAt: 2400 * ms, settle: settle, rows: 3, late: 1, min: 2400 * ms, max: 3 * time.Second},
		"backlog at the last reading": {copyAt: 5 * time.Second, backlogAt: [2]time.Duration{2 * time.Second, 6 * time.Second}, settle: settle, rows: 3, min: 8 * time.Second, max: 13 * time.Second},
		"short settle":                {copyAt: 900 * ms, settle: 200 * ms, rows: 2, min: 400 * ms, max: 800 * ms},
		"no settle":                   {copyAt: 50 * ms, settle: 0, rows: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, began := ackedRun(t, 2), time.Now()
				client := memoryClient(func(w http.ResponseWriter, _ *http.Request) {
					at := time.Since(began)
					if at >= c.backlogAt[0] && at < c.backlogAt[1] {
						w.Header().Set(BacklogHeader, "1")
					}
					for i := range 2 {
						writeRow(w, &cfg, i)
					}
					if at >= c.copyAt {
						writeRow(w, &cfg, 0)
					}
				})
				drained, err := Drain{Settle: c.settle, Max: drainMax}.Judge(t.Context(), NewLedger("http://ledger", nil, "7-0", client), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if drained.Judge.Rows() != c.rows || drained.RowsAfterSettle != c.late || drained.Judge.Sheet().DoubleCounted != c.rows-2 {
					t.Errorf("%d rows, %d after it had settled; want %d, %d", drained.Judge.Rows(), drained.RowsAfterSettle, c.rows, c.late)
				}
				if took := time.Since(began); took < c.min || took > c.max {
					t.Errorf("took %v, want %v to %v", took, c.min, c.max)
				}
			})
		})
	}
}

func TestDrainFails(t *testing.T) {
	for name, c := range map[string]struct {
		handler  func(w http.ResponseWriter, at time.Duration)
		is       error
		contains string
		min, max time.Duration
	}{
		"rows never end": {func(w http.ResponseWriter, at time.Duration) {
			for i := range int(at/time.Second) + 1 {
				fmt.Fprintf(w, `{"click_id":"nobody-%d","verdict":"billable"}`+"\n", i)
			}
		}, ErrDrain, "did not come to rest within 10m0s", drainMax, drainMax + 3*time.Second},
		"backlog never ends": {func(w http.ResponseWriter, _ time.Duration) { w.Header().Set(BacklogHeader, "12") },
			ErrDrain, "backlog 12", drainMax, drainMax + 3*time.Second},
		"always down": {func(w http.ResponseWriter, _ time.Duration) { w.WriteHeader(http.StatusBadGateway) },
			audit.ErrLedger, "http://ledger/rows answered 502", settle, settle + 3*time.Second},
		"down from 20 s on": {func(w http.ResponseWriter, at time.Duration) {
			w.Header().Set(BacklogHeader, "1")
			if at > 20*time.Second {
				w.WriteHeader(http.StatusBadGateway)
			}
		}, audit.ErrLedger, "answered 502", 25 * time.Second, 30 * time.Second},
		"not NDJSON": {func(w http.ResponseWriter, _ time.Duration) {
			fmt.Fprint(w, `{"click_id":"a","verdict":"billable"}`+"\n<html>\n")
		}, audit.ErrLedger, "http://ledger/rows:2:", settle, settle + 3*time.Second},
		"backlog is no number": {func(w http.ResponseWriter, _ time.Duration) { w.Header().Set(BacklogHeader, "some") },
			audit.ErrLedger, "Postbench-Backlog", settle, settle + 3*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, took, err := drain(t.Context(), ackedRun(t, 2), c.handler)
				if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.contains) {
					t.Errorf("%v, want %q", err, c.contains)
				}
				if took < c.min || took > c.max {
					t.Errorf("took %v, want %v to %v", took, c.min, c.max)
				}
			})
		})
	}
}

func TestDrainIsInterrupted(t *testing.T) {
	for name, status := range map[string]int{"while it waits": 200, "while the ledger fails": 503} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, took, err := drain(ctx, ackedRun(t, 2), func(w http.ResponseWriter, _ time.Duration) { w.WriteHeader(status) })
			if !errors.Is(err, context.DeadlineExceeded) || took != 3*time.Second {
				t.Errorf("%s: %v after %v", name, err, took)
			}
		})
	}
}

func TestLedgerAddress(t *testing.T) {
	for address, want := range map[string]string{
		"http://me/ledger":           "http://me/ledger?run=7-0",
		"https://me/ledger?token=ab": "https://me/ledger?run=7-0&token=ab",
	} {
		var asked string
		client := memoryClient(func(_ http.ResponseWriter, r *http.Request) { asked = r.URL.String() })
		if _, err := NewLedger(address, nil, "7-0", client).Read(t.Context(), nil); err != nil || asked != want {
			t.Errorf("%s: asked %s, error %v", address, asked, err)
		}
	}
}

func TestLedgerOverHTTP(t *testing.T) {
	cfg := ackedRun(t, 3)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(BacklogHeader, "5")
		for i := range cfg.Cells {
			writeRow(w, &cfg, i)
			w.(http.Flusher).Flush()
		}
	}))
	judge := audit.NewJudge(cfg)
	backlog, err := NewLedger(server.URL, nil, "7-0", server.Client()).Read(t.Context(), judge.Row)
	if err != nil || backlog != 5 || judge.Rows() != 3 {
		t.Errorf("%d rows, backlog %d, error %v", judge.Rows(), backlog, err)
	}
	server.Close()
	if _, err := NewLedger(server.URL, nil, "7-0", server.Client()).Read(t.Context(), judge.Row); !errors.Is(err, audit.ErrLedger) {
		t.Errorf("closed server: %v", err)
	}
}

func TestLedgerFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		path, want string // want: the click id, or the error
	}{
		"ndjson":        {write("a.json", `{"click_id":"abc","verdict":"billable"}`), "abc"},
		"csv":           {write("A.CSV", "cid\nabc\n"), "abc"},
		"broken ndjson": {write("b.json", "{\n"), filepath.Join(dir, "b.json") + ":1:"},
		"no file":       {filepath.Join(dir, "none"), "no such file"},
		"ftp":           {"ftp://me/ledger", "no such file"},
	} {
		var got string
		_, err := NewLedger(c.path, audit.Columns{"click_id": "cid"}, "", nil).Read(t.Context(), func(row *audit.Row) { got = string(row.ClickID) })
		if err != nil {
			got = err.Error()
			if !errors.Is(err, audit.ErrLedger) {
				t.Errorf("%s: %v is no ErrLedger", name, err)
			}
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
