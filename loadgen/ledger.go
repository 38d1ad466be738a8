package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/loadgen/audit"
)

// Limits of reading a ledger.
const (
	ledgerTimeout   = 2 * time.Minute // one read of the whole ledger
	ledgerPollFirst = 100 * time.Millisecond
	ledgerPollMax   = 2 * time.Second
	maxQuiet        = time.Second // without a new row once all are found
	// BacklogHeader on a ledger's answer says how many accepted records are
	// not in the ledger yet; absent means that the server does not know.
	BacklogHeader = "Postbench-Backlog"
)

// Ledger reads the server's rows. Each call of Read gives all of them.
type Ledger interface {
	// Read calls visit for every row and returns the backlog that the server
	// reports, 0 if it reports none.
	Read(ctx context.Context, visit func(*audit.Row)) (backlog int64, err error)
}

// NewLedger returns a ledger for a URL (http://…, NDJSON) or a file (NDJSON,
// or CSV when its name ends in .csv). runID is what the server is asked for.
func NewLedger(where string, columns audit.Columns, runID string, client *http.Client) Ledger {
	if strings.HasPrefix(where, "http://") || strings.HasPrefix(where, "https://") {
		return &urlLedger{url: where, runID: runID, client: client}
	}
	return &fileLedger{path: where, columns: columns}
}

type urlLedger struct {
	url, runID string
	client     *http.Client
}

// Read implements Ledger.
func (l *urlLedger) Read(ctx context.Context, visit func(*audit.Row)) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	address, err := url.Parse(l.url)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", audit.ErrLedger, err)
	}
	query := address.Query()
	query.Set("run", l.runID)
	address.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", audit.ErrLedger, err)
	}
	response, err := l.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", audit.ErrLedger, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%w: %s answered %s", audit.ErrLedger, l.url, response.Status)
	}
	backlog := int64(0)
	if text := response.Header.Get(BacklogHeader); text != "" {
		if backlog, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, fmt.Errorf("%w: %s: header %s: %w", audit.ErrLedger, l.url, BacklogHeader, err)
		}
	}
	return backlog, audit.ReadNDJSON(l.url, response.Body, visit)
}

type fileLedger struct {
	path    string
	columns audit.Columns
}

// Read implements Ledger.
func (l *fileLedger) Read(_ context.Context, visit func(*audit.Row)) (int64, error) {
	file, err := os.Open(l.path)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", audit.ErrLedger, err)
	}
	defer file.Close()
	if strings.HasSuffix(strings.ToLower(l.path), ".csv") {
		return 0, audit.ReadCSV(l.path, file, l.columns, visit)
	}
	return 0, audit.ReadNDJSON(l.path, file, visit)
}

// Drain says how long to wait for rows after the last attempt.
type Drain struct {
	// Settle ends the wait when no new row came for so long while the ledger
	// answered and reported no backlog. 0 takes the first reading as it is.
	Settle time.Duration
	// Quiet is how long nothing may change once everything is found; 0 means
	// 1 s. It is never longer than Settle.
	Quiet time.Duration
	// Max makes the run invalid when it is reached.
	Max time.Duration
}

// Drained is a ledger that came to rest.
type Drained struct {
	// Judge took all rows of the last reading.
	Judge *audit.Judge
	// RowsAfterSettle is how many rows the last reading had more than the one
	// before it. It is 0 unless the ledger still grew after it had seemed to be
	// at rest: then more rows may come that nobody counts.
	RowsAfterSettle int64
}

// ErrDrain is returned when the ledger had not come to rest at Drain.Max.
var ErrDrain = errors.New("the ledger did not come to rest")

// Judge reads the ledger until it is at rest. A change is a reading that
// failed, reported a backlog, or had another number of rows than the one
// before.
//
//   - While rows are awaited (audit.Judge.AllFound is false), the ledger is at
//     rest when nothing changed for Settle.
//   - Once all are found, nothing may change for the shorter of Settle and Quiet:
//     a row too many may come long after the last one that is awaited. After
//     as long again, one last reading is taken and judged, whatever it holds
//     too many; it does not count if it fails, has a backlog or lacks rows.
//
// A ledger that fails for Settle without a break is an error, and so is one
// that is not at rest after Max.
func (d Drain) Judge(ctx context.Context, ledger Ledger, cfg audit.Config) (Drained, error) {
	began := time.Now()
	lastAnswer, lastChange := began, began
	lastRows, atRest, quiet := int64(-1), false, min(d.Settle, cmp.Or(d.Quiet, maxQuiet))
	for poll := ledgerPollFirst; ; poll = min(2*poll, ledgerPollMax) {
		judge := audit.NewJudge(cfg)
		backlog, err := ledger.Read(ctx, judge.Row)
		now := time.Now()
		if err != nil && (ctx.Err() != nil || now.Sub(lastAnswer) >= d.Settle) {
			return Drained{}, err
		}
		if err == nil && backlog == 0 && atRest && judge.AllFound() {
			return Drained{Judge: judge, RowsAfterSettle: max(0, judge.Rows()-lastRows)}, nil
		}
		if err != nil || judge.Rows() != lastRows || backlog > 0 {
			lastChange, atRest = now, false
		}
		wait, still := poll, now.Sub(lastChange)
		if err == nil {
			lastAnswer, lastRows = now, judge.Rows()
			atRest = judge.AllFound() && still >= quiet && d.Settle > 0
			if still >= d.Settle && !atRest {
				return Drained{Judge: judge}, nil
			}
		}
		if now.Sub(began) >= d.Max {
			return Drained{}, fmt.Errorf("%w within %v (backlog %d)", ErrDrain, d.Max, backlog)
		}
		if atRest {
			wait = quiet
		}
		if !pause(ctx, wait) {
			return Drained{}, fmt.Errorf("%w: interrupted: %w", audit.ErrLedger, ctx.Err())
		}
	}
}

// pause sleeps for d; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
