package collect

import (
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/acked"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store"
)

// batch is what goes into one commit. It is reused.
type batch struct {
	conversions []store.Conversion
	boots       []datagram.BootState // as of the last of them
	outcomes    []store.Outcome
	tickets     []acked.Ticket // of the datagrams that want acks
	text        []byte         // scratch of add
}

func newBatch() *batch { return &batch{conversions: make([]store.Conversion, 0, MaxRecords)} }

func (b *batch) reset() {
	clear(b.conversions) // its strings are the store's or nobody's
	b.conversions, b.boots, b.tickets = b.conversions[:0], nil, b.tickets[:0]
}

// add decodes a record, copying what it needs of it. The error is a
// *postback.CorruptError.
func (b *batch) add(record []byte) error {
	var r postback.Record
	if err := r.Decode(record); err != nil {
		return err
	}
	// One string for all texts of the record.
	b.text = append(append(append(b.text[:0], r.ClickID...), r.TxID...), r.OfferID...)
	text := string(b.text)
	clickEnd := len(r.ClickID)
	txEnd := clickEnd + len(r.TxID)
	b.conversions = append(b.conversions, store.Conversion{
		ClickID: text[:clickEnd], TxID: text[clickEnd:txEnd], ClaimedOfferID: text[txEnd:],
		Event: r.Event, Payout: r.Payout, Currency: r.Currency, ReceivedUnixNs: r.ReceivedUnixNs,
	})
	return nil
}

// results is where the store writes what became of the batch.
func (b *batch) results() []store.Outcome {
	if cap(b.outcomes) < len(b.conversions) {
		b.outcomes = make([]store.Outcome, cap(b.conversions))
	}
	return b.outcomes[:len(b.conversions)]
}
