package php

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/clickhouse"
)

// stopLimit is only ever used up by a failing test.
const stopLimit = 30 * time.Second

// stand is the databases, empty, and what keeps books in them.
type stand struct {
	dir     string
	mariadb *parts.MariaDB
	clicks  *clickhouse.Clicks
	books   *store.SQL
	httpAt  string // of ClickHouse
}

// The databases take longer to start than most tests to run, so that all share them.
func TestStack(t *testing.T) {
	s := newStand(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *stand)
	}{
		{"dialects", testDialects},
		{"access log", testAccessLog},
		{"verdicts", testVerdictsAreThoseOfGo},
		{"refusals", testRefusalsAreThoseOfGo},
		{"signed only", testSignedOnlyIsThatOfGo},
		{"broken requests", testBrokenRequestsAreThoseOfGo},
		{"keys", testKeysAreInForceAtOnce},
		{"tls", testTLSResumesSessions},
		{"large upload", testLargeUploadPassesThrough},
		{"race", testRace},
		{"stop", testStopLeavesNothing},
		{"php dead", testPHPDead},
		{"start errors", testStartErrors},
		{"databases away", testDatabasesAway},
		{"full log disk", testFullLogDisk},
		{"killed parent", testKilledParentLeavesNothing},
		{"interrupted start", testInterruptedStartLeavesNothing},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.forget(t)
			test.run(t, s)
		})
	}
}

// forget empties all tables and the log.
func (s *stand) forget(t *testing.T) {
	t.Helper()
	db := s.database(t)
	for _, table := range []string{"conversions", "conflicts", "cap_counters", "offers", "`keys`"} {
		if _, err := db.ExecContext(t.Context(), "DELETE FROM "+table); err != nil {
			t.Fatal(err)
		}
	}
	if response, body := ask(t, http.MethodPost, "http://"+s.httpAt, "/?database="+DefaultDatabase, "TRUNCATE TABLE clicks"); response.StatusCode != http.StatusOK {
		t.Fatal(body)
	}
	if err := os.Remove(filepath.Join(s.dir, "access.log")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// orSkip skips where a program is not installed; CI must have it.
func orSkip(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, parts.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// shortDir is one whose path is short enough for sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pbphp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func stopAtEnd(t testing.TB, stop func(context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

func newStand(t testing.TB) *stand {
	t.Helper()
	s := &stand{dir: shortDir(t)}
	rt := parts.Runtime{Dir: s.dir, Guard: guard()}
	ch, err := parts.StartClickHouse(t.Context(), rt, filepath.Join(s.dir, "data"))
	orSkip(t, err)
	stopAtEnd(t, ch.Stop)
	s.httpAt = ch.HTTP
	s.mariadb, err = parts.StartMariaDB(t.Context(), rt, filepath.Join(s.dir, "data"))
	orSkip(t, err)
	stopAtEnd(t, s.mariadb.Stop)
	if s.clicks, err = clickhouse.Open(t.Context(), clickhouse.Options{Native: ch.Native, HTTP: ch.HTTP, Database: DefaultDatabase}); err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, func(context.Context) error { return s.clicks.Close() })
	if s.books, err = store.OpenMariaDB(t.Context(), store.MariaDBOptions{DSN: s.mariadb.DSN, Clicks: s.clicks, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, func(context.Context) error { return s.books.Close() })
	return s
}

// serving is a stack at work, with the program behind it that has started it.
type serving struct {
	*Stack
	url, tlsURL string
	logFile     string
}

// serve starts nginx and PHP in front of the stand.
func (s *stand) serve(t testing.TB, change func(*Config)) *serving {
	t.Helper()
	out := &serving{logFile: filepath.Join(s.dir, "access.log")}
	judge, err := admin.New(admin.Config{Books: s.books, Population: s.books, Keys: s.books, Now: time.Now, BootID: "boot",
		Log: slog.New(slog.DiscardHandler), OnKeys: func(ctx context.Context) error {
			keys, err := s.books.Keys(ctx)
			return errors.Join(err, out.KeysChanged(keys))
		}})
	if err != nil {
		t.Fatal(err)
	}
	supervisor := httptest.NewServer(judge)
	t.Cleanup(supervisor.Close)
	config := Config{Runtime: parts.Runtime{Dir: shortDir(t), Log: t.Output(), Guard: guard()}, Admin: supervisor.Listener.Addr().String(),
		MariaDB: s.mariadb, ClickHouseHTTP: s.httpAt, Workers: 4, LogFile: out.logFile}
	change(&config)
	if config.Addr, err = parts.FreePort(t.Context()); err != nil {
		t.Fatal(err)
	}
	out.url = "http://" + config.Addr
	if config.TLSCertFile != "" {
		if config.TLSAddr, err = parts.FreePort(t.Context()); err != nil {
			t.Fatal(err)
		}
		out.tlsURL = "https://" + config.TLSAddr
	}
	out.Stack, err = Start(t.Context(), config)
	orSkip(t, err)
	stopAtEnd(t, out.Stop)
	return out
}

// database is MariaDB for statements that no server sends.
func (s *stand) database(t testing.TB) *sql.DB {
	t.Helper()
	config, err := mysql.ParseDSN(s.mariadb.DSN)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger = &mysql.NopLogger{} // one test ends all connections
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// rows is the ledger.
func (s *stand) rows(t testing.TB) (rows []store.Row) {
	t.Helper()
	if err := s.books.EachRow(t.Context(), func(r store.Row) error {
		rows = append(rows, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

// ask sends the target as it is written, which http.NewRequest may not.
func ask(t testing.TB, method, url, target, body string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.URL.Opaque = target
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}
