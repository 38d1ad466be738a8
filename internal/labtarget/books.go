package labtarget

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

// The verdicts that the target gives.
const (
	verdictBillable    = "billable"
	verdictNonBillable = "non_billable"
	verdictReversal    = "reversal"
	verdictOverCap     = "over_cap"
)

// payoutFault is what a changed payout is too high by.
const payoutFault postback.Money = 1_000_000

// row is one recorded conversion, with the JSON names of the contract.
type row struct {
	ClickID        string `json:"click_id"`
	TxID           string `json:"txid"`
	Event          string `json:"event"`
	Verdict        string `json:"verdict"`
	OfferID        string `json:"offer_id"`
	Payout         string `json:"payout,omitempty"`
	Currency       string `json:"currency"`
	RecordedUnixNs int64  `json:"recorded_unix_ns"`
	ReceivedUnixNs int64  `json:"received_unix_ns"`
}

// Truth is what a target did. Lists hold click ids in order of arrival.
type Truth struct {
	// Postbacks arrived; each is in exactly one of the counts below it.
	Postbacks int64
	// Acked were answered 200, or will be once their delay is over; Refused,
	// Hung and Closed met the fault of that name; Malformed and BadSignature
	// were answered 400 and 403, Full 503.
	Acked, Refused, Hung, Closed, Malformed, BadSignature, Full int64
	// Repeats are acked postbacks of a conversion that had come before.
	Repeats int64
	Rows    int64

	Lost, Twice, Phantoms, ChangedPayout, BilledOverCap []string
}

func (t Truth) clone() Truth {
	t.Lost, t.Twice, t.Phantoms = slices.Clone(t.Lost), slices.Clone(t.Twice), slices.Clone(t.Phantoms)
	t.ChangedPayout, t.BilledOverCap = slices.Clone(t.ChangedPayout), slices.Clone(t.BilledOverCap)
	return t
}

// books are the target's rows and its knowledge of what is wrong with them.
// Not safe for concurrent use.
type books struct {
	options  *Options
	faults   faults
	rows     []row
	known    map[string]bool  // identities that came before, lost ones included
	billable map[string]int64 // billable rows by offer id
	truth    Truth
}

func newBooks(o *Options) books {
	return books{options: o, faults: bookFaults(o), known: map[string]bool{}, billable: map[string]int64{}}
}

func (b *books) full() bool { return len(b.rows)+2 > MaxRows }

// take records a conversion, or does to it what its turn says. paid says that
// the postback names a payout at all: a server knows it from its offers then.
func (b *books) take(p *postback.Postback, paid bool, received time.Time) {
	if b.options.DiscardRows {
		return
	}
	identity := fmt.Sprintf("%s %s %d", p.ClickID, p.TxID, p.Event)
	if b.known[identity] {
		b.truth.Repeats++
		return
	}
	b.known[identity] = true
	r := row{ClickID: string(p.ClickID), TxID: string(p.TxID), Event: p.Event.String(), OfferID: string(p.OfferID),
		Currency: p.Currency.String(), ReceivedUnixNs: received.UnixNano()}
	if paid {
		r.Payout = p.Payout.String()
	}
	switch b.faults.next() {
	case lose:
		b.truth.Lost = append(b.truth.Lost, r.ClickID)
		return
	case storeTwice:
		b.truth.Twice = append(b.truth.Twice, r.ClickID)
		b.store(r, p)
	case addPhantom:
		phantom := r
		phantom.ClickID = fmt.Sprintf("phantom-%d", len(b.truth.Phantoms)+1)
		phantom.TxID = ""
		b.truth.Phantoms = append(b.truth.Phantoms, phantom.ClickID)
		b.store(phantom, p)
	case changePayout:
		b.truth.ChangedPayout = append(b.truth.ChangedPayout, r.ClickID)
		r.Payout = (p.Payout + payoutFault).String()
	}
	b.store(r, p)
}

func (b *books) store(r row, p *postback.Postback) {
	r.Verdict = b.verdict(&r, p)
	r.RecordedUnixNs = time.Now().UnixNano()
	b.rows = append(b.rows, r)
	b.truth.Rows++
}

func (b *books) verdict(r *row, p *postback.Postback) string {
	switch {
	case p.Event.Reverses():
		return verdictReversal
	case p.Event == postback.EventLead || r.Payout == "0":
		return verdictNonBillable
	}
	if limit, capped := b.options.Caps[r.OfferID]; capped && b.billable[r.OfferID] >= limit {
		if !b.options.BillOverCap {
			return verdictOverCap
		}
		b.truth.BilledOverCap = append(b.truth.BilledOverCap, r.ClickID)
	}
	b.billable[r.OfferID]++
	return verdictBillable
}

// capStatus is the answer of the contract's cap endpoint.
type capStatus struct {
	OfferID  string `json:"offer_id"`
	Cap      int64  `json:"cap"`
	Billable int64  `json:"billable"`
	Closed   bool   `json:"closed"`
}

func (b *books) capStatus(offerID string) capStatus {
	limit, capped := b.options.Caps[offerID]
	billable := b.billable[offerID]
	return capStatus{OfferID: offerID, Cap: limit, Billable: billable, Closed: capped && billable >= limit}
}

// writeRows writes NDJSON. A reader that hangs up ends it.
func writeRows(w *bufio.Writer, rows []row) {
	encoder := json.NewEncoder(w)
	for i := range rows {
		if encoder.Encode(&rows[i]) != nil {
			return
		}
	}
}
