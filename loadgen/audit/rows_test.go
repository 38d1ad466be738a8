package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// writeRow is a ledger's line, as DESIGN §6 has it.
func writeRow(w io.Writer, r *Row) {
	fmt.Fprintf(w, `{"click_id":%q,"txid":%q,"event":%q,"verdict":%q,"offer_id":%q,"payout":%q,"currency":%q,"recorded_unix_ns":%d,"received_unix_ns":%d,"cap_window":%q}`+"\n",
		r.ClickID, r.TxID, r.Event, r.Verdict, r.OfferID, r.Payout, r.Currency, r.RecordedUnixNs, r.ReceivedUnixNs, r.CapWindow)
}

func readNDJSON(text string) (rows []Row, err error) {
	err = ReadNDJSON("ledger", strings.NewReader(text), func(r *Row) { rows = append(rows, *r) })
	return rows, err
}

func TestReadNDJSONRoundTrip(t *testing.T) {
	h := flawless(t)
	var text bytes.Buffer
	for i := range h.rows {
		h.rows[i].CapWindow = "2024-01-01"
		writeRow(&text, &h.rows[i])
	}
	got, err := readNDJSON(text.String())
	if err != nil || !reflect.DeepEqual(got, h.rows) {
		t.Errorf("%v; %d rows, wrote %d", err, len(got), len(h.rows))
	}
}

func TestReadNDJSON(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []Row
	}{
		"nothing":     {"", nil},
		"empty lines": {"\n\r\n  \n", nil},
		"the least": {`{"click_id":"c","verdict":"late"}`,
			[]Row{{ClickID: []byte("c"), OfferID: []byte{}, Verdict: intent.Late}}},
		"empty words say nothing, but a txid": {`{"click_id":"","verdict":"billable","txid":"","event":"","payout":"","currency":"","offer_id":""}`,
			[]Row{{ClickID: []byte{}, TxID: []byte{}, OfferID: []byte{}, Verdict: intent.Billable}}},
		"null says nothing": {`{"click_id":"c","verdict":"billable","txid":null,"event":null,"payout":null,"currency":null,"recorded_unix_ns":null}`,
			[]Row{{ClickID: []byte("c"), OfferID: []byte{}, Verdict: intent.Billable}}},
		"unknown members, Windows, no last line end": {`{"verdict":"conflict","click_id":"\u00e9","commit_ns":5,"extra":{"a":[1]}}` + "\r\n" + `{"click_id":"d","verdict":"reversal","payout":"-0.000001"}`,
			[]Row{{ClickID: []byte("é"), OfferID: []byte{}, Verdict: intent.Conflict},
				{ClickID: []byte("d"), OfferID: []byte{}, Verdict: intent.Reversal, Payout: -1, HasPayout: true}}},
	} {
		if got, err := readNDJSON(c.text); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

// A server may record nonsense now and then; a ledger that is nonsense is
// written another way than it is read.
func TestGarbledRows(t *testing.T) {
	good := `{"click_id":"c","verdict":"billable"}` + "\n"
	for garbled, want := range map[string]string{
		`"event":"buy"`:     `event "buy" is unknown`,
		`"payout":"12,5"`:   `payout "12,5": `,
		`"currency":"euro"`: `currency "euro": `,
	} {
		bad := `{"click_id":"c","verdict":"billable",` + garbled + "}\n"
		rows, err := readNDJSON(good + bad)
		if err != nil || len(rows) != 2 || rows[0].Garbled != nil || rows[1].Garbled == nil || !strings.Contains(rows[1].Garbled.Error(), want) {
			t.Errorf("one of two: %+v, %v", rows, err)
		}
		if _, err := readNDJSON(good + bad + bad); err == nil || !strings.HasPrefix(err.Error(), "ledger cannot be read: ledger:2: "+want) {
			t.Errorf("two of three: %v, want %q", err, want)
		}
	}
}

func TestReadNDJSONRefuses(t *testing.T) {
	good := `{"click_id":"c","verdict":"billable"}` + "\n\n"
	for name, c := range map[string]struct{ line, want string }{
		"no JSON":            {"<html>", "not a JSON object"},
		"cut off":            {`{"click_id":"c","verd`, "not a JSON object"},
		"an array":           {`[{"click_id":"c","verdict":"billable"}]`, "not a JSON object"},
		"two objects":        {`{"click_id":"c","verdict":"billable"} {}`, "not a JSON object"},
		"null":               {`null`, `at least "click_id" and "verdict"`},
		"no click id":        {`{"verdict":"billable"}`, `at least "click_id" and "verdict"`},
		"no verdict":         {`{"click_id":"c"}`, `at least "click_id" and "verdict"`},
		"unknown verdict":    {`{"click_id":"c","verdict":"paid\n"}`, `verdict "paid\n" is unknown; want billable`},
		"long verdict":       {`{"click_id":"c","verdict":"` + strings.Repeat("x", 1000) + `"}`, `verdict "` + strings.Repeat("x", 40) + `" is unknown`},
		"payout as a number": {`{"click_id":"c","verdict":"billable","payout":12.5}`, "not a JSON object"},
		"time as text":       {`{"click_id":"c","verdict":"billable","recorded_unix_ns":"5"}`, "not a JSON object"},
		"time as a fraction": {`{"click_id":"c","verdict":"billable","received_unix_ns":0.5}`, "not a JSON object"},
		"long window":        {`{"click_id":"c","verdict":"billable","cap_window":"` + strings.Repeat("w", 65) + `"}`, "cap_window of 65 bytes, longer than 64"},
		"too long a line":    {`{"click_id":"` + strings.Repeat("c", maxRowBytes) + `","verdict":"billable"}`, "bufio.Scanner: token too long"},
	} {
		rows, err := readNDJSON(good + c.line + "\n" + good)
		if err == nil || !strings.HasPrefix(err.Error(), "ledger cannot be read: ledger:3: ") || !strings.Contains(err.Error(), c.want) || len(rows) != 1 {
			t.Errorf("%s: %d rows, %v; want line 3 and %q", name, len(rows), err, c.want)
			continue
		}
		requireLedgerError(t, err)
	}
	broken := errors.New("broken")
	err := ReadNDJSON("ledger", io.MultiReader(strings.NewReader(good), iotest.ErrReader(broken)), func(*Row) {})
	if !errors.Is(err, broken) || !errors.Is(err, ErrLedger) || !strings.Contains(err.Error(), "ledger:3: ") {
		t.Errorf("got %v, want the reader's error at line 3", err)
	}
}

// requireLedgerError wants one line that names the source.
func requireLedgerError(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, ErrLedger) || strings.ContainsAny(err.Error(), "\n\r") || !strings.Contains(err.Error(), ":") {
		t.Errorf("not a one-line ErrLedger: %q", err)
	}
}

func FuzzReadNDJSON(f *testing.F) {
	f.Add([]byte(`{"click_id":"c","txid":"t","event":"sale","verdict":"billable","offer_id":"o","payout":"12.5","currency":"EUR","recorded_unix_ns":1,"received_unix_ns":2,"cap_window":"w"}`))
	f.Add([]byte("{}\n\n[]\nnull\n\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := ReadNDJSON("f", bytes.NewReader(text), checkRow(t)); err != nil {
			requireLedgerError(t, err)
		}
	})
}

// checkRow fails on rows that a reader must not let through.
func checkRow(t *testing.T) func(*Row) {
	return func(r *Row) {
		if r.Verdict == intent.VerdictUnknown || r.Verdict >= intent.Verdicts || r.Payout != 0 && !r.HasPayout || len(r.CapWindow) > maxCapWindowBytes {
			t.Fatalf("%+v", r)
		}
		if _, ok := postback.ParseEvent([]byte(r.Event.String())); !ok && r.Event != postback.EventNone {
			t.Fatalf("event %d", r.Event)
		}
	}
}
