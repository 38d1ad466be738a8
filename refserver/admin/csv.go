package admin

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/store"
)

const (
	// maxLineBytes bounds a line of a population file; the longest valid one
	// has under 300 bytes.
	maxLineBytes = 4_096
	// maxUnixS is the end of the year 9999. A click time in milliseconds, the
	// usual mistake, lies beyond it.
	maxUnixS = 253_402_300_799
	// maxCap leaves an offer's counter far from overflow.
	maxCap = 1_000_000_000_000
)

// csvError is a mistake in a population file. Line counts from 1, the header
// included.
type csvError struct {
	Line   int
	Reason string
}

func (e *csvError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// table says how a population file is read: its exact header, a last column
// that older files lack ("" = none), and what a line under it means. A line has
// as many fields as its header.
type table[T any] struct {
	header, added string
	parse         func(fields []string) (T, error)
}

// rows reads the file line by line; memory does not grow with it. The sequence
// ends with the first error: a *csvError, or the reader's own.
func (t table[T]) rows(r io.Reader) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, maxLineBytes), maxLineBytes)
		line, header := 0, ""
		for lines.Scan() {
			line++
			row, err := none, error(nil)
			if line == 1 {
				header, err = t.readHeader(lines.Bytes())
			} else {
				row, err = t.row(header, lines.Text())
			}
			if err != nil {
				yield(none, &csvError{line, err.Error()})
				return
			}
			if line > 1 && !yield(row, nil) {
				return
			}
		}
		if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
			yield(none, &csvError{line + 1, fmt.Sprintf("longer than %d bytes", maxLineBytes)})
		} else if err != nil {
			yield(none, err)
		} else if line == 0 {
			yield(none, &csvError{1, fmt.Sprintf("empty, expected the header %q", t.headers())})
		}
	}
}

// readHeader returns the file's header, which is one of the table's.
func (t table[T]) readHeader(line []byte) (string, error) {
	header := string(bytes.TrimPrefix(line, []byte("\ufeff")))
	if header == t.header || t.added != "" && header == t.header+","+t.added {
		return header, nil
	}
	return "", fmt.Errorf("header %.80q, expected %q", header, t.headers())
}

// headers writes all headers that are right in one.
func (t table[T]) headers() string {
	if t.added == "" {
		return t.header
	}
	return t.header + "[," + t.added + "]"
}

func (t table[T]) row(header, line string) (row T, err error) {
	want := strings.Count(header, ",") + 1
	fields := strings.Split(line, ",")
	if strings.Contains(line, `"`) { // the few quoted lines pay for a real reader
		if fields, err = csv.NewReader(strings.NewReader(line)).Read(); err != nil {
			return row, errors.New("bad quotes")
		}
	}
	if len(fields) != want {
		return row, fmt.Errorf("%d fields, expected %d (%s)", len(fields), want, header)
	}
	return t.parse(fields)
}

func clickTable() table[store.Click] {
	return table[store.Click]{"click_id,offer_id,clicked_unix_s", "", func(f []string) (c store.Click, err error) {
		err = cmp.Or(
			readID(&c.ClickID, "click_id", f[0], postback.MaxClickIDBytes),
			readID(&c.OfferID, "offer_id", f[1], postback.MaxOfferIDBytes),
			readCount(&c.ClickedUnixS, "clicked_unix_s", f[2], maxUnixS))
		return c, err
	}}
}

func offerTable() table[store.Offer] {
	return table[store.Offer]{"offer_id,cap,payout,currency,attribution_window_s", "cap_window_s", func(f []string) (o store.Offer, err error) {
		err = cmp.Or(
			readID(&o.OfferID, "offer_id", f[0], postback.MaxOfferIDBytes),
			readCount(&o.Cap, "cap", f[1], maxCap),
			readPayout(&o.Payout, f[2]),
			readCurrency(&o.Currency, f[3]),
			readCount(&o.AttributionWindowS, "attribution_window_s", f[4], maxUnixS))
		if err == nil && len(f) > 5 {
			err = readCount(&o.CapWindowS, "cap_window_s", f[5], store.MaxCapWindowS)
		}
		return o, err
	}}
}

func keyTable() table[store.Key] {
	return table[store.Key]{"kid,secret_hex", "", func(f []string) (k store.Key, err error) {
		k.KID = f[0]
		if k.Secret, err = hex.DecodeString(f[1]); err != nil {
			return k, errors.New("secret_hex is not hexadecimal") // the secret itself stays out of logs
		}
		return k, postback.CheckKey(k.KID, k.Secret)
	}}
}

func readID(dst *string, name, field string, maxBytes int) error {
	if field == "" || len(field) > maxBytes || !accept.IsText([]byte(field)) {
		return fmt.Errorf("%s %.40q: expected 1 to %d bytes of text", name, field, maxBytes)
	}
	*dst = field
	return nil
}

func readCount(dst *int64, name, field string, most int64) error {
	n, err := strconv.ParseInt(field, 10, 64)
	if err != nil || n < 0 || n > most {
		return fmt.Errorf("%s %.40q: expected an integer from 0 to %d", name, field, most)
	}
	*dst = n
	return nil
}

func readPayout(dst *postback.Money, field string) error {
	payout, err := postback.ParseMoney([]byte(field))
	if err != nil || payout < 0 {
		return fmt.Errorf("payout %.40q: expected an amount such as 12.5", field)
	}
	*dst = payout
	return nil
}

// readCurrency takes an empty field for "not given".
func readCurrency(dst *postback.Currency, field string) (err error) {
	if field == "" {
		return nil
	}
	if *dst, err = postback.ParseCurrency([]byte(field)); err != nil {
		return fmt.Errorf("currency %.40q: expected a code such as EUR", field)
	}
	return nil
}
