package conform

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

const (
	// backlogHeader says how many accepted records the ledger lacks yet.
	backlogHeader = "Postbench-Backlog"
	// ledgerTimeout bounds one reading, maxLedgerLines and maxLineBytes its size.
	ledgerTimeout  = time.Minute
	maxLedgerLines = 20_000_000
	maxLineBytes   = 64 << 10
	// maxWait bounds the wait for rows, however the ledger moves.
	maxWait = 2 * time.Minute
	// quiet is how long a complete ledger is watched for rows that should not come.
	quiet = 300 * time.Millisecond
	// pollEvery is the pause between two readings.
	pollEvery = 50 * time.Millisecond
)

// ledgerRow is a row of the contract; what it does not say is nil.
type ledgerRow struct {
	ClickID        *string `json:"click_id"`
	TxID           *string `json:"txid"`
	Event          *string `json:"event"`
	Verdict        *string `json:"verdict"`
	OfferID        *string `json:"offer_id"`
	Payout         *string `json:"payout"`
	Currency       *string `json:"currency"`
	RecordedUnixNs *int64  `json:"recorded_unix_ns"`
	ReceivedUnixNs *int64  `json:"received_unix_ns"`
	CapWindow      *string `json:"cap_window"`
}

// String is the row in a few words.
func (r *ledgerRow) String() string {
	say := func(field *string) string {
		if field == nil {
			return "?"
		}
		return *field
	}
	return fmt.Sprintf("%s %s %s %s of txid %q", say(r.Verdict), say(r.Event), say(r.Payout), say(r.Currency), say(r.TxID))
}

// counts tells whether the row is a conversion of its own.
func (r *ledgerRow) counts() bool {
	return r.Verdict == nil || *r.Verdict != duplicate && *r.Verdict != conflict
}

// ledger is the part of the server's books that this play has written.
type ledger struct {
	url, prefix string
	client      *http.Client

	rows    map[string][]ledgerRow // by click id
	n       int
	backlog int64
}

// read reads the ledger anew; without a URL there is none.
func (l *ledger) read(ctx context.Context) error {
	if l.url == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	response, err := l.client.Do(request)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ledger %s answered %s", l.url, response.Status)
	}
	l.backlog = 0
	if text := response.Header.Get(backlogHeader); text != "" {
		if l.backlog, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("ledger %s: header %s %.20q is no number", l.url, backlogHeader, text)
		}
	}
	return l.take(response)
}

// take keeps the rows of this play.
func (l *ledger) take(response *http.Response) error {
	l.rows, l.n = map[string][]ledgerRow{}, 0
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 0, maxLineBytes), maxLineBytes)
	for line := 1; lines.Scan(); line++ {
		if line > maxLedgerLines {
			return fmt.Errorf("ledger %s has more than %d lines", l.url, maxLedgerLines)
		}
		if len(strings.TrimSpace(lines.Text())) == 0 {
			continue
		}
		var row ledgerRow
		err := json.Unmarshal(lines.Bytes(), &row)
		if err == nil && row.ClickID == nil {
			err = errors.New("no click_id")
		}
		if err != nil {
			return fmt.Errorf("ledger %s, line %d: %w", l.url, line, err)
		}
		if strings.HasPrefix(*row.ClickID, l.prefix) {
			l.rows[*row.ClickID] = append(l.rows[*row.ClickID], row)
			l.n++
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("ledger %s: %w", l.url, err)
	}
	return nil
}

// of returns the rows of a conversion: those that count, and the others.
func (l *ledger) of(w *wantRow) (counted, others []ledgerRow) {
	for _, r := range l.rows[w.clickID] {
		if r.TxID != nil && *r.TxID != w.txID || r.Event != nil && w.event != "" && *r.Event != w.event {
			continue
		}
		if r.counts() {
			counted = append(counted, r)
		} else {
			others = append(others, r)
		}
	}
	return counted, others
}

// await reads the ledger until it has what was acked, or stands still.
func (p *play) await(ctx context.Context, late bool) error {
	if p.target.Ledger == "" {
		return nil
	}
	end := time.Now().Add(maxWait)
	for moved, before := time.Now(), -1; time.Now().Before(end); {
		if err := p.ledger.read(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrTarget, err)
		}
		if p.ledger.n != before || p.ledger.backlog > 0 {
			moved, before = time.Now(), p.ledger.n
		}
		still := time.Since(moved)
		if p.complete(late) && (!late || still >= quiet) || still >= p.target.Settle {
			return nil
		}
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
	return nil
}

// complete tells whether the rows of all that was acked so far are there.
func (p *play) complete(late bool) bool {
	for i := range p.cases {
		c := &p.cases[i]
		if c.missing != "" || c.failure != nil || !c.acked {
			continue
		}
		for j := range c.rows {
			w := &c.rows[j]
			if w.late && !late {
				continue
			}
			counted, others := p.ledger.of(w)
			if len(counted) == 0 || late && p.target.Strict && w.conflict != nil && len(others) == 0 {
				return false
			}
		}
	}
	return true
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// amount reads a row's payout; ok is false for what is no amount.
func amount(text string) (m postback.Money, ok bool) {
	m, err := postback.ParseMoney([]byte(text))
	return m, err == nil
}
