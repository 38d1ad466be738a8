package store

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Limits of a store on MariaDB.
const (
	// DefaultMaxConns is enough for commits to share their syncs, and far below
	// the 151 that a server allows by default.
	DefaultMaxConns = 32
	// lockWaitS is how long a statement waits for a row that another
	// transaction has locked: less than a postback's wait for the store, so that
	// the server itself ends the wait and rolls back.
	lockWaitS = 4
	// dialLimit and silenceLimit bound a server that does not answer, where the
	// DSN sets no limits of its own.
	dialLimit    = 5 * time.Second
	silenceLimit = 60 * time.Second
	// syncDoubt is the age below which a row that others have committed may not
	// be on the disk yet. The server syncs its log once a second in any case.
	syncDoubt = 10 * time.Second
	// syncRows keeps syncs that run at the same time from waiting for each other.
	syncRows = 16
	// schemaLockS bounds the wait for another process that makes the tables.
	schemaLockS = 30
)

// Answers of the server that mean "not now"; nothing was written.
const (
	mysqlTooManyConns  = 1040
	mysqlTooManyOfUser = 1203
	mysqlLockWait      = 1205
	mysqlDeadlock      = 1213
)

//go:embed schema_mariadb.sql
var schemaMariaDB string

// MariaDBOptions says where and how to keep the data.
type MariaDBOptions struct {
	// DSN is go-sql-driver's: "user:password@unix(/path/to.sock)/database". The
	// database must exist, and be empty or a postbench store already.
	DSN string
	// AtomicCaps is that of Options: the transaction locks the offer, then
	// reads its counter.
	AtomicCaps bool
	// Clicks is where the clicks are; nil means in the same database.
	Clicks Clicks
	// Now is the clock that stamps rows and times stages.
	Now func() time.Time
	// MaxConns bounds the connections, 0 means DefaultMaxConns. Who finds none
	// free waits within its deadline and gets ErrBusy after it.
	MaxConns int
}

// OpenMariaDB opens the store in a database of a MariaDB or MySQL server and
// makes its tables if they are missing.
func OpenMariaDB(ctx context.Context, options MariaDBOptions) (*SQL, error) {
	config, err := mysql.ParseDSN(options.DSN)
	if err == nil && config.DBName == "" {
		err = errors.New("the DSN names no database; add /NAME to it")
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &SQL{atomicCaps: options.AtomicCaps, clicks: options.Clicks, now: options.Now,
		dialect: mariaDBDialect(), afterCheck: func() {}}
	if err := s.openMariaDB(ctx, config, cmp.Or(options.MaxConns, DefaultMaxConns)); err != nil {
		return nil, cmp.Or(fmt.Errorf("open store %s on %s: %w", config.DBName, config.Addr, err), s.Close())
	}
	return s, nil
}

func mariaDBDialect() *dialect {
	const taken = "ON DUPLICATE KEY UPDATE "
	return &dialect{
		divide:   "DIV",
		orAddOne: taken + "billable = billable + 1",
		orKeep:   taken + "id = id", // INSERT IGNORE would cut off values that are too long
		lock:     " FOR UPDATE",
		rowLocks: true,
		touch:    "INSERT INTO syncs (slot, n) VALUES (?, 1) " + taken + "n = n + 1",
		loadRows: 512,
	}
}

func (s *SQL) openMariaDB(ctx context.Context, config *mysql.Config, connections int) error {
	full, err := serverVersion(ctx, config)
	if err != nil {
		return err
	}
	s.version, _, _ = strings.Cut(full, "-")
	s.engine = "mysql"
	isolation := "transaction_isolation"
	if strings.Contains(full, "MariaDB") {
		s.engine, isolation = "mariadb", "tx_isolation" // known to the versions before 11.1 too
	}
	// Within a transaction the counter must be read as it is when its lock is
	// granted, not as it was when the transaction began.
	settings := map[string]string{
		isolation:                  "'READ-COMMITTED'",
		"sql_mode":                 "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
		"innodb_lock_wait_timeout": fmt.Sprint(lockWaitS),
	}
	if s.writer, err = openMariaDBPool(config, settings); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(connections)
	s.writer.SetMaxIdleConns(connections)
	s.readers = s.writer
	if err := requireDurable(ctx, s.writer); err != nil {
		return err
	}
	if err := s.createMariaDBSchema(ctx); err != nil {
		return err
	}
	return s.prepare(ctx)
}

func openMariaDBPool(config *mysql.Config, settings map[string]string) (*sql.DB, error) {
	config = config.Clone()
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	maps.Copy(config.Params, settings)
	config.ClientFoundRows = false   // a row that is left alone must count as not changed
	config.InterpolateParams = false // statements are prepared
	config.MultiStatements = false
	config.Logger = &mysql.NopLogger{} // what it would print is returned as an error too
	config.Timeout = cmp.Or(config.Timeout, dialLimit)
	config.ReadTimeout = cmp.Or(config.ReadTimeout, silenceLimit)
	config.WriteTimeout = cmp.Or(config.WriteTimeout, silenceLimit)
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// serverVersion asks on a connection without settings, since their names
// depend on the version.
func serverVersion(ctx context.Context, config *mysql.Config) (version string, err error) {
	db, err := openMariaDBPool(config, nil)
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT version()").Scan(&version)
	return version, err
}

// requireDurable refuses a server that answers before its log is on the disk.
// MariaDB's 3 is 1 with another order of group commits.
func requireDurable(ctx context.Context, db *sql.DB) error {
	var flush int
	if err := db.QueryRowContext(ctx, "SELECT @@innodb_flush_log_at_trx_commit").Scan(&flush); err != nil {
		return err
	}
	if flush != 1 && flush != 3 {
		return fmt.Errorf("innodb_flush_log_at_trx_commit is %d, what is acknowledged could be lost; set it to 1", flush)
	}
	return nil
}

// createMariaDBSchema makes the tables. The server commits every CREATE at
// once, so the version is written last: without it, they are made again.
func (s *SQL) createMariaDBSchema(ctx context.Context) (err error) {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	const name = "concat('postbench.', sha1(database()))"
	var locked sql.NullBool
	err = conn.QueryRowContext(ctx, "SELECT get_lock("+name+", ?)", schemaLockS).Scan(&locked)
	if err == nil && !locked.Bool {
		err = errors.New("another process has been making the tables for too long; end it")
	}
	if err != nil {
		return err
	}
	defer func() {
		_, releaseErr := conn.ExecContext(context.WithoutCancel(ctx), "DO release_lock("+name+")")
		err = cmp.Or(err, releaseErr)
	}()
	version, err := readMariaDBVersion(ctx, conn)
	if err != nil || version == schemaVersion {
		return err
	}
	if version != 0 {
		return fmt.Errorf("schema version %d, this program knows %d; use another database", version, schemaVersion)
	}
	setVersion := fmt.Sprintf("REPLACE INTO schema_version (one, version) VALUES (1, %d)", schemaVersion)
	for _, statement := range append(strings.Split(schemaMariaDB, ";\n"), setVersion) {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// readMariaDBVersion is 0 for an empty database and for one whose tables are
// not complete.
func readMariaDBVersion(ctx context.Context, conn *sql.Conn) (version int, err error) {
	var tables, ours int
	err = conn.QueryRowContext(ctx, `SELECT count(*), count(CASE table_name WHEN 'schema_version' THEN 1 END)
		FROM information_schema.tables WHERE table_schema = database()`).Scan(&tables, &ours)
	if err == nil && tables > 0 && ours == 0 {
		err = errors.New("the database holds tables of another program; use an empty one")
	}
	if err == nil && ours == 0 {
		_, err = conn.ExecContext(ctx, `CREATE TABLE schema_version (one BIGINT NOT NULL PRIMARY KEY, version BIGINT NOT NULL) ENGINE = InnoDB`)
	}
	if err != nil {
		return 0, err
	}
	err = conn.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version)
	return version, err
}
