package store_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/storetest"
)

func openSQL(t testing.TB, dir string, atomic bool) *store.SQL {
	t.Helper()
	return openSQLAt(t, dir, atomic, time.Now)
}

func openSQLAt(t testing.TB, dir string, atomic bool, now func() time.Time) *store.SQL {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, AtomicCaps: atomic, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func subject(s *store.SQL) storetest.Subject {
	return storetest.Subject{Conversions: s, Books: s, Population: s, Keys: s, Close: s.Close}
}

func TestContract(t *testing.T) {
	for name, atomic := range map[string]bool{"check-then-insert": false, "atomic": true} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) storetest.Subject {
				return subject(openSQLAt(t, dir, atomic, now))
			})
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	garbage := t.TempDir()
	if err := os.WriteFile(garbage+"/postbench.db", []byte(strings.Repeat("not a database", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a file in the way": file, "not a database": garbage} {
		_, err := store.Open(t.Context(), store.Options{Dir: dir, Now: time.Now})
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: want an error of one line, got %v", name, err)
		}
	}
}

// A directory name that means something in a URI must still be that directory.
func TestOpenOddDirectory(t *testing.T) {
	dir := t.TempDir() + "/a b%20c?d#e&f=g"
	s := openSQL(t, dir, false)
	defer s.Close()
	if _, err := os.Stat(dir + "/postbench.db"); err != nil {
		t.Error(err)
	}
}

func BenchmarkLoadClicks(b *testing.B) {
	const rows = 200_000
	clicks := make([]store.Click, rows)
	for b.Loop() {
		b.StopTimer()
		fill(clicks)
		s := openSQL(b, b.TempDir(), false)
		b.StartTimer()
		if n, err := s.LoadClicks(b.Context(), storetest.Rows(clicks, nil)); n != rows || err != nil {
			b.Fatal(n, err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(errors.Unwrap(err))
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// fill makes ids in no order, which is the slow case for an index.
func fill(clicks []store.Click) {
	x := uint64(1)
	for i := range clicks {
		x = x*6364136223846793005 + 1442695040888963407
		clicks[i] = store.Click{ClickID: string(appendHex(nil, x)), OfferID: "offer-1", ClickedUnixS: int64(i)}
	}
}

func appendHex(dst []byte, x uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[x>>shift&15])
	}
	return dst
}

func BenchmarkCommit(b *testing.B) {
	for name, atomic := range map[string]bool{"check-then-insert": false, "atomic": true} {
		b.Run(name, func(b *testing.B) {
			s := subject(openSQL(b, b.TempDir(), atomic))
			defer s.Close()
			storetest.Populate(b, s.Population, 8)
			x := uint64(1)
			for b.Loop() {
				x++
				s.Commit(b, storetest.Sale("free-0", string(appendHex(nil, x))))
			}
		})
	}
}
