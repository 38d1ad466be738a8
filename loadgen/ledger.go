package loadgen

import (
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
	// answered and reported no backlog.
	Settle time.Duration
	// Max makes the run invalid when it is reached.
	Max time.Duration
}

// ErrDrain is returned when the ledger had not come to rest at Drain.Max.
var ErrDrain = errors.New("the ledger did not come to rest")

// Judge reads the ledger until every acked intent is found or no new row
// comes any more, and returns the judge of the last complete reading. A ledger
// that fails for Drain.Settle without a break is an error.
func (d Drain) Judge(ctx context.Context, ledger Ledger, cfg audit.Config) (*audit.Judge, error) {
	began := time.Now()
	lastAnswer, lastChange := began, began
	lastRows, found := int64(-1), 0
	for wait := ledgerPollFirst; ; wait = min(2*wait, ledgerPollMax) {
		judge := audit.NewJudge(cfg)
		backlog, err := ledger.Read(ctx, judge.Row)
		now := time.Now()
		if err != nil && (ctx.Err() != nil || now.Sub(lastAnswer) >= d.Settle) {
			return nil, err
		}
		if err != nil || judge.Rows() != lastRows || backlog > 0 {
			lastChange, found = now, 0
		}
		if err == nil {
			lastAnswer, lastRows = now, judge.Rows()
			if judge.AllFound() {
				found++
			}
			// Two equal readings: a row too many would come after the last
			// acked one as well.
			if found >= 2 || now.Sub(lastChange) >= d.Settle {
				return judge, nil
			}
		}
		if now.Sub(began) >= d.Max {
			return nil, fmt.Errorf("%w within %v (backlog %d)", ErrDrain, d.Max, backlog)
		}
		if !pause(ctx, wait) {
			return nil, fmt.Errorf("%w: interrupted: %w", audit.ErrLedger, ctx.Err())
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
