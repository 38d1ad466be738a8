package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/storetest"
)

func openMariaDB(t testing.TB, options store.MariaDBOptions) *store.SQL {
	t.Helper()
	if options.Now == nil {
		options.Now = time.Now
	}
	s, err := store.OpenMariaDB(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// All that needs a server shares one.
func TestMariaDB(t *testing.T) {
	server := storetest.StartMariaDB(t)
	for name, atomic := range map[string]bool{"check-then-insert": false, "atomic": true} {
		t.Run("contract "+name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) storetest.Subject {
				return subject(openMariaDB(t, store.MariaDBOptions{DSN: server.DSNFor(t, dir), AtomicCaps: atomic, Now: now}))
			})
		})
	}
	for name, test := range map[string]func(*testing.T, *storetest.MariaDB){
		"refuses":       testMariaDBRefuses,
		"half a schema": testHalfASchema,
		"row lock":      testRowLock,
		"no connection": testNoConnection,
		"deadlock":      testDeadlock,
		"late commit":   testLateCommit,
		"sync":          testSync,
		"version":       testMariaDBVersion,
		"several opens": testSeveralOpens,
	} {
		t.Run(name, func(t *testing.T) { test(t, server) })
	}
	runSQLTests(t, func(t *testing.T, atomic bool) *store.SQL {
		return openMariaDB(t, store.MariaDBOptions{DSN: server.DSNFor(t, t.TempDir()), AtomicCaps: atomic})
	})
	t.Run("kill", func(t *testing.T) { testKill(t, server) }) // the last one: it ends the server
}

// openPopulated opens an empty store with a population, and a second way in.
func openPopulated(t *testing.T, server *storetest.MariaDB, options store.MariaDBOptions) (*store.SQL, *sql.DB) {
	t.Helper()
	options.DSN = server.DSNFor(t, t.TempDir())
	s := openMariaDB(t, options)
	t.Cleanup(func() { _ = s.Close() })
	storetest.Populate(t, s, 8)
	return s, storetest.OpenDSN(t, options.DSN)
}

func testMariaDBRefuses(t *testing.T, server *storetest.MariaDB) {
	setFlush := func(value int) {
		if _, err := storetest.OpenDSN(t, server.DSN).Exec("SET GLOBAL innodb_flush_log_at_trx_commit = ?", value); err != nil {
			t.Fatal(err)
		}
	}
	foreign := server.DSNFor(t, t.TempDir())
	if _, err := storetest.OpenDSN(t, foreign).Exec("CREATE TABLE clicks (n BIGINT)"); err != nil {
		t.Fatal(err)
	}
	newer := server.DSNFor(t, t.TempDir())
	if err := openMariaDB(t, store.MariaDBOptions{DSN: newer}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.OpenDSN(t, newer).Exec("UPDATE schema_version SET version = 99"); err != nil {
		t.Fatal(err)
	}
	empty := server.DSNFor(t, t.TempDir())
	for name, test := range map[string]struct{ dsn, want string }{
		"not a DSN":         {"nonsense", ""},
		"no database":       {"root@unix(" + server.Socket + ")/", "names no database"},
		"nobody there":      {"root@unix(/nowhere/db.sock)/x", "/nowhere/db.sock"},
		"unknown database":  {"root@unix(" + server.Socket + ")/nowhere", "nowhere"},
		"another program's": {foreign, "use an empty one"},
		"another version":   {newer, "schema version 99"},
		"not durable":       {empty, "set it to 1"},
	} {
		if name == "not durable" {
			setFlush(2)
		}
		_, err := store.OpenMariaDB(t.Context(), store.MariaDBOptions{DSN: test.dsn, Now: time.Now})
		setFlush(1)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: want an error of one line with %q, got %v", name, test.want, err)
		}
	}
}

// What a program that died while it made the tables leaves behind.
func testHalfASchema(t *testing.T, server *storetest.MariaDB) {
	dsn := server.DSNFor(t, t.TempDir())
	db := storetest.OpenDSN(t, dsn)
	for range 2 {
		if err := openMariaDB(t, store.MariaDBOptions{DSN: dsn}).Close(); err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{"DROP TABLE conversions", "DELETE FROM schema_version"} {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func testSeveralOpens(t *testing.T, server *storetest.MariaDB) {
	dsn := server.DSNFor(t, t.TempDir())
	const openers = 8
	errs := make(chan error)
	for range openers {
		go func() {
			s, err := store.OpenMariaDB(t.Context(), store.MariaDBOptions{DSN: dsn, Now: time.Now})
			if err == nil {
				err = s.Close()
			}
			errs <- err
		}()
	}
	for range openers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func testMariaDBVersion(t *testing.T, server *storetest.MariaDB) {
	s, _ := openPopulated(t, server, store.MariaDBOptions{})
	if s.Engine() != "mariadb" || !strings.HasPrefix(server.Version, s.Version()+"-") {
		t.Errorf("%s %s, the server is %s", s.Engine(), s.Version(), server.Version)
	}
}

// A commit that waits for a row of another transaction gives up with its caller.
func testRowLock(t *testing.T, server *storetest.MariaDB) {
	for _, atomic := range []bool{false, true} {
		s, other := openPopulated(t, server, store.MariaDBOptions{AtomicCaps: atomic})
		subject(s).Commit(t, storetest.Sale("capped-0", ""))
		tx := begin(t, other, "UPDATE offers SET cap = cap + 1", "UPDATE cap_counters SET billable = billable + 1")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := subject(s).TryCommit(ctx, storetest.Sale("capped-1", ""))
		cancel()
		if !errors.Is(err, store.ErrBusy) {
			t.Errorf("atomic %v: %v, want ErrBusy", atomic, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if rows := subject(s).Ledger(t); len(rows) != 1 {
			t.Errorf("atomic %v: something was written: %+v", atomic, rows)
		}
		if got := subject(s).Commit(t, storetest.Sale("capped-1", "")); got.Verdict != decide.Billable {
			t.Errorf("atomic %v: once more: %+v", atomic, got)
		}
	}
}

func testNoConnection(t *testing.T, server *storetest.MariaDB) {
	s, _ := openPopulated(t, server, store.MariaDBOptions{MaxConns: 1})
	writer, _ := s.Pools()
	conn, err := writer.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	c := storetest.Sale("capped-1", "")
	if _, err = s.Commit(ctx, &c); !errors.Is(err, store.ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	subject(s).Commit(t, c) // one connection is enough for everything
}

// The server ends a deadlock by rolling back who has written least. That is the
// store's transaction here, which then runs again.
func testDeadlock(t *testing.T, server *storetest.MariaDB) {
	s, other := openPopulated(t, server, store.MariaDBOptions{AtomicCaps: true})
	c := storetest.Sale("capped-0", "")
	insert := `INSERT INTO conversions (click_id, txid, event, verdict, offer_id, claimed_offer_id, payout, currency,
		received_unix_ns, recorded_unix_ns, cap_window_s) VALUES ('%s', '', 'sale', 'late', '', '', 0, '', 0, 0, 0)`
	statements := []string{fmt.Sprintf(insert, c.ClickID)}
	for i := range 20 {
		statements = append(statements, fmt.Sprintf(insert, fmt.Sprint("other-", i)))
	}
	tx := begin(t, other, statements...)
	type result struct {
		out store.Outcome
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := subject(s).TryCommit(t.Context(), c)
		done <- result{out, err}
	}()
	waitForLockWait(t, storetest.OpenDSN(t, server.DSN)) // it has the offer, and waits for the identity
	if _, err := tx.Exec("UPDATE offers SET cap = cap"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	got := <-done
	if got.err != nil || got.out.Verdict != decide.Billable {
		t.Errorf("%+v, %v", got.out, got.err)
	}
	if q := s.Queries(); q.Retries != 1 || q.Transactions != 2 {
		t.Errorf("%+v, want one retry", q)
	}
}

func begin(t *testing.T, db *sql.DB, statements ...string) *sql.Tx {
	t.Helper()
	tx, err := db.Begin()
	for _, statement := range statements {
		if err == nil {
			_, err = tx.Exec(statement)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func waitForLockWait(t *testing.T, db *sql.DB) {
	t.Helper()
	for range 20 {
		var waiting int
		time.Sleep(150 * time.Millisecond) // the server refreshes the table only after 100 ms without a question
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if waiting > 0 {
			return
		}
	}
	t.Fatal("nothing waits for a lock")
}

// An id is given before its transaction commits: lower ones appear later.
func testLateCommit(t *testing.T, server *storetest.MariaDB) {
	s, other := openPopulated(t, server, store.MariaDBOptions{})
	slow := begin(t, other, `INSERT INTO conversions (click_id, txid, event, verdict, offer_id, claimed_offer_id, payout, currency,
		received_unix_ns, recorded_unix_ns, cap_window_s) VALUES ('slow', '', 'sale', 'late', '', '', 0, '', 0, 0, 0)`)
	subject(s).Commit(t, storetest.Sale("free-0", ""))
	if rows := subject(s).Ledger(t); len(rows) != 1 || rows[0].ClickID != "free-0" {
		t.Errorf("before the slow commit: %+v", rows)
	}
	if err := slow.Commit(); err != nil {
		t.Fatal(err)
	}
	if rows := subject(s).Ledger(t); len(rows) != 2 || rows[0].ClickID != "slow" || rows[1].ClickID != "free-0" {
		t.Errorf("after the slow commit: %+v", rows)
	}
}

// The server shows a commit to others before it has synced it. A repetition is
// answered only when its original is on the disk, which costs a write as long as
// the original is young.
func testSync(t *testing.T, server *storetest.MariaDB) {
	now := time.Unix(storetest.ClickedUnixS, 0)
	for _, atomic := range []bool{false, true} {
		s, _ := openPopulated(t, server, store.MariaDBOptions{AtomicCaps: atomic, Now: func() time.Time { return now }})
		c := storetest.Sale("capped-0", "")
		conflict := c
		conflict.Payout++
		for i, step := range []struct {
			c      store.Conversion
			after  time.Duration
			writes int64
			want   decide.Verdict
		}{
			{c, 0, 2, decide.Billable},
			{c, 0, 1, decide.Duplicate},
			{c, time.Minute, 0, decide.Duplicate},
			{conflict, 0, 1, decide.Conflict},
			{conflict, 0, 2, decide.Conflict},
		} {
			now = now.Add(step.after)
			before := s.Queries().Writes
			got := subject(s).Commit(t, step.c)
			if writes := s.Queries().Writes - before; got.Verdict != step.want || writes != step.writes {
				t.Errorf("atomic %v, step %d: %s after %d writes, want %s after %d", atomic, i, got.Verdict, writes, step.want, step.writes)
			}
		}
	}
}

// What was answered is there after a kill, and the store finds the new server.
func testKill(t *testing.T, server *storetest.MariaDB) {
	s, _ := openPopulated(t, server, store.MariaDBOptions{})
	var committed []string
	for i := range 200 {
		c := storetest.Sale("free-0", fmt.Sprint(i))
		c.Event = postback.EventLead
		subject(s).Commit(t, c)
		committed = append(committed, c.TxID)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	<-server.Done()
	if _, err := s.Attribute(t.Context(), "free-0"); err == nil {
		t.Error("an answer of a dead server")
	}
	server.Restart(t)
	rows := subject(s).Ledger(t)
	if len(rows) != len(committed) {
		t.Fatalf("%d rows of %d", len(rows), len(committed))
	}
	if got := subject(s).Commit(t, storetest.Sale("free-1", "")); got.Verdict != decide.Billable {
		t.Errorf("after the restart: %+v", got)
	}
}
