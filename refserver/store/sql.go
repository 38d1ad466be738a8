package store

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Limits of the SQL store.
const (
	// maxReaders bounds the reader pool; further readers wait for a connection
	// within their deadline and get ErrBusy after it.
	maxReaders = 4
	// busyTimeoutMs is how long SQLite itself waits for a lock of another process.
	busyTimeoutMs = 5_000
	// writerCacheKiB keeps the upper B-tree levels of some million clicks in memory.
	writerCacheKiB = 64 << 10
	// ledgerPageRows is how many rows are read at once; no connection is held
	// while a slow reader takes them.
	ledgerPageRows = 2_048
	// schemaVersion is kept in the file, so that a later program never
	// misreads an older one's data.
	schemaVersion = 2
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
	// Now is the clock that stamps rows and times stages.
	Now func() time.Time
}

// SQL is a store on one SQLite file: one writing connection and a bounded pool
// of readers, WAL, every commit synced to the disk before it returns. It is
// safe for concurrent use.
type SQL struct {
	options         Options
	writer, readers *sql.DB
	version         string

	findClick, pageConversions, pageConflicts *sql.Stmt

	readerChecks, writerChecks checks
	insert, bump, keepConflict *sql.Stmt

	// afterCheck is a seam for tests: it runs between decision and insert.
	afterCheck func()
}

// checks are the two reads that a decision needs.
type checks struct{ existing, offer *sql.Stmt }

// Open opens the store in options.Dir and creates it if missing.
func Open(ctx context.Context, options Options) (*SQL, error) {
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(options.Dir, fileName))
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &SQL{options: options, afterCheck: func() {}}
	if err := s.open(ctx, path); err != nil {
		return nil, cmp.Or(fmt.Errorf("open store %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *SQL) open(ctx context.Context, path string) (err error) {
	common := url.Values{"_busy_timeout": {fmt.Sprint(busyTimeoutMs)}}
	write := url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_txlock":       {"immediate"},
		// Only macOS knows the second one: fsync alone does not reach its disk.
		"_pragma": {fmt.Sprintf("cache_size(-%d)", writerCacheKiB), "fullfsync(1)"},
	}
	if s.writer, err = openPool(path, 1, common, write); err != nil {
		return err
	}
	if err := s.createSchema(ctx); err != nil {
		return err
	}
	if s.readers, err = openPool(path, maxReaders, common, url.Values{"_query_only": {"1"}}); err != nil {
		return err
	}
	if err := s.readers.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&s.version); err != nil {
		return err
	}
	return s.prepare(ctx)
}

func openPool(path string, connections int, settings ...url.Values) (*sql.DB, error) {
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

func (s *SQL) createSchema(ctx context.Context) error {
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

func (s *SQL) prepare(ctx context.Context) error {
	for _, p := range []struct {
		stmt **sql.Stmt
		db   *sql.DB
		text string
	}{
		{&s.findClick, s.readers, `SELECT offer_id, clicked_unix_s FROM clicks WHERE click_id = ?`},
		{&s.pageConversions, s.readers, selectConversions},
		{&s.pageConflicts, s.readers, selectConflicts},
		{&s.readerChecks.existing, s.readers, selectExisting},
		{&s.readerChecks.offer, s.readers, selectOffer},
		{&s.writerChecks.existing, s.writer, selectExisting},
		{&s.writerChecks.offer, s.writer, selectOffer},
		{&s.insert, s.writer, insertConversion},
		{&s.bump, s.writer, bumpCounter},
		{&s.keepConflict, s.writer, insertConflict},
	} {
		var err error
		if *p.stmt, err = p.db.PrepareContext(ctx, p.text); err != nil {
			return fmt.Errorf("prepare %q: %w", p.text, err)
		}
	}
	return nil
}

// Version is SQLite's version, "3.54.1".
func (s *SQL) Version() string { return s.version }

// Close waits for what runs, folds the log into the database file and closes
// it. Without a Close nothing is lost: the next Open reads the log.
func (s *SQL) Close() error {
	var err error
	for _, pool := range []*sql.DB{s.readers, s.writer} {
		if pool != nil {
			err = cmp.Or(err, pool.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// inTx runs body in one BEGIN IMMEDIATE transaction. ctx bounds the wait for
// the writer only: a transaction that has begun is never cut off in the
// middle, and body gets a context that never ends.
func (s *SQL) inTx(ctx context.Context, body func(context.Context, *sql.Tx) error) error {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // hands the connection back
	endless := context.WithoutCancel(ctx)
	tx, err := conn.BeginTx(endless, nil)
	if err != nil {
		return err
	}
	if err := body(endless, tx); err != nil {
		return cmp.Or(err, tx.Rollback())
	}
	return tx.Commit()
}

// wrap names the operation and turns every form of "not in time" into ErrBusy.
func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	var fromSQLite *sqlite.Error
	busy := errors.As(err, &fromSQLite) && fromSQLite.Code()&0xff == sqlite3.SQLITE_BUSY
	if busy || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w: %w", operation, ErrBusy, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}
