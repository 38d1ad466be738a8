package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Limits of the SQL store.
const (
	// ledgerPageRows is how many rows are read at once; no connection is held
	// while a slow reader takes them.
	ledgerPageRows = 2_048
	// schemaVersion is kept in the database, so that a later program never
	// misreads an older one's data.
	schemaVersion = 2
	// maxRetries is how often a transaction runs again that the database has
	// rolled back for a deadlock. ErrBusy after that.
	maxRetries = 8
)

// SQL is a store on an SQL database. It is safe for concurrent use, and every
// commit is synced to the disk before it returns.
type SQL struct {
	atomicCaps bool
	clicks     Clicks // nil: they are in this database
	now        func() time.Time

	dialect         *dialect
	writer, readers *sql.DB // the same pool where transactions run side by side
	engine, version string

	findClick, pageConversions, pageConflicts *sql.Stmt

	readerChecks, writerChecks checks
	insert, bump, keepConflict *sql.Stmt
	touch                      *sql.Stmt // nil: see sync

	counts counts

	// afterCheck is a seam for tests: it runs between decision and insert.
	afterCheck func()
}

type counts struct {
	selects, writes, transactions, retries, clicks atomic.Int64

	touches atomic.Int64
}

// Queries returns what the store's postbacks have cost since it was opened.
func (s *SQL) Queries() Queries {
	return Queries{Selects: s.counts.selects.Load(), Writes: s.counts.writes.Load(), Clicks: s.counts.clicks.Load(),
		Transactions: s.counts.transactions.Load(), Retries: s.counts.retries.Load()}
}

// Engine is the database's name: "sqlite", "mariadb" or "mysql".
func (s *SQL) Engine() string { return s.engine }

// Version is the database's version, "3.54.1".
func (s *SQL) Version() string { return s.version }

func (s *SQL) prepare(ctx context.Context) error {
	type prepared struct {
		stmt **sql.Stmt
		db   *sql.DB
		text string
	}
	statements := []prepared{
		{&s.findClick, s.readers, selectClick},
		{&s.pageConversions, s.readers, selectConversions},
		{&s.pageConflicts, s.readers, selectConflicts},
		{&s.readerChecks.existing, s.readers, selectExisting},
		{&s.readerChecks.offer, s.readers, s.dialect.selectOffer()},
		{&s.writerChecks.existing, s.writer, selectExisting},
		{&s.writerChecks.offer, s.writer, s.dialect.lockOffer()},
		{&s.insert, s.writer, s.dialect.insertConversion()},
		{&s.bump, s.writer, s.dialect.bumpCounter()},
		{&s.keepConflict, s.writer, s.dialect.insertConflict()},
	}
	if s.dialect.touch != "" {
		statements = append(statements, prepared{&s.touch, s.writer, s.dialect.touch})
	}
	for _, p := range statements {
		var err error
		if *p.stmt, err = p.db.PrepareContext(ctx, p.text); err != nil {
			return fmt.Errorf("prepare %q: %w", p.text, err)
		}
	}
	return nil
}

// Close waits for what runs and closes the database. Without a Close nothing
// is lost.
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

// transact runs body in a transaction of a postback, and once more after a
// deadlock.
func (s *SQL) transact(ctx context.Context, body func(context.Context, *sql.Tx) error) error {
	for attempt := 0; ; attempt++ {
		err := s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			s.counts.transactions.Add(1)
			return body(ctx, tx)
		})
		if !isMySQL(err, mysqlDeadlock) || attempt == maxRetries {
			return err
		}
		s.counts.retries.Add(1)
	}
}

// inTx runs body in one transaction that is the writer from its beginning.
// ctx bounds the wait for the writer, and with it body's waits for rows that
// others have locked. A commit is never cut off.
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
	if !s.dialect.rowLocks {
		ctx = endless
	}
	if err := body(ctx, tx); err != nil {
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
	busy := errors.As(err, &fromSQLite) && fromSQLite.Code()&0xff == sqlite3.SQLITE_BUSY ||
		isMySQL(err, mysqlDeadlock, mysqlLockWait, mysqlTooManyConns, mysqlTooManyOfUser)
	if busy || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w: %w", operation, ErrBusy, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}

func isMySQL(err error, numbers ...uint16) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && slices.Contains(numbers, answer.Number)
}
