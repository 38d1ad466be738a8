package storetest

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/postbench/postbench/refserver/parts"
)

// MariaDB is a real server that runs until the end of the test.
type MariaDB struct {
	*parts.MariaDB
	runtime parts.Runtime
	dataDir string
}

// StartMariaDB starts a server, or skips the test where none is installed; CI
// must have one.
func StartMariaDB(t testing.TB) *MariaDB {
	t.Helper()
	m := &MariaDB{runtime: parts.Runtime{Dir: t.TempDir()}, dataDir: t.TempDir()}
	m.Restart(t)
	return m
}

// Restart starts the server on the same data, after it was stopped or killed.
func (m *MariaDB) Restart(t testing.TB) {
	t.Helper()
	server, err := parts.StartMariaDB(t.Context(), m.runtime, m.dataDir)
	if errors.Is(err, parts.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Kill()
		<-server.Done()
	})
	m.MariaDB = server
}

// DSNFor is the DSN of a database that belongs to dir, as a file in it would.
func (m *MariaDB) DSNFor(t testing.TB, dir string) string {
	t.Helper()
	name := fmt.Sprintf("test_%x", sha256.Sum256([]byte(dir)))[:32]
	db := OpenDSN(t, m.DSN)
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE IF NOT EXISTS "+name); err != nil {
		t.Fatal(err)
	}
	config, err := mysql.ParseDSN(m.DSN)
	if err != nil {
		t.Fatal(err)
	}
	config.DBName = name
	return config.FormatDSN()
}

// OpenDSN opens a pool beside the store's own.
func OpenDSN(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
