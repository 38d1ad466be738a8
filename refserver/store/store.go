// Package store keeps clicks, offers, keys and conversions. Its users declare
// the interfaces; storetest holds the contract that every implementation
// passes. SQL is the first one, on an embedded SQLite file or on MariaDB.
package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
)

// ErrBusy means that the store did not get to the work within the caller's
// deadline or the database's own wait. Nothing was written; the caller may retry.
var ErrBusy = errors.New("store is busy")

// MaxCapWindowS bounds Offer.CapWindowS: a leap year.
const MaxCapWindowS = 366 * 24 * 60 * 60

// Click is one row of the click population.
type Click struct {
	ClickID, OfferID string
	ClickedUnixS     int64
}

// Offer is one row of the offer population.
type Offer struct {
	OfferID            string
	Cap                int64 // conversions; 0 means none
	Payout             postback.Money
	Currency           postback.Currency
	AttributionWindowS int64 // seconds after the click; 0 means none
	// CapWindowS is how long the cap counts before it counts anew, in seconds,
	// 0 to MaxCapWindowS; 0 means never anew. See CapWindow.
	CapWindowS int64
}

// CapWindow is the number of the cap window that a conversion counts in which
// was received then: windows of windowS seconds follow each other from the Unix
// epoch, so that a day of 86,400 s begins at midnight UTC. It is 0 for a cap
// that counts the whole life (windowS 0). Times are after 1970.
func CapWindow(receivedUnixNs, windowS int64) int64 {
	if windowS <= 0 {
		return 0
	}
	return receivedUnixNs / 1e9 / windowS
}

// CapWindowName is the first second of the window that CapWindow numbers, as
// RFC 3339 in UTC; "" for a cap that counts the whole life.
func CapWindowName(receivedUnixNs, windowS int64) string {
	if windowS <= 0 {
		return ""
	}
	return time.Unix(CapWindow(receivedUnixNs, windowS)*windowS, 0).UTC().Format(time.RFC3339)
}

// Key is a partner's signing key.
type Key struct {
	KID    string
	Secret []byte
}

// OfferStatus is what a router asks about an offer: its cap window of now.
type OfferStatus struct {
	OfferID       string
	Cap, Billable int64
	Closed        bool   // false for an offer without a cap
	CapWindow     string // CapWindowName of now
}

// Attribution is the click behind a click id. The zero value is an unknown click.
type Attribution struct {
	Found        bool
	OfferID      string
	ClickedUnixS int64
}

// Clicks is where clicks live when they are not in the SQL database.
type Clicks interface {
	// Attribute looks up the click. Unknown clicks are no error. ErrBusy when
	// ctx ends first.
	Attribute(ctx context.Context, clickID string) (Attribution, error)
	// LoadClicks stores all clicks or, at the first error of the sequence,
	// none; an id that is loaded again replaces the older. It returns the
	// number of rows.
	LoadClicks(ctx context.Context, clicks iter.Seq2[Click, error]) (int64, error)
}

// Conversion is a postback on its way into the store. Its identity is
// (ClickID, TxID, Event); its payload is ClaimedOfferID, Payout and Currency.
type Conversion struct {
	ClickID, TxID  string
	ClaimedOfferID string // as the postback says; the click's own offer counts
	Event          postback.Event
	Payout         postback.Money
	Currency       postback.Currency
	ReceivedUnixNs int64
	Attribution    Attribution
}

// offerID is the offer that the conversion counts for. A partner's claim never
// moves a conversion to another offer than its click's.
func (c *Conversion) offerID() string {
	if c.Attribution.Found {
		return c.Attribution.OfferID
	}
	return c.ClaimedOfferID
}

// Outcome is what Commit did.
type Outcome struct {
	Verdict decide.Verdict
	// Repeated means that nothing was written: a duplicate, or a conflict
	// whose payload had been kept before.
	Repeated bool
	// CapNs is the time spent on reading identity and cap counter, InsertNs
	// all the rest, the wait for the writer included.
	CapNs, InsertNs int64
}

// Facts is what the decision on a conversion rests on, besides the conversion.
type Facts struct {
	Existing decide.Existing
	// Offer is the click's offer, with the counter of the cap window that the
	// conversion was received in. It stays zero, with CapWindowS, where it is not
	// needed: the identity exists, there is no such click, or no such offer.
	Offer      decide.Offer
	CapWindowS int64 // the offer's
}

// Queries counts the statements that postbacks have executed. Those of the
// population, the ledger and the caps' status are not counted.
type Queries struct {
	Selects, Writes int64 // of identities, offers and counters; of rows, counters and syncs
	Clicks          int64 // look-ups of clicks, where these are in the same database
	Transactions    int64 // begun; their own statements (begin, commit) are in no other figure
	Retries         int64 // transactions run again because the database rolled them back
}

// Row is one recorded row of the ledger. Conflicts are rows too, with the
// verdict "conflict".
type Row struct {
	ClickID, TxID, Event string
	Verdict              decide.Verdict
	OfferID              string
	Payout               postback.Money
	Currency             string
	RecordedUnixNs       int64 // entry into the commit: the writer is ours, nothing is written yet
	ReceivedUnixNs       int64 // entry into the handler
	// CapWindow is the CapWindowName of ReceivedUnixNs by the offer as it was
	// then; "" for unattributed rows and conflicts.
	CapWindow string
}
