package pebbledb

import (
	"encoding/binary"
	"fmt"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// Sizes of the values of FORMAT.md.
const (
	rowHeaderBytes = 37
	totalsBytes    = 24
	counterBytes   = 8
	clickBytes     = 8 // and the offer_id
	offerBytes     = 31
)

// verdicts in the order of their numbers, which begin at 1. A duplicate has no row.
var verdicts = [...]decide.Verdict{decide.Billable, decide.NonBillable, decide.Reversal, decide.OverCap,
	decide.Unattributed, decide.Late, decide.Conflict}

func verdictNumber(v decide.Verdict) byte {
	for i, known := range verdicts {
		if v == known {
			return byte(i + 1)
		}
	}
	panic("BUG: a row with the verdict " + string(v))
}

func isEvent(e postback.Event) bool { return e == postback.EventNone || e.String() != "" }

func errEvent(e postback.Event) error { return fmt.Errorf("event %d: %w", e, ErrInvalid) }

func rowBytes(c *store.Conversion, offerID string) int {
	return rowHeaderBytes + len(c.ClickID) + len(c.TxID) + len(offerID) + len(c.ClaimedOfferID)
}

// putRow writes the row of c into dst, which has rowBytes.
func putRow(dst []byte, c *store.Conversion, offerID string, capWindowS int64, v decide.Verdict, recordedUnixNs int64) {
	dst[0], dst[1] = verdictNumber(v), byte(c.Event)
	copy(dst[2:5], c.Currency[:])
	dst[5], dst[6], dst[7], dst[8] = byte(len(c.ClickID)), byte(len(c.TxID)), byte(len(offerID)), byte(len(c.ClaimedOfferID))
	binary.LittleEndian.PutUint64(dst[9:], uint64(c.Payout))
	binary.LittleEndian.PutUint64(dst[17:], uint64(c.ReceivedUnixNs))
	binary.LittleEndian.PutUint64(dst[25:], uint64(recordedUnixNs))
	binary.LittleEndian.PutUint32(dst[33:], uint32(capWindowS))
	text := dst[rowHeaderBytes:]
	text = text[copy(text, c.ClickID):]
	text = text[copy(text, c.TxID):]
	text = text[copy(text, offerID):]
	copy(text, c.ClaimedOfferID)
}

// storedRow is a row as it lies in the database. Its []byte fields point into it.
type storedRow struct {
	verdict                         decide.Verdict
	event                           postback.Event
	currency                        postback.Currency
	payout                          postback.Money
	receivedUnixNs, recordedUnixNs  int64
	capWindowS                      int64
	clickID, txID, offerID, claimed []byte
}

// decode reads exactly one row, or returns an error that wraps ErrCorrupt.
func (r *storedRow) decode(b []byte) error {
	if len(b) < rowHeaderBytes {
		return fmt.Errorf("%w: a row of %d bytes", ErrCorrupt, len(b))
	}
	click, tx, offer, claimed := int(b[5]), int(b[6]), int(b[7]), int(b[8])
	currency := postback.Currency(b[2:5])
	switch {
	case b[0] == 0 || int(b[0]) > len(verdicts):
		return fmt.Errorf("%w: a row with verdict %d", ErrCorrupt, b[0])
	case !isEvent(postback.Event(b[1])):
		return fmt.Errorf("%w: a row with event %d", ErrCorrupt, b[1])
	case checkCurrency(currency) != nil:
		return fmt.Errorf("%w: a row with currency %q", ErrCorrupt, currency[:])
	case click > postback.MaxClickIDBytes || tx > postback.MaxTxIDBytes ||
		offer > postback.MaxOfferIDBytes || claimed > postback.MaxOfferIDBytes ||
		len(b) != rowHeaderBytes+click+tx+offer+claimed:
		return fmt.Errorf("%w: a row of %d bytes with texts of %d, %d, %d and %d", ErrCorrupt, len(b), click, tx, offer, claimed)
	}
	capWindowS := binary.LittleEndian.Uint32(b[33:])
	if capWindowS > store.MaxCapWindowS {
		return fmt.Errorf("%w: a row with a cap window of %d s", ErrCorrupt, capWindowS)
	}
	text := b[rowHeaderBytes:]
	*r = storedRow{
		verdict: verdicts[b[0]-1], event: postback.Event(b[1]), currency: currency,
		payout:         postback.Money(binary.LittleEndian.Uint64(b[9:])),
		receivedUnixNs: int64(binary.LittleEndian.Uint64(b[17:])),
		recordedUnixNs: int64(binary.LittleEndian.Uint64(b[25:])),
		capWindowS:     int64(capWindowS),
		clickID:        text[:click],
		txID:           text[click : click+tx],
		offerID:        text[click+tx : click+tx+offer],
		claimed:        text[click+tx+offer:],
	}
	return nil
}

// ledger is the row as the ledger shows it, with nothing shared.
func (r *storedRow) ledger() store.Row {
	return store.Row{
		ClickID: string(r.clickID), TxID: string(r.txID), Event: r.event.String(), Verdict: r.verdict,
		OfferID: string(r.offerID), Payout: r.payout, Currency: r.currency.String(),
		RecordedUnixNs: r.recordedUnixNs, ReceivedUnixNs: r.receivedUnixNs,
		CapWindow: store.CapWindowName(r.receivedUnixNs, r.capWindowS),
	}
}

// compare says whether the row says the same as c, which has its identity.
func (r *storedRow) compare(c *store.Conversion) decide.Existing {
	if string(r.claimed) == c.ClaimedOfferID && r.payout == c.Payout && r.currency == c.Currency {
		return decide.SamePayload
	}
	return decide.OtherPayload
}

func comparePayloads(a, b *store.Conversion) decide.Existing {
	if a.ClaimedOfferID == b.ClaimedOfferID && a.Payout == b.Payout && a.Currency == b.Currency {
		return decide.SamePayload
	}
	return decide.OtherPayload
}

func appendUint32(dst []byte, n uint32) []byte { return binary.LittleEndian.AppendUint32(dst, n) }

func readUint32(b []byte) (uint32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b), true
}

func (t totals) put(dst []byte) {
	binary.LittleEndian.PutUint64(dst, t.committed)
	binary.LittleEndian.PutUint64(dst[8:], t.rows)
	binary.LittleEndian.PutUint64(dst[16:], t.conflicts)
}

func (t *totals) decode(b []byte) error {
	if len(b) != totalsBytes {
		return fmt.Errorf("%w: totals of %d bytes", ErrCorrupt, len(b))
	}
	*t = totals{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])}
	return nil
}

func readCounter(b []byte) (int64, error) {
	if len(b) != counterBytes || int64(binary.LittleEndian.Uint64(b)) < 0 {
		return 0, fmt.Errorf("%w: a cap counter %x", ErrCorrupt, b)
	}
	return int64(binary.LittleEndian.Uint64(b)), nil
}

func appendClick(dst []byte, offerID string, clickedUnixS int64) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, uint64(clickedUnixS)), offerID...)
}

func readClick(b []byte) (offerID []byte, clickedUnixS int64, err error) {
	if len(b) < clickBytes || len(b) > clickBytes+postback.MaxOfferIDBytes {
		return nil, 0, fmt.Errorf("%w: a click of %d bytes", ErrCorrupt, len(b))
	}
	return b[clickBytes:], int64(binary.LittleEndian.Uint64(b)), nil
}

func appendOffer(dst []byte, o *store.Offer) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.Cap))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.Payout))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.AttributionWindowS))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(o.CapWindowS))
	return append(dst, o.Currency[:]...)
}

func readOffer(offerID string, b []byte) (store.Offer, error) {
	if len(b) != offerBytes || checkCurrency(postback.Currency(b[offerBytes-3:])) != nil || binary.LittleEndian.Uint32(b[24:]) > store.MaxCapWindowS {
		return store.Offer{}, fmt.Errorf("%w: an offer of %d bytes, without a currency or with too long a cap window", ErrCorrupt, len(b))
	}
	return store.Offer{
		OfferID: offerID, Currency: postback.Currency(b[offerBytes-3:]),
		Cap:                int64(binary.LittleEndian.Uint64(b)),
		Payout:             postback.Money(binary.LittleEndian.Uint64(b[8:])),
		AttributionWindowS: int64(binary.LittleEndian.Uint64(b[16:])),
		CapWindowS:         int64(binary.LittleEndian.Uint32(b[24:])),
	}, nil
}
