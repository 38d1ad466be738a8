// Package clickhouse keeps the clicks in ClickHouse, as the 2022 stack does:
// attribution is a query on the request path, over the native protocol; a
// population is loaded over the HTTP interface. It is written for the servers
// of 18.16 to today.
//
// The table is clicks(click_id String, offer_id String, clicked_unix_s Int64),
// ordered by click_id. Between loads it holds every click once, so that any
// client may ask it with a plain WHERE click_id = ….
package clickhouse

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"sync/atomic"
	"time"

	native "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/postbench/postbench/refserver/store"
)

// Limits of the two clients.
const (
	// maxConns bounds the attributions on their way at once; the others wait
	// for connectTimeout. It is well below the 100 queries that a server takes
	// by default.
	maxConns = 32
	// connectTimeout bounds the wait for a free connection, the dial included.
	connectTimeout = time.Second
	// answerTimeout bounds one attribution for callers without a deadline.
	answerTimeout = 10 * time.Second
	// openTimeout bounds Open.
	openTimeout = 10 * time.Second
)

// Codes of ClickHouse's exceptions.
const (
	codeTableExists       = 57
	codeTimeoutExceeded   = 159
	codeTooManyQueries    = 202
	codeMemoryLimitPassed = 241
)

const (
	table   = "clicks"
	staging = "clicks_loading"

	// The engine keeps the last row of a click_id when it merges: that is how
	// a load replaces clicks.
	createTable = `CREATE TABLE IF NOT EXISTS ` + table + ` (click_id String, offer_id String, clicked_unix_s Int64)
		ENGINE = ReplacingMergeTree() ORDER BY click_id`

	selectColumns = `SELECT click_id, offer_id, clicked_unix_s FROM ` + table + ` LIMIT 0`

	selectClick = `SELECT offer_id, clicked_unix_s FROM ` + table + ` WHERE click_id = ? LIMIT 1`
)

var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// Options says which server to use.
type Options struct {
	// Native and HTTP are the "host:port" of the two protocols of one server.
	Native, HTTP string
	// Database is created if missing; letters, digits and underscores.
	Database string
	// User and Password are for a server that wants them; "" is its default user.
	User, Password string
}

var _ store.Clicks = (*Clicks)(nil)

// Clicks are the clicks of one database. It is safe for concurrent use; only
// one process may load at a time.
type Clicks struct {
	options Options
	conn    driver.Conn
	http    *http.Client
	loading chan struct{} // holds one token while a load runs
	unclean bool          // the last load's table is still there; the token guards it
	version string
	queries atomic.Int64
}

// Open connects, and creates database and table if they are missing. What a
// load that died has left behind is removed. It is done or has failed within
// openTimeout.
func Open(ctx context.Context, options Options) (*Clicks, error) {
	if !databaseName.MatchString(options.Database) {
		return nil, fmt.Errorf("open clickhouse: database %.80q: expected a name of letters, digits and underscores", options.Database)
	}
	conn, err := native.Open(&native.Options{
		Addr:        []string{options.Native},
		Auth:        native.Auth{Database: options.Database, Username: options.User, Password: options.Password},
		DialTimeout: connectTimeout, ReadTimeout: answerTimeout,
		MaxOpenConns: maxConns, MaxIdleConns: maxConns,
	})
	if err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	c := &Clicks{options: options, conn: conn, http: newHTTPClient(), loading: make(chan struct{}, 1)}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := c.open(ctx); err != nil {
		return nil, cmp.Or(wrap(ctx, fmt.Sprintf("open clickhouse at %s (HTTP) and %s (native)", options.HTTP, options.Native), err), c.Close())
	}
	return c, nil
}

func (c *Clicks) open(ctx context.Context) (err error) {
	if c.version, err = c.do(ctx, "", "SELECT version()", nil); err != nil {
		return err
	}
	if _, err := c.do(ctx, "", "CREATE DATABASE IF NOT EXISTS "+c.options.Database, nil); err != nil {
		return err
	}
	for _, statement := range []string{createTable, selectColumns, dropStaging} {
		if _, err := c.do(ctx, c.options.Database, statement, nil); err != nil {
			return err
		}
	}
	return c.conn.Ping(ctx)
}

// Attribute looks up the click. Unknown clicks are no error. store.ErrBusy when
// ctx ends first, or when the server has too much in work.
func (c *Clicks) Attribute(ctx context.Context, clickID string) (store.Attribution, error) {
	c.queries.Add(1)
	found := store.Attribution{Found: true}
	err := c.conn.QueryRow(ctx, selectClick, clickID).Scan(&found.OfferID, &found.ClickedUnixS)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Attribution{}, nil
	}
	if err != nil {
		return store.Attribution{}, wrap(ctx, "attribute click in clickhouse", err)
	}
	return found, nil
}

// Version is the server's version, "18.16.1".
func (c *Clicks) Version() string { return c.version }

// Queries is how many attributions were asked for, answered or not.
func (c *Clicks) Queries() int64 { return c.queries.Load() }

// Close ends the connections. What was loaded stays.
func (c *Clicks) Close() error {
	c.http.CloseIdleConnections()
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close clickhouse: %w", err)
	}
	return nil
}

// wrap names the operation and turns every form of "not in time" into
// store.ErrBusy: where a deadline falls decides who notices it first, the
// context, the socket or the server.
func wrap(ctx context.Context, operation string, err error) error {
	if err == nil {
		return nil
	}
	var timeout net.Error
	late := ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, native.ErrAcquireConnTimeout) ||
		errors.As(err, &timeout) && timeout.Timeout()
	if late || busy(err) {
		return fmt.Errorf("%s: %w: %w", operation, store.ErrBusy, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}

// busy reports whether the server itself says that it is.
func busy(err error) bool {
	code := 0
	var overNative *native.Exception
	var overHTTP *serverError
	switch {
	case errors.As(err, &overNative):
		code = int(overNative.Code)
	case errors.As(err, &overHTTP):
		code = overHTTP.code
	}
	return code == codeTimeoutExceeded || code == codeTooManyQueries || code == codeMemoryLimitPassed
}
