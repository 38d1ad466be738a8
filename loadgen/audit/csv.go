package audit

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/intent"
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
		if _, mapped := columns[field]; mapped {
			return nil, fmt.Errorf("column mapping %q: %s is mapped twice", pair, field)
		}
		columns[field] = header
	}
	return columns, nil
}

// ReadCSV calls visit for every row of a CSV ledger with a header line. Only
// click_id is required; without a verdict column every row counts as
// billable. Times are Unix seconds, ms, µs or ns (told apart by their size),
// RFC 3339, or "2006-01-02 15:04:05.999", in UTC unless "+02" or "+02:00"
// follows. Errors name source and line.
func ReadCSV(source string, r io.Reader, columns Columns, visit func(*Row)) error {
	limited := &rowLimit{r: r}
	reader := csv.NewReader(limited)
	reader.ReuseRecord = true
	line := 0
	fail := func(err error) error {
		return fmt.Errorf("%w: %s:%d: %w", ErrLedger, source, line, err)
	}
	next := func() ([]string, error) {
		limited.left = maxRowBytes
		record, err := reader.Read()
		var syntax *csv.ParseError
		switch {
		case errors.As(err, &syntax):
			line, err = syntax.Line, syntax.Err
		case err != nil:
			line++
		default:
			line, _ = reader.FieldPos(0)
		}
		return record, err
	}
	header, err := next()
	if errors.Is(err, io.EOF) {
		err = errors.New("no header line")
	}
	if err != nil {
		return fail(err)
	}
	positions, err := locate(header, columns)
	if err != nil {
		return fail(err)
	}
	seen := garbles{}
	for {
		record, err := next()
		if errors.Is(err, io.EOF) {
			return seen.err()
		}
		if err != nil {
			return fail(err)
		}
		row, err := csvRow(record, positions)
		if err != nil {
			return fail(err)
		}
		seen.row(&row, source, line)
		visit(&row)
	}
}

// rowLimit bounds what is read for one row, whatever its quotes enclose. The
// CSV reader reads ahead, so the bound is not exact.
type rowLimit struct {
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (l *rowLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("row longer than %d bytes", maxRowBytes)
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}

// locate returns the column of each ledger field; absent fields are left out.
func locate(header []string, columns Columns) (map[string]int, error) {
	header[0] = strings.TrimPrefix(header[0], "\uFEFF") // spreadsheets write it
	positions := map[string]int{}
	for _, field := range ledgerFields() {
		name, mapped := columns[field]
		if !mapped {
			name = field
		}
		position := slices.Index(header, name)
		switch {
		case position < 0 && (mapped || field == "click_id"):
			return nil, fmt.Errorf("no column %q for %s; columns: %.200s (map them with --columns %s=…)", name, field, strings.Join(header, ", "), field)
		case position < 0:
			continue
		case slices.Contains(header[position+1:], name):
			return nil, fmt.Errorf("two columns %q", name)
		}
		positions[field] = position
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
	text := rowText{clickID: get("click_id"), event: get("event"), verdict: get("verdict"),
		offerID: get("offer_id"), payout: get("payout"), currency: get("currency"), capWindow: get("cap_window")}
	if _, ok := positions["txid"]; ok {
		text.txID = []byte(get("txid"))
	}
	if _, ok := positions["verdict"]; !ok {
		text.verdict = intent.Billable.String()
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
	// ns in an int64 end at 9.2e9 s, in the year 2262. 9.2e9 ms were in April
	// 1970: the ranges of plausible times in the four units do not overlap.
	const endS = int64(math.MaxInt64 / 1_000_000_000)
	n, err := strconv.ParseInt(text, 10, 64)
	for unitNs := int64(1e9); err == nil && n >= 0; unitNs /= 1000 {
		if n < endS*(1e9/unitNs) || unitNs == 1 {
			return n * unitNs, nil
		}
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateTime + "Z07:00", time.DateTime + "Z07"} {
		t, err := time.Parse(layout, text)
		if err == nil && t.Unix() >= 0 && t.Unix() < endS {
			return t.UnixNano(), nil
		}
	}
	return 0, fmt.Errorf("time %.40q: want Unix s, ms, µs or ns, RFC 3339, or 2006-01-02 15:04:05 (UTC), from 1970 to 2262", text)
}
