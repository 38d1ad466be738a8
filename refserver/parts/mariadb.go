package parts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	mariadbPackage  = "mariadb-server-core mariadb-client-core"
	mariadbUser     = "root"
	mariadbDatabase = "postbench"
	// mariadbInstallTimeout is how long an empty database may take to be made.
	mariadbInstallTimeout = 60 * time.Second
	// mariadbMaxConnections is more than all that one server's processes open.
	mariadbMaxConnections = 512
	// mariadbPoolBytes keeps the conversions of a long run in memory.
	mariadbPoolBytes = 256 << 20
)

// MariaDB is a running MariaDB that listens on nothing but a unix socket. What it
// has committed is on the disk: it syncs its log at every commit.
type MariaDB struct {
	*Process
	// DSN is the data source name for github.com/go-sql-driver/mysql; it leads to
	// Database, which exists.
	DSN string
	// Socket is its path; User needs no password there, since only this user can
	// reach it.
	Socket, User, Database string
	Version                string // as the server tells it, "10.11.19-MariaDB-0+deb12u1"
}

// StartMariaDB starts a MariaDB with its data below dataDir, which is created if
// need be and kept: what was there is there again.
func StartMariaDB(ctx context.Context, rt Runtime, dataDir string) (*MariaDB, error) {
	db, err := startMariaDB(ctx, rt, dataDir)
	if err != nil {
		return nil, fmt.Errorf("start MariaDB: %w", err)
	}
	return db, nil
}

func startMariaDB(ctx context.Context, rt Runtime, dataDir string) (*MariaDB, error) {
	socket, err := rt.socket("mariadb.sock")
	if err != nil {
		return nil, err
	}
	tmp, data, err := mariadbDirs(&rt, dataDir)
	if err != nil {
		return nil, err
	}
	if err := installMariaDB(ctx, rt, data, tmp); err != nil {
		return nil, err
	}
	db := &MariaDB{Socket: socket, User: mariadbUser, Database: mariadbDatabase}
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr = db.User, "unix", db.Socket
	config.Logger = &mysql.NopLogger{} // it serves or does not: the errors tell
	db.Process, err = Start(ctx, rt, Spec{
		Name: "mariadbd", Programs: []string{"mariadbd"}, Package: mariadbPackage, Args: mariadbArgs(data, tmp, socket),
		LogOnly: []string{"[ERROR]"}, // it tells a lot about every start and stop
		Probe:   func(ctx context.Context) error { return db.prepare(ctx, config) },
	})
	if err != nil {
		return nil, err
	}
	config.DBName = db.Database
	db.DSN = config.FormatDSN()
	return db, nil
}

// mariadbDirs makes the directories for temporary files and, above the data
// itself, for the data.
func mariadbDirs(rt *Runtime, dataDir string) (tmp, data string, err error) {
	if tmp, err = filepath.Abs(filepath.Join(rt.Dir, "mariadb-tmp")); err != nil {
		return "", "", err
	}
	if data, err = filepath.Abs(filepath.Join(dataDir, "mariadb")); err != nil {
		return "", "", err
	}
	for _, dir := range []string{tmp, filepath.Dir(data)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", "", err
		}
	}
	return tmp, data, nil
}

// installMariaDB makes an empty database where there is none: under another name
// first, so that there is a whole one or none.
func installMariaDB(ctx context.Context, rt Runtime, data, tmp string) error {
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mariadbInstallTimeout)
	defer cancel()
	making := data + "-new"
	if err := os.RemoveAll(making); err != nil {
		return err
	}
	err := run(ctx, rt, Spec{
		Name: "mariadb-install-db", Programs: []string{"mariadb-install-db"}, Package: mariadbPackage,
		LogOnly: []string{"[ERROR]"},
		Args: append([]string{
			"--no-defaults", "--datadir=" + making, "--auth-root-authentication-method=normal", "--skip-test-db",
			"--skip-name-resolve", "--tmpdir=" + tmp,
		}, asRoot()...),
	})
	if err != nil {
		return err
	}
	if err := os.Rename(making, data); err != nil {
		return err
	}
	return syncDir(filepath.Dir(data))
}

// syncDir makes what was renamed in dir outlive the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func mariadbArgs(data, tmp, socket string) []string {
	return append([]string{
		"--no-defaults", "--datadir=" + data, "--tmpdir=" + tmp, "--socket=" + socket, "--pid-file=" + filepath.Join(tmp, "pid"),
		"--skip-networking", "--skip-name-resolve", "--skip-log-bin",
		"--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=" + strconv.Itoa(mariadbPoolBytes),
		"--max-connections=" + strconv.Itoa(mariadbMaxConnections),
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin",
		"--performance-schema=OFF", "--log-warnings=1",
	}, asRoot()...)
}

// asRoot makes MariaDB run as root: unless told so it refuses.
func asRoot() []string {
	if os.Geteuid() != 0 {
		return nil
	}
	return []string{"--user=root"}
}

// prepare creates the database and asks for the version; its success says that
// the server serves.
func (m *MariaDB) prepare(ctx context.Context, config *mysql.Config) (err error) {
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+m.Database+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"); err != nil {
		return err
	}
	return db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&m.Version)
}
