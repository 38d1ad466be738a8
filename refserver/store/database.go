package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// errDatabaseName keeps anything out that would need quoting.
var errDatabaseName = errors.New("a database's name is 1 to 64 letters, digits and underscores")

// maxDatabaseNameBytes is MariaDB's own limit.
const maxDatabaseNameBytes = 64

// CreateDatabase makes a database, unless it is there, on the server of a DSN,
// and returns the DSN that leads to it.
func CreateDatabase(ctx context.Context, serverDSN, name string) (dsn string, err error) {
	return onServer(ctx, serverDSN, name, "CREATE DATABASE IF NOT EXISTS ")
}

// DropDatabase removes a database with all that is in it.
func DropDatabase(ctx context.Context, serverDSN, name string) error {
	_, err := onServer(ctx, serverDSN, name, "DROP DATABASE IF EXISTS ")
	return err
}

func onServer(ctx context.Context, serverDSN, name, statement string) (dsn string, err error) {
	config, err := mysql.ParseDSN(serverDSN)
	if err != nil {
		return "", fmt.Errorf("MariaDB's data source name: %w; expected user:password@tcp(host:port)/", err)
	}
	notInName := func(r rune) bool {
		return !(r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}
	if name == "" || len(name) > maxDatabaseNameBytes || strings.ContainsFunc(name, notInName) {
		return "", fmt.Errorf("%.80q: %w", name, errDatabaseName)
	}
	config.DBName = ""
	db, err := sql.Open("mysql", config.FormatDSN())
	if err != nil {
		return "", err
	}
	defer func() { err = cmp.Or(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, statement+name); err != nil {
		return "", fmt.Errorf("MariaDB at %s: %s%s: %w", config.Addr, statement, name, err)
	}
	config.DBName = name
	return config.FormatDSN(), nil
}
