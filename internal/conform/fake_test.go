package conform

import (
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

// fake is a small server that keeps the contract, except for its one fault.
type fake struct {
	fault string

	mu       sync.Mutex
	offers   map[string][]string // offer_id,cap,payout,currency,attribution_window_s,cap_window_s
	clicks   map[string][]string // click_id,offer_id,clicked_unix_s
	keyring  *postback.Keyring
	rows     []map[string]any
	identity map[string]postback.Money
	billed   map[string]int64
}

func startFake(t *testing.T, fault string) *httptest.Server {
	t.Helper()
	f := &fake{fault: fault, offers: map[string][]string{}, clicks: map[string][]string{}, keyring: postback.NewKeyring(),
		identity: map[string]postback.Money{}, billed: map[string]int64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/pb", f.take)
	mux.HandleFunc("/pb/signed", f.take)
	mux.HandleFunc("GET /ledger", f.ledger)
	mux.HandleFunc("GET /offers/{offer_id}/cap", f.status)
	mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"unix_ns": f.unixNs(), "boot_id": "b"})
	})
	mux.HandleFunc("POST /population/{file}", f.load)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func writeJSON(w http.ResponseWriter, value any) { _ = json.NewEncoder(w).Encode(value) }

func (f *fake) is(fault string) bool { return f.fault == fault }

func (f *fake) unixNs() int64 {
	if f.is("milliseconds") {
		return time.Now().UnixMilli()
	}
	return time.Now().UnixNano()
}

func (f *fake) load(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows, err := csv.NewReader(r.Body).ReadAll()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, row := range rows[1:] {
		switch r.PathValue("file") {
		case "offers":
			f.offers[row[0]] = row
		case "clicks":
			f.clicks[row[0]] = row
		case "keys":
			secret, _ := hex.DecodeString(row[1])
			f.keyring.Add(row[0], secret)
		}
	}
}

func (f *fake) take(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var p postback.Postback
	status, err := 200, error(nil)
	switch signed := r.URL.Path == "/pb/signed"; {
	case r.Method != http.MethodGet && !f.is("any method"):
		status = 405
	case signed:
		if err = p.ParseSigned([]byte(r.URL.RawQuery)); err == nil && !f.is("any signature") {
			err = f.keyring.Verify([]byte(r.Method), []byte(r.URL.EscapedPath()), []byte(r.URL.RawQuery), &p)
		}
		if err == nil && time.Since(time.Unix(p.TSUnixS, 0)).Abs() > 20*time.Hour && !f.is("any ts") {
			err = postback.ErrBadSignature
		}
	default:
		err = p.ParsePlain([]byte(r.URL.RawQuery))
	}
	switch {
	case errors.Is(err, postback.ErrTooLong):
		status = 414
	case errors.Is(err, postback.ErrBadSignature):
		status = 403
	case err != nil:
		status = 400
	}
	if status == 200 && !f.is("deaf") {
		f.record(&p)
	}
	w.WriteHeader(status)
}

func (f *fake) record(p *postback.Postback) {
	txID := string(p.TxID)
	if f.is("collation") {
		txID = strings.ToLower(strings.TrimRight(txID, " "))
	}
	identity := string(p.ClickID) + "\x00" + txID + "\x00" + p.Event.String()
	first, known := f.identity[identity]
	verdict := f.verdict(p)
	switch {
	case known && first == p.Payout && !f.is("counts twice"):
		return
	case known && first != p.Payout:
		verdict = conflict
	}
	f.identity[identity] = p.Payout
	row := map[string]any{"click_id": string(p.ClickID), "txid": string(p.TxID), "event": p.Event.String(), "verdict": verdict,
		"offer_id": string(p.OfferID), "payout": p.Payout.String(), "currency": p.Currency.String(),
		"recorded_unix_ns": f.unixNs(), "received_unix_ns": f.unixNs()}
	if f.is("float32") {
		row["payout"] = strconv.FormatFloat(float64(float32(p.Payout))/1e6, 'f', 6, 64)
	}
	if offer := f.offers[string(p.OfferID)]; offer != nil && offer[5] != "0" && !f.is("no windows") {
		row["cap_window"] = "now"
	}
	f.rows = append(f.rows, row)
}

func (f *fake) verdict(p *postback.Postback) string {
	click := f.clicks[string(p.ClickID)]
	if click == nil {
		return unattributed
	}
	offer := f.offers[click[1]]
	clicked, _ := strconv.ParseInt(click[2], 10, 64)
	window, _ := strconv.ParseInt(offer[4], 10, 64)
	limit, _ := strconv.ParseInt(offer[1], 10, 64)
	switch {
	case p.Event.Reverses():
		return reversal
	case window > 0 && time.Now().Unix()-clicked > window && !f.is("never late"):
		return late
	case p.Payout <= 0:
		return nonBillable
	case limit > 0 && f.billed[click[1]] >= limit && !f.is("no caps"):
		return overCap
	}
	f.billed[click[1]]++
	return billable
}

func (f *fake) ledger(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, row := range f.rows {
		writeJSON(w, row)
	}
}

func (f *fake) status(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := r.PathValue("offer_id")
	limit, _ := strconv.ParseInt(f.offers[id][1], 10, 64)
	status := map[string]any{"offer_id": id, "cap": limit, "billable": f.billed[id], "closed": f.billed[id] >= limit && !f.is("never closed")}
	if f.offers[id][5] != "0" {
		status["cap_window"] = "now"
	}
	writeJSON(w, status)
}
