package pebbledb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// example is the row that FORMAT.md shows.
func example() (store.Conversion, []byte) {
	c := store.Conversion{ClickID: "c1", TxID: "t-9", ClaimedOfferID: "o8", Event: postback.EventSale,
		Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, ReceivedUnixNs: 1_700_000_000_000_000_001}
	row := make([]byte, rowBytes(&c, "o7"))
	putRow(row, &c, "o7", 86_400, decide.Billable, c.ReceivedUnixNs+1_000)
	return c, row
}

func TestFormatExample(t *testing.T) {
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```hex\n")
	block, _, found := strings.Cut(block, "```")
	want, err := hex.DecodeString(strings.Join(strings.Fields(block), ""))
	if !found || err != nil {
		t.Fatal(found, err)
	}
	if _, got := example(); !bytes.Equal(got, want) {
		t.Errorf("\ngot  % x\nwant % x", got, want)
	}
	var row storedRow
	if err := row.decode(want); err != nil {
		t.Fatal(err)
	}
	wantRow := store.Row{ClickID: "c1", TxID: "t-9", Event: "sale", Verdict: decide.Billable, OfferID: "o7",
		Payout: 12_500_000, Currency: "EUR", ReceivedUnixNs: 1_700_000_000_000_000_001, RecordedUnixNs: 1_700_000_000_000_001_001,
		CapWindow: "2023-11-14T00:00:00Z"}
	if got := row.ledger(); got != wantRow {
		t.Errorf("\ngot  %+v\nwant %+v", got, wantRow)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"nothing":           func([]byte) []byte { return nil },
		"a byte less":       func(b []byte) []byte { return b[:len(b)-1] },
		"a byte more":       func(b []byte) []byte { return append(b, 0) },
		"no verdict":        func(b []byte) []byte { b[0] = 0; return b },
		"unknown verdict":   func(b []byte) []byte { b[0] = byte(len(verdicts)) + 1; return b },
		"unknown event":     func(b []byte) []byte { b[1] = 6; return b },
		"half a currency":   func(b []byte) []byte { b[3] = 0; return b },
		"other length":      func(b []byte) []byte { b[5]++; return b },
		"a window too long": func(b []byte) []byte { b[36] = 2; return b },
		"a click too long":  func(b []byte) []byte { b[5] = 129; return append(b, make([]byte, 127)...) },
	} {
		_, row := example()
		var got storedRow
		if err := got.decode(spoil(row)); !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever decodes is encoded to the same bytes.
func FuzzRow(f *testing.F) {
	_, row := example()
	f.Add(row)
	f.Add(make([]byte, rowHeaderBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		var row storedRow
		if err := row.decode(b); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		c := store.Conversion{ClickID: string(row.clickID), TxID: string(row.txID), ClaimedOfferID: string(row.claimed),
			Event: row.event, Payout: row.payout, Currency: row.currency, ReceivedUnixNs: row.receivedUnixNs}
		again := make([]byte, rowBytes(&c, string(row.offerID)))
		putRow(again, &c, string(row.offerID), row.capWindowS, row.verdict, row.recordedUnixNs)
		if !bytes.Equal(again, b) {
			t.Errorf("\ngot  % x\nwant % x", again, b)
		}
		if row.compare(&c) != decide.SamePayload {
			t.Error("a row differs from itself")
		}
	})
}

// The other values: never a panic, and the same bytes again.
func FuzzValues(f *testing.F) {
	offer := store.Offer{Cap: 3, Payout: 4, AttributionWindowS: 5, CapWindowS: 6, Currency: postback.Currency{'U', 'S', 'D'}}
	f.Add(appendOffer(nil, &offer))
	f.Add(appendClick(nil, "o-1", 1_700_000_000))
	f.Add(make([]byte, totalsBytes))
	f.Add(make([]byte, counterBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		if offerID, clickedUnixS, err := readClick(b); err == nil && !bytes.Equal(appendClick(nil, string(offerID), clickedUnixS), b) {
			t.Errorf("click % x", b)
		}
		if o, err := readOffer("o", b); err == nil && !bytes.Equal(appendOffer(nil, &o), b) {
			t.Errorf("offer % x", b)
		}
		var sum totals
		if err := sum.decode(b); err == nil {
			again := make([]byte, totalsBytes)
			if sum.put(again); !bytes.Equal(again, b) {
				t.Errorf("totals % x", b)
			}
		}
		if n, err := readCounter(b); err == nil && n < 0 {
			t.Errorf("counter % x", b)
		}
	})
}

// No two identities and no two payloads share a key, however their texts are cut.
func TestKeysAreInjective(t *testing.T) {
	texts := []string{"", "a", "aa", "\x00", "\x01", "\x02", "a\x02", "\x02a"}
	identities, conflicts := map[string]bool{}, map[string]bool{}
	n := 0
	for _, click := range texts {
		for _, tx := range texts {
			for _, event := range []postback.Event{postback.EventNone, postback.EventLead, postback.EventSale} {
				for _, claimed := range texts {
					for _, payout := range []postback.Money{0, 1, 2, 'a'} {
						c := store.Conversion{ClickID: click, TxID: tx, Event: event, ClaimedOfferID: claimed, Payout: payout}
						identity := appendIdentity(nil, &c)
						identities[string(identity)] = true
						conflicts[string(appendConflictSeen(nil, identity, &c))] = true
						n++
					}
				}
			}
		}
	}
	if want := len(texts) * len(texts) * 3; len(identities) != want || len(conflicts) != n {
		t.Errorf("%d identity keys, want %d; %d conflict keys, want %d", len(identities), want, len(conflicts), n)
	}
}
