package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// Limits of a row: its line, and the name of its cap window, which is kept.
const (
	maxRowBytes       = 64 << 10
	maxCapWindowBytes = 64
)

// Row is one recorded conversion as the ledger tells it (DESIGN §6). Its byte
// slices are valid until the next row is read.
type Row struct {
	ClickID        []byte
	TxID           []byte         // nil when the ledger does not say; empty is a txid, too
	OfferID        []byte         // empty when the ledger does not say
	Event          postback.Event // EventNone when the ledger does not say
	Verdict        intent.Verdict
	Payout         postback.Money
	HasPayout      bool
	Currency       postback.Currency // zero when the ledger does not say
	RecordedUnixNs int64             // ≤ 0 when the ledger does not say
	ReceivedUnixNs int64             // ≤ 0 when the ledger does not say
	CapWindow      string
	// Garbled says which of event, amount and currency is none; nil: all are
	// what they should be. A server that records such a thing is a finding.
	Garbled error
}

// ErrLedger is wrapped by every error about a ledger's text.
var ErrLedger = errors.New("ledger cannot be read")

// ndjsonRow mirrors the JSON object of one row.
type ndjsonRow struct {
	ClickID        *string `json:"click_id"`
	TxID           *string `json:"txid"`
	Event          string  `json:"event"`
	Verdict        *string `json:"verdict"`
	OfferID        string  `json:"offer_id"`
	Payout         *string `json:"payout"`
	Currency       string  `json:"currency"`
	RecordedUnixNs int64   `json:"recorded_unix_ns"`
	ReceivedUnixNs int64   `json:"received_unix_ns"`
	CapWindow      string  `json:"cap_window"`
}

// ReadNDJSON calls visit for every row of an NDJSON ledger, in order. Empty
// lines are skipped, unknown members ignored. Errors name source and line. Rows
// with a garbled event, amount or currency are an error only if most are.
func ReadNDJSON(source string, r io.Reader, visit func(*Row)) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 4096), maxRowBytes)
	line, seen := 0, garbles{}
	for scanner.Scan() {
		line++
		text := bytes.TrimSpace(scanner.Bytes())
		if len(text) == 0 {
			continue
		}
		var raw ndjsonRow
		if err := json.Unmarshal(text, &raw); err != nil {
			return fmt.Errorf("%w: %s:%d: not a JSON object of one row: %v", ErrLedger, source, line, err)
		}
		row, err := raw.row()
		if err != nil {
			return fmt.Errorf("%w: %s:%d: %v", ErrLedger, source, line, err)
		}
		seen.row(&row, source, line)
		visit(&row)
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%w: %s:%d: %w", ErrLedger, source, line+1, err)
	}
	return seen.err()
}

// garbles tells a server that records nonsense now and then from a ledger that
// is written another way than it is read.
type garbles struct {
	rows, garbled int64
	first         error
}

func (g *garbles) row(row *Row, source string, line int) {
	g.rows++
	if row.Garbled == nil {
		return
	}
	if g.garbled++; g.first == nil {
		g.first = fmt.Errorf("%w: %s:%d: %w", ErrLedger, source, line, row.Garbled)
	}
}

// err is the first garbled row, if most rows are.
func (g *garbles) err() error {
	if 2*g.garbled <= g.rows {
		return nil
	}
	return g.first
}

func (raw *ndjsonRow) row() (Row, error) {
	if raw.ClickID == nil || raw.Verdict == nil {
		return Row{}, errors.New(`a row needs at least "click_id" and "verdict"`)
	}
	text := rowText{clickID: *raw.ClickID, event: raw.Event, verdict: *raw.Verdict,
		offerID: raw.OfferID, currency: raw.Currency, capWindow: raw.CapWindow}
	if raw.TxID != nil {
		text.txID = []byte(*raw.TxID)
	}
	if raw.Payout != nil {
		text.payout = *raw.Payout
	}
	row, err := text.row()
	row.RecordedUnixNs, row.ReceivedUnixNs = raw.RecordedUnixNs, raw.ReceivedUnixNs
	return row, err
}

// rowText is a row before its words are understood; an empty text means that
// the ledger does not say.
type rowText struct {
	clickID, event, verdict, offerID, payout, currency, capWindow string
	txID                                                          []byte
}

func (t *rowText) row() (Row, error) {
	row := Row{ClickID: []byte(t.clickID), TxID: t.txID, OfferID: []byte(t.offerID), CapWindow: t.capWindow}
	var ok bool
	if row.Verdict, ok = intent.ParseVerdict([]byte(t.verdict)); !ok {
		return Row{}, fmt.Errorf("verdict %.40q is unknown; want billable, non_billable, reversal, over_cap, unattributed, late, duplicate or conflict", t.verdict)
	}
	if t.event != "" {
		if row.Event, ok = postback.ParseEvent([]byte(t.event)); !ok {
			row.Garbled = fmt.Errorf("event %.40q is unknown; want lead, sale, rejected, refund or rebill", t.event)
		}
	}
	if t.payout != "" {
		amount, err := postback.ParseMoney([]byte(t.payout))
		if row.Payout, row.HasPayout = amount, err == nil; err != nil {
			row.Garbled = fmt.Errorf("payout %.40q: %w", t.payout, err)
		}
	}
	if t.currency != "" {
		code, err := postback.ParseCurrency([]byte(t.currency))
		if row.Currency = code; err != nil {
			row.Garbled = fmt.Errorf("currency %.40q: %w", t.currency, err)
		}
	}
	if len(t.capWindow) > maxCapWindowBytes {
		return Row{}, fmt.Errorf("cap_window of %d bytes, longer than %d", len(t.capWindow), maxCapWindowBytes)
	}
	return row, nil
}
