package pebbledb

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
)

const schemaVersion = 2

// The first byte of every key, see FORMAT.md.
const (
	prefixClick        = 'c'
	prefixIdentity     = 'd'
	prefixKey          = 'k'
	prefixCounter      = 'n'
	prefixOffer        = 'o'
	prefixRow          = 'r'
	prefixState        = 's'
	prefixWindow       = 'w'
	prefixConflict     = 'x'
	prefixConflictSeen = 'y'
)

const numberBytes = 8

var (
	keySchema = []byte("mschema")
	keyTotals = []byte("mtotals")
)

// within bounds an iterator to the keys of one prefix.
func within(prefix byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}}
}

// appendIdentity appends the dedup key of c.
func appendIdentity(dst []byte, c *store.Conversion) []byte {
	dst = append(dst, prefixIdentity, byte(len(c.ClickID)))
	dst = append(dst, c.ClickID...)
	dst = append(dst, c.TxID...)
	return append(dst, byte(c.Event))
}

// appendConflictSeen appends the key under which c's payload is kept once.
func appendConflictSeen(dst, identity []byte, c *store.Conversion) []byte {
	dst = append(dst, prefixConflictSeen)
	dst = append(dst, identity[1:]...)
	dst = append(dst, c.ClaimedOfferID...)
	dst = append(dst, c.Currency[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Payout))
	return append(dst, byte(len(c.ClaimedOfferID)))
}

// putNumbered writes the key of a row or conflict into dst.
func putNumbered(dst []byte, prefix byte, number uint64) {
	dst[0] = prefix
	binary.BigEndian.PutUint64(dst[1:], number)
}

func numbered(prefix byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, number)
}

func readNumber(b []byte) (uint64, bool) {
	if len(b) != numberBytes {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

func appendText(dst []byte, prefix byte, text string) []byte {
	return append(append(dst, prefix), text...)
}

// appendCounter appends the key of a cap counter.
func appendCounter(dst []byte, offerID string, windowS, window int64) []byte {
	if windowS == 0 {
		return appendText(dst, prefixCounter, offerID)
	}
	dst = append(dst, prefixWindow, byte(len(offerID)))
	dst = append(dst, offerID...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(windowS))
	return binary.BigEndian.AppendUint64(dst, uint64(window))
}

// check refuses what the format has no place for.
func check(c *store.Conversion) error {
	if err := checkID("click_id", c.ClickID, postback.MaxClickIDBytes); err != nil {
		return err
	}
	if err := checkID("txid", c.TxID, postback.MaxTxIDBytes); err != nil {
		return err
	}
	if err := checkID("offer_id", c.ClaimedOfferID, postback.MaxOfferIDBytes); err != nil {
		return err
	}
	if !isEvent(c.Event) {
		return errEvent(c.Event)
	}
	return checkCurrency(c.Currency)
}
