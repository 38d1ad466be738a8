package accept

import (
	"fmt"
	"net/url"

	"github.com/postbench/postbench/internal/postback"
)

// maxAmountBytes is the longest payout in a query; the longest amount has 21.
const maxAmountBytes = 32

// ParsePlain reads an unsigned postback as a tracker's handler does: a map of
// everything, then one field after another. ReceivedUnixNs is left to the
// caller. The error is a *postback.ParseError.
func ParsePlain(rawQuery string) (*postback.Record, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, &postback.ParseError{Reason: postback.ErrBadEscape}
	}
	r := &postback.Record{}
	for _, field := range []struct {
		name     string
		maxBytes int
		set      func(value string) error
	}{
		{"click_id", postback.MaxClickIDBytes, func(v string) error { r.ClickID = []byte(v); return nil }},
		{"txid", postback.MaxTxIDBytes, func(v string) error { r.TxID = []byte(v); return nil }},
		{"offer_id", postback.MaxOfferIDBytes, func(v string) error { r.OfferID = []byte(v); return nil }},
		{"event", maxAmountBytes, func(v string) (err error) { r.Event, err = parseEvent(v); return err }},
		{"payout", maxAmountBytes, func(v string) (err error) { r.Payout, err = postback.ParseMoney([]byte(v)); return err }},
		{"currency", maxAmountBytes, func(v string) (err error) { r.Currency, err = postback.ParseCurrency([]byte(v)); return err }},
	} {
		if err := setOnce(values[field.name], field.maxBytes, field.set); err != nil {
			return nil, &postback.ParseError{Param: field.name, Reason: err}
		}
	}
	if len(r.ClickID) == 0 {
		return nil, &postback.ParseError{Param: "click_id", Reason: postback.ErrMissing}
	}
	return r, nil
}

func parseEvent(v string) (postback.Event, error) {
	event, ok := postback.ParseEvent([]byte(v))
	if !ok {
		return 0, fmt.Errorf("%w: unknown event", postback.ErrBadValue)
	}
	return event, nil
}

// setOnce sets a field from its only value; an empty value counts as absent.
func setOnce(values []string, maxBytes int, set func(string) error) error {
	switch {
	case len(values) > 1:
		return postback.ErrDuplicateKey // either choice would be a guess about money
	case len(values) == 0 || values[0] == "":
		return nil
	case len(values[0]) > maxBytes:
		return postback.ErrTooLong
	case !IsText([]byte(values[0])):
		return ErrNotText
	}
	return set(values[0])
}

// RecordOf is what a record keeps of a parsed postback; the bytes are p's own.
// ReceivedUnixNs is left to the caller.
func RecordOf(p *postback.Postback) postback.Record {
	return postback.Record{
		ClickID: p.ClickID, TxID: p.TxID, OfferID: p.OfferID,
		Event: p.Event, Payout: p.Payout, Currency: p.Currency, KID: p.KID,
	}
}
