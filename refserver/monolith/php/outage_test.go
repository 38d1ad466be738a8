package php

import (
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
)

// wire is a way to ClickHouse that a test can cut.
type wire struct {
	net.Listener
	to string

	mu     sync.Mutex
	conns  []net.Conn
	silent bool // what comes is swallowed
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, to: to}
	t.Cleanup(func() { _ = l.Close(); w.cut() })
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			w.carry(conn)
		}
	}()
	return w
}

func (w *wire) carry(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	if w.silent {
		return
	}
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		_ = conn.Close()
		return
	}
	w.conns = append(w.conns, far)
	go func() { _, _ = io.Copy(far, conn) }()
	go func() { _, _ = io.Copy(conn, far) }()
}

// cut ends all connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		_ = conn.Close()
	}
	w.conns = nil
}

func (w *wire) setSilent(silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = silent
}

func testDatabasesAway(t *testing.T, s *stand) {
	w := newWire(t, s.httpAt)
	v := s.serve(t, func(c *Config) { c.Workers, c.ClickHouseHTTP = 1, w.Addr().String() })
	expect := func(when, target string, status int, want string) {
		t.Helper()
		if response, body := ask(t, http.MethodGet, v.url, target, ""); response.StatusCode != status || body != want {
			t.Errorf("%s: %d %q, want %d %q", when, response.StatusCode, body, status, want)
		}
	}
	expect("at first", "/pb?click_id=1", 200, "OK")
	w.mu.Lock()
	if len(w.conns) != 2 { // both ends of one
		t.Errorf("%d connections after the second request", len(w.conns)/2)
	}
	w.mu.Unlock()
	w.cut()
	expect("on a connection that was closed meanwhile", "/pb?click_id=2", 200, "OK")
	w.setSilent(true)
	w.cut()
	expect("without an answer", "/pb?click_id=3", 503, "attribute click: store is busy")
	w.setSilent(false)
	expect("once it answers again", "/pb?click_id=3", 200, "OK")

	db := s.database(t)
	if _, err := db.ExecContext(t.Context(), "RENAME TABLE conversions TO hidden"); err != nil {
		t.Fatal(err)
	}
	expect("without the table", "/pb?click_id=4", 500, "internal error")
	if _, err := db.ExecContext(t.Context(), "RENAME TABLE hidden TO conversions"); err != nil {
		t.Fatal(err)
	}
	expect("with it", "/pb?click_id=4", 200, "OK")
	s.killConnections(t)
	expect("after MariaDB has hung up", "/pb?click_id=5", 200, "OK")

	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const row = "INSERT INTO conversions VALUES (NULL, '6', '', '', 'billable', '', '', 0, '', 1, 1, 0)"
	if _, err := tx.ExecContext(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	expect("while another holds the row", "/pb?click_id=6", 503, "insert conversion: store is busy")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	expect("when it has been recorded", "/pb?click_id=6", 200, "DUP")
	if rows := s.rows(t); len(rows) != 6 {
		t.Errorf("%d rows: %+v", len(rows), rows)
	}
}

// killConnections ends the idle connections of PHP's workers.
func (s *stand) killConnections(t *testing.T) {
	t.Helper()
	db := s.database(t)
	db.SetMaxOpenConns(1)
	var ids []int64
	found, err := db.QueryContext(t.Context(), "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root'")
	if err != nil {
		t.Fatal(err)
	}
	for found.Next() {
		var id int64
		if err := found.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, err := db.ExecContext(t.Context(), "KILL ?", id); err != nil {
			t.Fatal(err)
		}
	}
}

// What is recorded is acked, whether or not a log can be written.
func testFullLogDisk(t *testing.T, s *stand) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	v := s.serve(t, func(c *Config) { c.LogFile = full })
	for i, want := range []string{"OK", "DUP"} {
		if response, body := ask(t, http.MethodGet, v.url, "/pb?click_id=1", ""); response.StatusCode != http.StatusOK || body != want {
			t.Errorf("postback %d: %d %q", i, response.StatusCode, body)
		}
	}
}
