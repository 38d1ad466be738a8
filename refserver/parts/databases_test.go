package parts

import (
	"database/sql"
	"io"
	"net/http"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql" // the driver
	"github.com/redis/go-redis/v9"
)

// kill ends a program in the hardest way and waits.
func kill(t *testing.T, p *Process) {
	t.Helper()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}

func TestMariaDBKeepsWhatItCommitted(t *testing.T) {
	rt, data := runtimeFor(t), t.TempDir()
	for i := range 3 {
		m, err := StartMariaDB(t.Context(), rt, data)
		m = started(t, m, err)
		db, err := sql.Open("mysql", m.DSN)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"CREATE TABLE IF NOT EXISTS t (i INT)", "INSERT INTO t VALUES (1)"} {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		var rows int
		if err := db.QueryRow("SELECT COUNT(*) FROM t").Scan(&rows); err != nil || rows != i+1 {
			t.Errorf("start %d: %d rows, %v", i, rows, err)
		}
		if m.CPUTime() <= 0 || m.Pid() <= 0 || !strings.HasPrefix(m.Version, "1") {
			t.Errorf("CPU %v, pid %d, version %q", m.CPUTime(), m.Pid(), m.Version)
		}
		_ = db.Close()
		if i == 0 {
			kill(t, m.Process)
		} else if err := m.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestMariaDBSettings(t *testing.T) {
	m, err := StartMariaDB(t.Context(), runtimeFor(t), t.TempDir())
	m = started(t, m, err)
	db, err := sql.Open("mysql", m.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for setting, want := range map[string]string{
		"@@innodb_flush_log_at_trx_commit": "1", "@@log_bin": "0", "@@skip_networking": "1", "DATABASE()": m.Database,
		"@@collation_database": "utf8mb4_bin", "@@socket": m.Socket, "VERSION()": m.Version, "CURRENT_USER()": m.User + "@localhost",
	} {
		var got string
		if err := db.QueryRow("SELECT " + setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", setting, got, err, want)
		}
	}
}

func TestClickHouseKeepsItsTables(t *testing.T) {
	rt, data := runtimeFor(t), t.TempDir()
	for i := range 3 {
		c, err := StartClickHouse(t.Context(), rt, data)
		c = started(t, c, err)
		ask := func(query string) string {
			t.Helper()
			response, err := http.Post("http://"+c.HTTP+"/", "", strings.NewReader(query))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("%s: status %d, %q, %v", query, response.StatusCode, body, err)
			}
			return strings.TrimSpace(string(body))
		}
		ask("CREATE TABLE IF NOT EXISTS t (i Int64) ENGINE = MergeTree ORDER BY i")
		ask("INSERT INTO t VALUES (1)")
		if rows := ask("SELECT count() FROM t"); rows != []string{"1", "2", "3"}[i] {
			t.Errorf("start %d: %s rows", i, rows)
		}
		if version := ask("SELECT version()"); c.Version != version {
			t.Errorf("version %q, want %q", c.Version, version)
		}
		if i == 0 {
			kill(t, c.Process)
		} else if err := c.Stop(t.Context()); err != nil { // with our connection still open
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}
}

func TestRedisIsACache(t *testing.T) {
	rt := runtimeFor(t)
	for range 2 {
		r, err := StartRedis(t.Context(), rt)
		r = started(t, r, err)
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket})
		defer client.Close()
		if size, err := client.DBSize(t.Context()).Result(); size != 0 || err != nil {
			t.Errorf("%d keys at the start, %v", size, err)
		}
		if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Error(err)
		}
		config, err := client.ConfigGet(t.Context(), "maxmemory*").Result()
		if config["maxmemory-policy"] != "allkeys-lru" || config["maxmemory"] == "0" || err != nil {
			t.Errorf("%v, %v", config, err)
		}
		if err := r.Stop(t.Context()); err != nil || !strings.Contains(r.Version, ".") {
			t.Errorf("stop: %v; version %q", err, r.Version)
		}
	}
}
