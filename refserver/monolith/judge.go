package monolith

import (
	"bufio"
	"encoding/json"
	"net/http"
	"time"

	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

const (
	// maxReports bounds the ledger streams and population loads that run at
	// once: they share the store with the postbacks.
	maxReports = 4
	// backlogHeader says how many acked postbacks are not in the ledger yet.
	backlogHeader = "Postbench-Backlog"
	// ledgerBufferBytes is what is collected before a write to the client.
	ledgerBufferBytes = 64 << 10
	// progressRows is how often a stream's deadline moves on.
	progressRows = 4_096
	// stallLimit is how long a client of a stream may take or give nothing.
	stallLimit = 30 * time.Second
)

// judge wraps the handlers that no postback goes through. g, if not nil,
// bounds how many run at once.
func (s *Server) judge(method string, g *gate, handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.methodIs(method, w, r) {
			return
		}
		if g != nil {
			if !g.tryEnter() {
				s.refuse(w, r, errFull)
				return
			}
			defer g.leave()
		}
		if err := handle(w, r); err != nil {
			s.refuse(w, r, err)
		}
	}
}

func (s *Server) methodIs(method string, w http.ResponseWriter, r *http.Request) bool {
	if r.Method == method {
		return true
	}
	w.Header().Set("Allow", method)
	s.refuse(w, r, errMethod)
	return false
}

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
}

// ledger streams every recorded row. The run parameter is ignored: the judge
// filters. A ledger that cannot be read to its end is cut off in the middle of
// the chunked body, so that nobody takes it for a whole one.
func (s *Server) ledger(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set(backlogHeader, "0") // the answer comes after the commit
	control := http.NewResponseController(w)
	out := bufio.NewWriterSize(w, ledgerBufferBytes)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	rows := 0
	err := s.config.Books.EachRow(r.Context(), func(row store.Row) error {
		if rows%progressRows == 0 {
			if err := control.SetWriteDeadline(time.Now().Add(stallLimit)); err != nil {
				return err
			}
		}
		rows++
		return lines.Encode(ledgerRow{row.ClickID, row.TxID, row.Event, row.Verdict, row.OfferID,
			row.Payout.String(), row.Currency, row.RecordedUnixNs, row.ReceivedUnixNs})
	})
	if err == nil {
		err = out.Flush()
	}
	if err == nil || rows == 0 {
		return err
	}
	s.config.Log.Warn("ledger cut off", "rows", rows, "error", err)
	conn, _, err := control.Hijack()
	if err != nil {
		return err
	}
	return conn.Close()
}

func (s *Server) offerCap(w http.ResponseWriter, r *http.Request) error {
	status, found, err := s.config.Books.OfferStatus(r.Context(), r.PathValue("offer_id"))
	if err != nil {
		return err
	}
	if !found {
		return errNotFound
	}
	writeJSON(w, struct {
		OfferID  string `json:"offer_id"`
		Cap      int64  `json:"cap"`
		Billable int64  `json:"billable"`
		Closed   bool   `json:"closed"`
	}{status.OfferID, status.Cap, status.Billable, status.Closed})
	return nil
}

func (s *Server) clock(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, struct {
		UnixNs int64  `json:"unix_ns"`
		BootID string `json:"boot_id"`
	}{s.config.Now().UnixNano(), s.config.BootID})
	return nil
}

func (s *Server) components(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, s.config.Components)
	return nil
}

// health says that the server answers, and what it has answered so far.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, struct {
		Status string `json:"status"`
		Counts Counts `json:"counts"`
	}{"ok", s.Counts()})
	return nil
}
