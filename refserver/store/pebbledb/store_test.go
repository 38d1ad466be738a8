package pebbledb

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/storetest"
)

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// While the writer is taken a commit waits until its context ends, and no longer.
func TestBusyWriter(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	storetest.Populate(t, s, 1)
	s.writer.take()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	c := storetest.Sale("free-0", "")
	if _, err := s.Commit(ctx, &c); !errors.Is(err, store.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want ErrBusy", err)
	}
	s.writer.give()
	if out, err := s.Commit(t.Context(), &c); out.Verdict != decide.Billable || err != nil {
		t.Errorf("%+v, %v: the refused one left something behind", out, err)
	}
}

func TestTooManyInFlight(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	for range MaxInFlight {
		s.inFlight <- struct{}{}
	}
	c := storetest.Sale("free-0", "")
	if err := s.CommitBatch([]store.Conversion{c}, nil, nil); !errors.Is(err, store.ErrBusy) || s.Refused() != 1 {
		t.Errorf("%v, %d refused", err, s.Refused())
	}
	<-s.inFlight
	if err := s.CommitBatch([]store.Conversion{c}, nil, nil); err != nil || len(s.inFlight) != MaxInFlight-1 {
		t.Errorf("%v, %d in flight", err, len(s.inFlight))
	}
}

// A decision that fails in the middle moves no counter and writes nothing.
func TestFailedDecision(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	storetest.Populate(t, s, 8)
	damaged := storetest.Sale("free-0", "")
	subject := func(c store.Conversion) decide.Verdict {
		out, err := s.Commit(t.Context(), &c)
		if err != nil {
			t.Fatal(err)
		}
		return out.Verdict
	}
	subject(damaged)
	other := damaged
	other.Payout++
	if err := s.db.Set(numbered(prefixRow, 0), []byte("damaged"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	batch := []store.Conversion{storetest.Sale("capped-0", ""), storetest.Sale("capped-1", ""), storetest.Sale("free-1", ""), other}
	if err := s.CommitBatch(batch, []KV{{Key: "k", Value: []byte("v")}}, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
	if value, err := s.Value("k"); value != nil || err != nil || s.Committed() != 1 {
		t.Errorf("%q, %v, %d committed", value, err, s.Committed())
	}
	for i, want := range []decide.Verdict{decide.Billable, decide.Billable, decide.Billable, decide.OverCap} {
		if got := subject(storetest.Sale("capped-"+string(rune('0'+i)), "")); got != want {
			t.Errorf("conversion %d: %s, want %s", i, got, want)
		}
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	for name, spoil := range map[string]func(*pebble.DB) error{
		"other version":     func(db *pebble.DB) error { return db.Set(keySchema, appendUint32(nil, 99), pebble.Sync) },
		"no version":        func(db *pebble.DB) error { return db.Delete(keySchema, pebble.Sync) },
		"missing row":       func(db *pebble.DB) error { return db.Delete(numbered(prefixRow, 0), pebble.Sync) },
		"row too many":      func(db *pebble.DB) error { return db.Set(numbered(prefixRow, 1), nil, pebble.Sync) },
		"conflict too many": func(db *pebble.DB) error { return db.Set(numbered(prefixConflict, 0), nil, pebble.Sync) },
		"odd row key":       func(db *pebble.DB) error { return db.Set([]byte("rx"), nil, pebble.Sync) },
		"half totals":       func(db *pebble.DB) error { return db.Set(keyTotals, []byte("?"), pebble.Sync) },
		"half a click":      func(db *pebble.DB) error { return db.Set([]byte("cx"), nil, pebble.Sync) },
		"half an offer":     func(db *pebble.DB) error { return db.Set([]byte("ox"), nil, pebble.Sync) },
		"a negative counter": func(db *pebble.DB) error {
			return db.Set([]byte("nx"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff"), pebble.Sync)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, dir)
			storetest.Populate(t, s, 1)
			c := storetest.Sale("free-0", "")
			if _, err := s.Commit(t.Context(), &c); err != nil {
				t.Fatal(err)
			}
			if err := spoil(s.db); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), Options{Dir: dir, Now: time.Now}); !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want ErrCorrupt", err)
			}
		})
	}
}

// A gap inside the ledger is told, not skipped.
func TestLedgerGap(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	for _, tx := range []string{"1", "2", "3"} {
		c := storetest.Sale("stranger", tx)
		if _, err := s.Commit(t.Context(), &c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Delete(numbered(prefixRow, 1), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := s.EachRow(t.Context(), func(store.Row) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// Pebble's chatter is heard at the level of debugging only.
func TestLogger(t *testing.T) {
	var out strings.Builder
	l := newLogger(slog.New(slog.NewTextHandler(&out, nil)))
	l.Infof("flushed %d", 1)
	if out.Len() > 0 {
		t.Errorf("%s", out.String())
	}
	l.Errorf("broken %d", 2)
	if !strings.Contains(out.String(), "level=ERROR") || !strings.Contains(out.String(), "broken 2") {
		t.Errorf("%s", out.String())
	}
	defer func() {
		if recover() == nil || !strings.Contains(out.String(), "gone 3") {
			t.Error("Fatalf must not return")
		}
	}()
	l.Fatalf("gone %d", 3)
}
