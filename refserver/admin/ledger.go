package admin

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

const (
	// BacklogHeader is the ledger's response header that says how many acked
	// postbacks are not in it yet.
	BacklogHeader = "Postbench-Backlog"
	// ledgerBufferBytes is what is collected before a write to the client.
	ledgerBufferBytes = 64 << 10
	// progressRows is how often a stream's deadline moves on.
	progressRows = 4_096
	// stallLimit is how long a client of a stream may take or give nothing.
	stallLimit = 30 * time.Second
)

// ledgerRow is one line of the ledger.
type ledgerRow struct {
	ClickID        string         `json:"click_id"`
	TxID           string         `json:"txid"`
	Event          string         `json:"event"`
	Verdict        decide.Verdict `json:"verdict"`
	OfferID        string         `json:"offer_id"`
	Payout         string         `json:"payout"`
	Currency       string         `json:"currency"`
	RecordedUnixNs int64          `json:"recorded_unix_ns"`
	ReceivedUnixNs int64          `json:"received_unix_ns"`
	CapWindow      string         `json:"cap_window,omitempty"`
}

// ledger streams every recorded row. The run parameter is ignored: the judge
// filters. A ledger that cannot be read to its end is cut off in the middle of
// the chunked body, so that nobody takes it for a whole one.
func (a *Admin) ledger(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	// The backlog is read before the walk: 0 then means that this very ledger
	// holds everything that was acked.
	w.Header().Set(BacklogHeader, strconv.FormatInt(a.backlog(), 10))
	control := http.NewResponseController(w)
	out := bufio.NewWriterSize(w, ledgerBufferBytes)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	rows := 0
	err := a.config.Books.EachRow(r.Context(), func(row store.Row) error {
		if rows%progressRows == 0 {
			if err := control.SetWriteDeadline(time.Now().Add(stallLimit)); err != nil {
				return err
			}
		}
		rows++
		return lines.Encode(ledgerRow{row.ClickID, row.TxID, row.Event, row.Verdict, row.OfferID,
			row.Payout.String(), row.Currency, row.RecordedUnixNs, row.ReceivedUnixNs, row.CapWindow})
	})
	if err == nil {
		err = out.Flush()
	}
	if err == nil || rows == 0 {
		return err
	}
	a.config.Log.Warn("ledger cut off", "rows", rows, "error", err)
	conn, _, err := control.Hijack()
	if err != nil {
		return err
	}
	return conn.Close()
}

func (a *Admin) backlog() int64 {
	if a.config.Backlog == nil {
		return 0
	}
	return a.config.Backlog()
}
