package pebbledb_test

import (
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/store/pebbledb"
	"github.com/postbench/postbench/refserver/store/storetest"
)

func open(t testing.TB, dir string) *pebbledb.Store {
	t.Helper()
	return openAt(t, dir, time.Now)
}

func openAt(t testing.TB, dir string, now func() time.Time) *pebbledb.Store {
	t.Helper()
	s, err := pebbledb.Open(t.Context(), pebbledb.Options{Dir: dir, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fresh is a new store with storetest's population, n clicks of each offer.
func fresh(t testing.TB, n int) *pebbledb.Store {
	t.Helper()
	s := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	storetest.Populate(t, s, n)
	return s
}

func subject(s *pebbledb.Store) storetest.Subject {
	return storetest.Subject{Conversions: s, Books: s, Population: s, Keys: s, Close: s.Close}
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) storetest.Subject {
		return subject(openAt(t, dir, now))
	})
}
