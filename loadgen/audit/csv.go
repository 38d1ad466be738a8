package audit

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Columns maps the ledger's field names to the header of a CSV export. A field
// that is not mapped is looked for under its own name.
type Columns map[string]string

// ledgerFields are the fields of a row that a CSV may carry.
func ledgerFields() []string {
	return []string{"click_id", "txid", "event", "verdict", "offer_id", "payout", "currency",
		"recorded_unix_ns", "received_unix_ns", "cap_window"}
}

// ParseColumns reads "click_id=cid,payout=sum".
func ParseColumns(text string) (Columns, error) {
	columns := Columns{}
	if text == "" {
		return columns, nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		field, header, ok := strings.Cut(pair, "=")
		if !ok || header == "" {
			return nil, fmt.Errorf("column mapping %q: want field=header", pair)
		}
		if !slices.Contains(ledgerFields(), field) {
			return nil, fmt.Errorf("column mapping %q: no field %q; fields: %s", pair, field, strings.Join(ledgerFields(), ", "))
		}
		columns[field] = header
	}
	return columns, nil
}

// ReadCSV calls visit for every row of a CSV ledger with a header line. Only
// click_id is required; without a verdict column every row counts as
// billable. Times are Unix seconds, ms, µs or ns (told apart by their size),
// RFC 3339, or "2006-01-02 15:04:05.999" in UTC. Errors name source and line.
func ReadCSV(source string, r io.Reader, columns Columns, visit func(*Row)) error {
	reader := csv.NewReader(r)
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err != nil {
		return fmt.Errorf("%w: %s: no header line: %w", ErrLedger, source, err)
	}
	positions, err := locate(header, columns)
	if err != nil {
		return fmt.Errorf("%w: %s:1: %w", ErrLedger, source, err)
	}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrLedger, source, err)
		}
		row, err := csvRow(record, positions)
		if err != nil {
			line, _ := reader.FieldPos(0)
			return fmt.Errorf("%w: %s:%d: %w", ErrLedger, source, line, err)
		}
		visit(&row)
	}
}

// locate returns the column of each ledger field; absent fields are left out.
func locate(header []string, columns Columns) (map[string]int, error) {
	positions := map[string]int{}
	for _, field := range ledgerFields() {
		name, mapped := columns[field]
		if !mapped {
			name = field
		}
		position := slices.Index(header, name)
		if position < 0 && (mapped || field == "click_id") {
			return nil, fmt.Errorf("no column %q for %s; columns: %s (map them with --columns %s=…)", name, field, strings.Join(header, ", "), field)
		}
		if position >= 0 {
			positions[field] = position
		}
	}
	return positions, nil
}

func csvRow(record []string, positions map[string]int) (Row, error) {
	get := func(field string) string {
		if position, ok := positions[field]; ok {
			return record[position]
		}
		return ""
	}
	text := rowText{clickID: get("click_id"), txID: get("txid"), event: get("event"), verdict: get("verdict"),
		offerID: get("offer_id"), payout: get("payout"), currency: get("currency"), capWindow: get("cap_window")}
	if _, ok := positions["verdict"]; !ok {
		text.verdict = "billable"
	}
	row, err := text.row()
	if err != nil {
		return Row{}, err
	}
	if row.RecordedUnixNs, err = parseTime(get("recorded_unix_ns")); err != nil {
		return Row{}, fmt.Errorf("recorded_unix_ns: %w", err)
	}
	if row.ReceivedUnixNs, err = parseTime(get("received_unix_ns")); err != nil {
		return Row{}, fmt.Errorf("received_unix_ns: %w", err)
	}
	return row, nil
}

// parseTime returns Unix ns; 0 for an empty text.
func parseTime(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		// 1e11 s is the year 5138, 1e11 ms is 1973: the ranges of plausible
		// times in the four units do not overlap.
		for unit := int64(1e9); unit > 1; unit /= 1000 {
			if n < 1e11*(1e9/unit) {
				return n * unit, nil
			}
		}
		return n, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixNano(), nil
		}
	}
	return 0, fmt.Errorf("time %q: want Unix s, ms, µs or ns, RFC 3339, or 2006-01-02 15:04:05 (UTC)", text)
}
