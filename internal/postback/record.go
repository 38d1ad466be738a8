package postback

import (
	"encoding/binary"
	"fmt"
)

const (
	// MaxRecordBytes bounds the records of every version.
	MaxRecordBytes = 480

	recordVersion     = 1
	recordHeaderBytes = 25 // everything before click_id, see FORMAT.md
)

// Record is a postback on its way from an edge to central, without what only
// the edge needs. After Decode its []byte fields point into the decoded bytes.
type Record struct {
	ClickID, TxID, OfferID []byte
	Event                  Event
	Payout                 Money
	Currency               Currency
	KID                    []byte // the partner's key id, empty if unsigned
	ReceivedUnixNs         int64  // when the edge had read the request, >= 0
}

// CorruptError says where bytes stop being a record.
type CorruptError struct {
	Field  string // as FORMAT.md names it
	Offset int    // of the field's first byte
	Reason string
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("postback: record: %s at byte %d: %s", e.Field, e.Offset, e.Reason)
}

// AppendRecord appends r in the format of FORMAT.md, at most MaxRecordBytes. A
// record that Decode would refuse is refused here: then dst is returned
// unchanged, with an error that wraps ErrMissing, ErrTooLong or ErrBadValue.
func AppendRecord(dst []byte, r *Record) ([]byte, error) {
	if err := r.check(); err != nil {
		return dst, err
	}
	dst = append(dst, recordVersion, byte(r.Event), r.Currency[0], r.Currency[1], r.Currency[2],
		byte(len(r.ClickID)), byte(len(r.TxID)), byte(len(r.OfferID)), byte(len(r.KID)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Payout))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.ReceivedUnixNs))
	dst = append(dst, r.ClickID...)
	dst = append(dst, r.TxID...)
	dst = append(dst, r.OfferID...)
	return append(dst, r.KID...), nil
}

func (r *Record) check() error {
	switch {
	case len(r.ClickID) == 0:
		return recordError("click_id", ErrMissing)
	case len(r.ClickID) > MaxClickIDBytes:
		return recordError("click_id", ErrTooLong)
	case len(r.TxID) > MaxTxIDBytes:
		return recordError("txid", ErrTooLong)
	case len(r.OfferID) > MaxOfferIDBytes:
		return recordError("offer_id", ErrTooLong)
	case len(r.KID) > MaxKIDBytes:
		return recordError("kid", ErrTooLong)
	case r.Event > lastEvent:
		return recordError("event", ErrBadValue)
	case r.Currency != Currency{} && !r.Currency.isCode():
		return recordError("currency", ErrBadCurrency)
	case r.ReceivedUnixNs < 0:
		return recordError("received_unix_ns", ErrBadValue)
	}
	return nil
}

func recordError(field string, reason error) error {
	return fmt.Errorf("postback: record: %s: %w", field, reason)
}

// Decode reads exactly one record without copying: r is valid as long as b is.
// An error is a *CorruptError, and leaves r empty.
func (r *Record) Decode(b []byte) error {
	d := recordDecoder{rest: b}
	d.expect(d.byte("version") == recordVersion, "unknown version, expected 1")
	event := Event(d.byte("event"))
	d.expect(event <= lastEvent, "unknown event")
	currency := Currency(d.bytes("currency", len(Currency{})))
	d.expect(currency == Currency{} || currency.isCode(), "expected three letters or three zero bytes")
	clickIDBytes := d.length("click_id length", 1, MaxClickIDBytes)
	txIDBytes := d.length("txid length", 0, MaxTxIDBytes)
	offerIDBytes := d.length("offer_id length", 0, MaxOfferIDBytes)
	kidBytes := d.length("kid length", 0, MaxKIDBytes)
	payout := d.int64("payout")
	receivedUnixNs := d.int64("received_unix_ns")
	d.expect(receivedUnixNs >= 0, "negative time")
	*r = Record{
		Event: event, Payout: Money(payout), Currency: currency, ReceivedUnixNs: receivedUnixNs,
		ClickID: d.bytes("click_id", clickIDBytes),
		TxID:    d.bytes("txid", txIDBytes),
		OfferID: d.bytes("offer_id", offerIDBytes),
		KID:     d.bytes("kid", kidBytes),
	}
	d.end()
	if d.err != nil {
		*r = Record{}
		return d.err
	}
	return nil
}
