package rediscache_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/rediscache"
	"github.com/postbench/postbench/refserver/store/storetest"
)

// cached is a store behind a cache in that Redis.
func cached(t testing.TB, s *store.SQL, redis string, now func() time.Time) (storetest.Subject, *rediscache.Cache) {
	t.Helper()
	cache, err := rediscache.New(t.Context(), rediscache.Options{Books: s, Socket: redis, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return storetest.Subject{
		Conversions: cache, Books: s, Population: cache.Population(s), Keys: s,
		Close: func() error { return errors.Join(cache.Close(), s.Close()) },
	}, cache
}

func openSQLite(t testing.TB, dir string, now func() time.Time) *store.SQL {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	redis := miniredis.RunT(t) // one for all: no cache may see what another one wrote
	storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) storetest.Subject {
		subject, _ := cached(t, openSQLite(t, dir, now), redis.Addr(), now)
		return subject
	})
}

// installed returns a real part, or skips the test where it is not installed;
// CI must have it.
func installed[P interface{ Stop(context.Context) error }](t testing.TB, part P, err error) P {
	t.Helper()
	if errors.Is(err, parts.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = part.Stop(context.Background()) })
	return part
}

func TestContractOnRealParts(t *testing.T) {
	runtime := parts.Runtime{Dir: t.TempDir()}
	redis, err := parts.StartRedis(t.Context(), runtime)
	redis = installed(t, redis, err)
	maria, err := parts.StartMariaDB(t.Context(), runtime, t.TempDir())
	maria = installed(t, maria, err)
	databases := map[string]string{} // directory → DSN
	storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) storetest.Subject {
		t.Helper()
		if databases[dir] == "" {
			databases[dir] = newDatabase(t, maria, fmt.Sprint("contract_", len(databases)))
		}
		s, err := store.OpenMariaDB(t.Context(), store.MariaDBOptions{DSN: databases[dir], Now: now})
		if err != nil {
			t.Fatal(err)
		}
		subject, _ := cached(t, s, redis.Socket, now)
		return subject
	})
}

// newDatabase makes an empty one and returns its DSN.
func newDatabase(t testing.TB, maria *parts.MariaDB, name string) string {
	t.Helper()
	db, err := sqlOpen(maria.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(maria.DSN, "/"+maria.Database, "/"+name, 1)
}
