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

func readCSV(text string, columns Columns) (rows []Row, err error) {
	err = ReadCSV("l.csv", strings.NewReader(text), columns, func(r *Row) { rows = append(rows, *r) })
	return rows, err
}

func TestParseColumns(t *testing.T) {
	for text, want := range map[string]Columns{
		"":                        {},
		"click_id=cid":            {"click_id": "cid"},
		"click_id=cid,payout=sum": {"click_id": "cid", "payout": "sum"},
		"txid=a=b":                {"txid": "a=b"},
	} {
		if got, err := ParseColumns(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"click_id":                `"click_id": want field=header`,
		"click_id=":               `"click_id=": want field=header`,
		"click_id=a,":             `"": want field=header`,
		"cid=click_id":            `no field "cid"; fields: click_id, txid, `,
		"=a":                      `no field ""`,
		"click_id=a,click_id=b":   "click_id is mapped twice",
		"click_id=a,payout =b":    `no field "payout "`,
		"click_id=a,commit_ns=10": `no field "commit_ns"`,
	} {
		if _, err := ParseColumns(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestReadCSV(t *testing.T) {
	full := Row{ClickID: []byte("c"), TxID: []byte("t"), OfferID: []byte("o"), Event: postback.EventSale, Verdict: intent.OverCap,
		Payout: 12_500_000, HasPayout: true, Currency: eur, RecordedUnixNs: 1_700_000_000_000_000_000, ReceivedUnixNs: 1_700_000_000_000_000_001, CapWindow: "w"}
	least := Row{ClickID: []byte("c"), OfferID: []byte{}, Verdict: intent.Billable}
	const header = "click_id,txid,event,verdict,offer_id,payout,currency,recorded_unix_ns,received_unix_ns,cap_window\n"
	const fullLine = "c,t,sale,over_cap,o,12.5,EUR,1700000000,1700000000000000001,w\n"
	for name, c := range map[string]struct {
		text    string
		columns Columns
		want    []Row
	}{
		"all columns":                     {header + fullLine, nil, []Row{full}},
		"byte order mark":                 {"\uFEFF" + header + fullLine, nil, []Row{full}},
		"Windows, quotes":                 {"\"click_id\",\"note\"\r\n\"c\",\"a \"\"b\"\",\r\nc\"\r\n", nil, []Row{least}},
		"only the ids":                    {"click_id\nc\n\nc", nil, []Row{least, least}},
		"no rows":                         {header, nil, nil},
		"an empty cell":                   {"click_id,payout,currency,event,recorded_unix_ns\nc,,,,\n", nil, []Row{least}},
		"an empty txid":                   {"click_id,txid\nc,\n", nil, []Row{{ClickID: []byte("c"), TxID: []byte{}, OfferID: []byte{}, Verdict: intent.Billable}}},
		"mapped, reversed":                {"sum,other,cid\n7,x,c\n", Columns{"click_id": "cid", "payout": "sum"}, []Row{{ClickID: []byte("c"), OfferID: []byte{}, Verdict: intent.Billable, Payout: 7_000_000, HasPayout: true}}},
		"mapped away":                     {"click_id,cid\nx,c\n", Columns{"click_id": "cid"}, []Row{least}},
		"the same header twice, not ours": {"click_id,a,a\nc,1,2\n", nil, []Row{least}},
	} {
		if got, err := readCSV(c.text, c.columns); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestReadCSVRefuses(t *testing.T) {
	const good = "click_id,payout,verdict,recorded_unix_ns,received_unix_ns\nc,1,billable,1,1\n"
	for name, c := range map[string]struct {
		text    string
		columns Columns
		want    string
	}{
		"nothing":            {"", nil, "l.csv:1: no header line"},
		"no click id":        {"cid,payout\n", nil, `l.csv:1: no column "click_id" for click_id; columns: cid, payout (map them with --columns click_id=…)`},
		"mapped nowhere":     {"click_id\n", Columns{"payout": "sum"}, `l.csv:1: no column "sum" for payout`},
		"a column twice":     {"click_id,payout,payout\n", nil, `l.csv:1: two columns "payout"`},
		"too few cells":      {good + "c,1\n", nil, "l.csv:3: wrong number of fields"},
		"too many cells":     {good + "c,1,billable,1,1,1\n", nil, "l.csv:3: wrong number of fields"},
		"stray quote":        {good + "c\"c,1,billable,1,1\n", nil, "l.csv:3: bare \" in non-quoted-field"},
		"unknown verdict":    {good + "\nc,1,paid,1,1\n", nil, `l.csv:4: verdict "paid" is unknown`},
		"no verdict":         {good + "c,1,,1,1\n", nil, `l.csv:3: verdict "" is unknown`},
		"bad payout":         {good[:strings.Index(good, "\n")+1] + "c,\"1,5\",billable,1,1\n", nil, `l.csv:2: payout "1,5": `},
		"bad recorded time":  {good + "c,1,billable,soon,1\n", nil, `l.csv:3: recorded_unix_ns: time "soon": want Unix s`},
		"bad received time":  {good + "c,1,billable,1,-1\n", nil, `l.csv:3: received_unix_ns: time "-1"`},
		"too long a row":     {good + "c,1,billable,1,1\n" + strings.Repeat("c", maxRowBytes+8192), nil, "l.csv:4: row longer than 65536 bytes"},
		"a quote left open":  {good + "\"" + strings.Repeat("c,\n", maxRowBytes), nil, "l.csv:3: row longer than 65536 bytes"},
		"too long a header":  {strings.Repeat("c,", maxRowBytes), nil, "l.csv:1: row longer than 65536 bytes"},
		"quote open at end":  {good + "\"c", nil, "l.csv:3: extraneous or missing \" in quoted-field"},
		"bad header":         {"click_id,\"\n", nil, "l.csv:1: extraneous or missing"},
		"rows without cells": {good + ",,,,\n", nil, "l.csv:3: verdict"},
	} {
		_, err := readCSV(c.text, c.columns)
		if err == nil || !strings.HasPrefix(err.Error(), "ledger cannot be read: "+c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
			continue
		}
		requireLedgerError(t, err)
	}
	broken := errors.New("broken")
	err := ReadCSV("l.csv", io.MultiReader(strings.NewReader(good), iotest.ErrReader(broken)), nil, func(*Row) {})
	if !errors.Is(err, broken) || !errors.Is(err, ErrLedger) || !strings.Contains(err.Error(), "l.csv:3: ") {
		t.Errorf("got %v, want the reader's error at line 3", err)
	}
}

// Long files of short rows are fine: the limit is one row's.
func TestReadCSVLongFile(t *testing.T) {
	const n = 3 * maxRowBytes / 10
	rows := 0
	err := ReadCSV("l", strings.NewReader("click_id\n"+strings.Repeat("0123456789\n", n)), nil, func(*Row) { rows++ })
	if err != nil || rows != n {
		t.Errorf("%d rows of %d, %v", rows, n, err)
	}
}

func TestParseTime(t *testing.T) {
	const noon = 1_704_110_400 // 2024-01-01 12:00:00 UTC
	for text, want := range map[string]int64{
		"":                               0,
		"0":                              0,
		"1704110400":                     noon * 1e9,
		"1704110400123":                  noon*1e9 + 123e6,
		"1704110400123456":               noon*1e9 + 123456e3,
		"1704110400123456789":            noon*1e9 + 123456789,
		"9223372035":                     9223372035 * 1e9, // the last second
		"9223372036":                     9223372036 * 1e6, // in April 1970
		"9223372035999":                  9223372035999 * 1e6,
		"9223372036000":                  9223372036000 * 1e3,
		"9223372036000000":               9223372036000000,
		"9223372036854775807":            9223372036854775807,
		"2024-01-01T12:00:00Z":           noon * 1e9,
		"2024-01-01T13:00:00.5+01:00":    noon*1e9 + 5e8,
		"2024-01-01 12:00:00":            noon * 1e9,
		"2024-01-01 12:00:00.999":        noon*1e9 + 999e6,
		"2024-01-01 12:00:00.123456789":  noon*1e9 + 123456789,
		"2024-01-01 12:00:00+00":         noon * 1e9,
		"2024-01-01 17:30:00.25+05:30":   noon*1e9 + 25e7,
		"2024-01-01 07:00:00.000001-05":  noon*1e9 + 1000,
		"2024-01-01 12:00:00Z":           noon * 1e9,
		"1970-01-01 00:00:00":            0,
		"2262-04-11 23:47:15.999999999Z": 9223372035999999999,
	} {
		if got, err := parseTime(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"-1", "9223372036854775808", "1.5e9", "1704110400.5", "12:00", "2024-01-01", "2024-13-01 00:00:00",
		"1969-12-31 23:59:59", "2263-01-01 00:00:00", "9999-12-31T23:59:59Z", "01/02/2024 12:00:00", " 1", "null"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

// A CSV ledger leads to the same sheet as NDJSON with the same rows.
func TestCSVAndNDJSONAgree(t *testing.T) {
	h := flawless(t)
	want := h.judge()
	var text bytes.Buffer
	fmt.Fprintln(&text, "cid,tx,event,verdict,offer_id,sum,currency,at")
	for _, r := range h.rows {
		fmt.Fprintf(&text, "%s,%s,%s,%s,%s,%s,%s,%d\n", r.ClickID, r.TxID, r.Event, r.Verdict, r.OfferID, r.Payout, r.Currency, r.RecordedUnixNs)
	}
	columns, err := ParseColumns("click_id=cid,txid=tx,payout=sum,recorded_unix_ns=at")
	if err != nil {
		t.Fatal(err)
	}
	if h.rows, err = readCSV(text.String(), columns); err != nil {
		t.Fatal(err)
	}
	requireSame(t, "NDJSON", h.judge(), want)
}

func FuzzReadCSV(f *testing.F) {
	f.Add([]byte("click_id,txid,event,verdict,offer_id,payout,currency,recorded_unix_ns,received_unix_ns,cap_window\nc,t,sale,late,o,1,EUR,1,2024-01-01 00:00:00,w\n"), "")
	f.Add([]byte("\uFEFFcid,\"sum\"\r\n\"a\"\"\n\",1\n"), "click_id=cid,payout=sum")
	f.Add([]byte("click_id\n\"\n,"), "click_id=click_id")
	f.Fuzz(func(t *testing.T, text []byte, mapping string) {
		columns, err := ParseColumns(mapping)
		if err != nil {
			return
		}
		if err := ReadCSV("f", bytes.NewReader(text), columns, checkRow(t)); err != nil {
			if !errors.Is(err, ErrLedger) || !strings.HasPrefix(err.Error(), "ledger cannot be read: f:") {
				t.Fatalf("%q", err)
			}
		}
	})
}
