package clickhouse

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/postbench/postbench/refserver/store"
)

const (
	// loadCheckRows is how often a load looks whether its caller has given up.
	loadCheckRows = 1_024
	// loadBufferBytes is how much is sent at once.
	loadBufferBytes = 64 << 10
	// dropTimeout bounds the removal of a failed load's rows.
	dropTimeout = 10 * time.Second
)

const (
	dropStaging   = "DROP TABLE IF EXISTS " + staging
	createStaging = "CREATE TABLE " + staging + " AS " + table
	// attachOld takes the present clicks in, as hard links.
	attachOld = "ALTER TABLE " + staging + " ATTACH PARTITION tuple() FROM " + table
	insertNew = "INSERT INTO " + staging + " (click_id, offer_id, clicked_unix_s) FORMAT TabSeparated"
	// mergeAll leaves one part with every click once: its last row.
	mergeAll = "OPTIMIZE TABLE " + staging + " FINAL"
	// replaceAll is what makes the load visible, to every query at once.
	replaceAll = "ALTER TABLE " + table + " REPLACE PARTITION tuple() FROM " + staging
)

// LoadClicks stores all clicks or, at the first error of the sequence, none,
// and returns the number of rows. A click that is there is replaced, by the
// last one of its id. The rows stream into a table of their own beside the
// present clicks; it takes their place when it is complete. So attributions
// see all of a load or nothing of it, whatever dies meanwhile.
//
// Loads of this process wait for each other; store.ErrBusy when ctx ends first,
// or when another process is loading.
func (c *Clicks) LoadClicks(ctx context.Context, clicks iter.Seq2[store.Click, error]) (n int64, err error) {
	const operation = "load clicks into clickhouse"
	select {
	case c.loading <- struct{}{}:
		defer func() { <-c.loading }()
	case <-ctx.Done():
		return 0, wrap(ctx, operation, ctx.Err())
	}
	if c.unclean {
		if err := c.drop(ctx); err != nil {
			return 0, wrap(ctx, operation, err)
		}
	}
	var exists *serverError
	switch _, err := c.do(ctx, c.options.Database, createStaging, nil); {
	case errors.As(err, &exists) && exists.code == codeTableExists:
		return 0, fmt.Errorf("%s: %w: another process is loading; if it died, restart this one: %w", operation, store.ErrBusy, err)
	case err != nil:
		c.unclean = true // it may have come into being
		return 0, wrap(ctx, operation, err)
	}
	n, err = c.replace(ctx, clicks)
	_ = c.drop(ctx) // a failure is made good by the next load; this one is decided
	return n, wrap(ctx, operation, err)
}

// replace returns 0 rows with every error.
func (c *Clicks) replace(ctx context.Context, clicks iter.Seq2[store.Click, error]) (int64, error) {
	if _, err := c.do(ctx, c.options.Database, attachOld, nil); err != nil {
		return 0, err
	}
	n, err := c.insert(ctx, clicks)
	if err != nil || n == 0 {
		return 0, err
	}
	for _, statement := range []string{mergeAll, replaceAll} {
		if _, err := c.do(ctx, c.options.Database, statement, nil); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// insert streams the rows as one request. The sequence is read by the caller's
// goroutine: it is not touched any more once this returns.
func (c *Clicks) insert(ctx context.Context, clicks iter.Seq2[store.Click, error]) (int64, error) {
	reader, writer := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		_, err := c.do(ctx, c.options.Database, insertNew, reader)
		_ = reader.CloseWithError(errAnswered) // the writer must not wait for a reader that has gone
		answered <- err
	}()
	n, err := writeRows(ctx, writer, clicks)
	_ = writer.CloseWithError(err) // nil is the end of the rows
	fromServer := <-answered
	if errors.Is(err, errAnswered) {
		err = nil // why it answered before the end is in the answer
	}
	if err := cmp.Or(err, fromServer); err != nil {
		return 0, err
	}
	return n, nil
}

// errAnswered is what a writer gets whose request is over before its end.
var errAnswered = errors.New("clickhouse answered before the last row")

func writeRows(ctx context.Context, w io.Writer, clicks iter.Seq2[store.Click, error]) (n int64, err error) {
	buffer := bufio.NewWriterSize(w, loadBufferBytes)
	var line []byte
	for click, err := range clicks {
		if err == nil && n%loadCheckRows == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return n, err
		}
		line = appendRow(line[:0], click)
		if _, err := buffer.Write(line); err != nil {
			return n, err
		}
		n++
	}
	return n, buffer.Flush()
}

// appendRow writes a row of the format TabSeparated.
func appendRow(dst []byte, click store.Click) []byte {
	dst = append(appendEscaped(dst, click.ClickID), '\t')
	dst = append(appendEscaped(dst, click.OfferID), '\t')
	return append(strconv.AppendInt(dst, click.ClickedUnixS, 10), '\n')
}

// appendEscaped leaves no byte that the format gives a meaning to. Every other
// byte, and what is no UTF-8, stands for itself.
func appendEscaped(dst []byte, text string) []byte {
	for i := range len(text) {
		switch b := text[i]; b {
		case '\t':
			dst = append(dst, `\t`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\\':
			dst = append(dst, `\\`...)
		default:
			dst = append(dst, b)
		}
	}
	return dst
}

// drop removes the table of a load, also one whose caller has given up.
func (c *Clicks) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	_, err := c.do(ctx, c.options.Database, dropStaging, nil)
	c.unclean = err != nil
	return err
}
