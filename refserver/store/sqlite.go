package store

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Limits of a store on SQLite.
const (
	// maxReaders bounds the reader pool; further readers wait for a connection
	// within their deadline and get ErrBusy after it.
	maxReaders = 4
	// busyTimeoutMs is how long SQLite itself waits for a lock of another process.
	busyTimeoutMs = 5_000
	// writerCacheKiB keeps the upper B-tree levels of some million clicks in memory.
	writerCacheKiB = 64 << 10
	// fileName is the database inside the data directory.
	fileName = "postbench.db"
)

//go:embed schema.sql
var schemaSQL string

// Options says where and how to keep the data.
type Options struct {
	// Dir is created if missing.
	Dir string
	// AtomicCaps reads the cap counter inside the transaction that inserts.
	// Without it the counter is read in a statement of its own before, as
	// ordinary code does, and concurrent conversions can pass the cap.
	AtomicCaps bool
	// Clicks is where the clicks are; nil means in the same database.
	Clicks Clicks
	// Now is the clock that stamps rows and times stages.
	Now func() time.Time
}

// Open opens the store on the SQLite file in options.Dir and creates it if
// missing: one writing connection and a bounded pool of readers, WAL.
func Open(ctx context.Context, options Options) (*SQL, error) {
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(options.Dir, fileName))
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &SQL{atomicCaps: options.AtomicCaps, clicks: options.Clicks, now: options.Now,
		engine: "sqlite", dialect: sqliteDialect(), afterCheck: func() {}}
	if err := s.openSQLite(ctx, path); err != nil {
		return nil, cmp.Or(fmt.Errorf("open store %s: %w", path, err), s.Close())
	}
	return s, nil
}

func sqliteDialect() *dialect {
	return &dialect{
		divide:   "/",
		orAddOne: "ON CONFLICT DO UPDATE SET billable = billable + 1",
		orKeep:   "ON CONFLICT DO NOTHING",
		// Measured with this driver, statements of 50 to 1,000 rows are a third slower.
		loadRows: 1,
		// A bulk load leaves a long log, and folding it in would otherwise be
		// paid by one of the first postbacks.
		afterLoad: "PRAGMA wal_checkpoint(TRUNCATE)",
	}
}

func (s *SQL) openSQLite(ctx context.Context, path string) (err error) {
	common := url.Values{"_busy_timeout": {fmt.Sprint(busyTimeoutMs)}}
	write := url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_txlock":       {"immediate"},
		// Only macOS knows the second one: fsync alone does not reach its disk.
		"_pragma": {fmt.Sprintf("cache_size(-%d)", writerCacheKiB), "fullfsync(1)"},
	}
	if s.writer, err = openSQLitePool(path, 1, common, write); err != nil {
		return err
	}
	if err := s.createSQLiteSchema(ctx); err != nil {
		return err
	}
	if s.readers, err = openSQLitePool(path, maxReaders, common, url.Values{"_query_only": {"1"}}); err != nil {
		return err
	}
	if err := s.readers.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&s.version); err != nil {
		return err
	}
	return s.prepare(ctx)
}

func openSQLitePool(path string, connections int, settings ...url.Values) (*sql.DB, error) {
	query := url.Values{}
	for _, values := range settings {
		for key, value := range values {
			query[key] = value
		}
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func (s *SQL) createSQLiteSchema(ctx context.Context) error {
	var version int
	if err := s.writer.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version == schemaVersion {
		return nil
	}
	if version != 0 {
		return fmt.Errorf("schema version %d, this program knows %d; use another data directory", version, schemaVersion)
	}
	return s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, schemaSQL+fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion))
		return err
	})
}
